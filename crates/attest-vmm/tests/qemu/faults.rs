//! Every way in which a QEMU and a guest can end has its own name.

use std::fs::File;
use std::path::Path;

use attest_image::Cache;
use attest_image::disks::{self, DiskImage};
use attest_vmm::{Disk, DiskFile, DiskFormat, EndingKind, MachineType, VmmError};
use nix::sys::signal::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::bare_metal::{Then, kernel};
use crate::support::{allow_reboot, end, machine, no_qemu, read_until, send, start, start_logged};

#[tokio::test]
async fn a_guest_that_resets_says_why_or_it_was_a_triple_fault() {
    if no_qemu() {
        return;
    }
    let cases = [
        ("hello\n", EndingKind::TripleFault, "triple fault"),
        (
            "[ 1.0] reboot: Restarting system\n",
            EndingKind::Reset,
            "rebooted",
        ),
        (
            "[ 1.0] Kernel panic - not syncing: Oops\n[ 1.1] trace\n",
            EndingKind::Panic,
            "Oops",
        ),
    ];
    for board in MachineType::ALL {
        for (text, kind, detail) in cases {
            let (_directory, kernel) = kernel(text, Then::TripleFault);
            let mut machine = machine(&kernel);
            machine.qemu.machine = board;
            let (ending, console) = end(start(machine).await.unwrap()).await;
            assert_eq!(ending.kind, kind, "{board:?} {ending:?}");
            assert!(ending.detail.contains(detail), "{ending:?}");
            assert!(console.contains(text), "{console:?}");
        }
    }
}

#[tokio::test]
async fn a_guest_that_is_off_or_stays_in_its_panic_is_ended() {
    if no_qemu() {
        return;
    }
    let cases = [
        ("[ 1.0] reboot: System halted\n", EndingKind::PoweredOff),
        (
            "[ 1.0] Kernel panic - not syncing: for ever\n",
            EndingKind::Panic,
        ),
    ];
    for (text, kind) in cases {
        let (_directory, kernel) = kernel(text, Then::Halt);
        let (ending, _) = end(start(machine(&kernel)).await.unwrap()).await;
        assert_eq!(ending.kind, kind, "{ending:?}");
    }
}

#[tokio::test]
async fn only_our_own_kill_is_called_one() {
    if no_qemu() {
        return;
    }
    let (_directory, kernel) = kernel("up\n", Then::Halt);
    let mut started = start(machine(&kernel)).await.unwrap();
    read_until(&mut started.console, "up").await;
    started.running.kill().await;
    assert_eq!(started.running.ended().await.kind, EndingKind::Killed);
    assert_eq!(
        started.running.ended().await.kind,
        EndingKind::Killed,
        "any number of times"
    );
    for (signal, detail) in [
        (Signal::SIGKILL, "signal 9"),
        (Signal::SIGTERM, "someone else"),
    ] {
        let started = start(machine(&kernel)).await.unwrap();
        send(started.running.pid(), signal);
        let (ending, _) = end(started).await;
        assert_eq!(ending.kind, EndingKind::VmmCrashed);
        assert!(ending.detail.contains(detail), "{ending:?}");
    }
}

#[tokio::test]
async fn one_that_nobody_has_any_more_ends() {
    if no_qemu() {
        return;
    }
    let (_directory, kernel) = kernel("up\n", Then::Halt);
    for waits in [false, true] {
        let mut machine = machine(&kernel);
        machine.waits = waits;
        let mut started = start(machine).await.unwrap();
        drop(started.running);
        // It had the other end of this.
        let mut said = Vec::new();
        started.console.read_to_end(&mut said).await.unwrap();
    }
}

#[tokio::test]
async fn a_stopped_qemu_can_be_killed() {
    if no_qemu() {
        return;
    }
    let (_directory, kernel) = kernel("up\n", Then::Halt);
    let started = start(machine(&kernel)).await.unwrap();
    send(started.running.pid(), Signal::SIGSTOP);
    started.running.kill().await;
    assert_eq!(started.running.ended().await.kind, EndingKind::Killed);
}

#[tokio::test]
async fn reboots_are_allowed_and_forbidden_while_it_runs() {
    if no_qemu() {
        return;
    }
    let announcement = "reboot: Restarting system\n";
    let (_directory, kernel) = kernel(announcement, Then::KeyThenTripleFault);
    let mut started = start(machine(&kernel)).await.unwrap();
    allow_reboot(&started, true).await;
    for _ in 0..3 {
        read_until(&mut started.console, announcement).await;
        started.console.write_all(b"!").await.unwrap();
    }
    read_until(&mut started.console, announcement).await;
    allow_reboot(&started, false).await;
    started.console.write_all(b"!").await.unwrap();
    let (ending, _) = end(started).await;
    assert_eq!(ending.kind, EndingKind::Reset, "{ending:?}");
}

#[tokio::test]
async fn a_panic_ends_it_also_where_reboots_are_allowed() {
    if no_qemu() {
        return;
    }
    let panic = "Kernel panic - not syncing: again and again\n";
    let (_directory, kernel) = kernel(panic, Then::KeyThenTripleFault);
    let mut started = start(machine(&kernel)).await.unwrap();
    allow_reboot(&started, true).await;
    read_until(&mut started.console, panic).await;
    started.console.write_all(b"!").await.unwrap();
    assert_eq!(end(started).await.0.kind, EndingKind::Panic);
}

#[tokio::test]
async fn a_paused_guest_waits() {
    if no_qemu() {
        return;
    }
    let (_directory, kernel) = kernel("up\n", Then::KeyThenTripleFault);
    let mut started = start(machine(&kernel)).await.unwrap();
    read_until(&mut started.console, "up").await;
    let pause = started.running.pause().unwrap();
    pause.pause().await.unwrap();
    started.console.write_all(b"!").await.unwrap();
    // It would have ended by now, or the next command would find it gone.
    allow_reboot(&started, false).await;
    pause.resume().await.unwrap();
    assert_eq!(end(started).await.0.kind, EndingKind::TripleFault);
}

#[tokio::test]
async fn disks_come_as_descriptors_without_names() {
    if no_qemu() {
        return;
    }
    let (directory, kernel) = kernel("up\n", Then::Halt);
    for board in MachineType::ALL {
        let path = directory.path().join(board.name());
        File::create(&path).unwrap().set_len(1 << 20).unwrap();
        let shared = File::open(&path).unwrap();
        let cache = Cache::open(&directory.path().join("cache")).unwrap();
        let below = DiskImage::open(&path).unwrap();
        let overlay = disks::layer(&cache, below.size()).unwrap();
        std::fs::remove_file(&path).unwrap();
        let file = |file, format| DiskFile { file, format };
        let mut machine = machine(&kernel);
        machine.qemu.machine = board;
        machine.disks = vec![
            Disk {
                file: file(shared.into(), DiskFormat::Raw),
                below: Vec::new(),
                read_only: true,
                serial: "root".to_owned(),
                rate: None,
            },
            Disk {
                file: file(overlay, DiskFormat::Qcow2),
                below: vec![file(below.into(), DiskFormat::Raw)],
                read_only: false,
                serial: "data".to_owned(),
                rate: None,
            },
        ];
        let mut started = start(machine).await.unwrap();
        read_until(&mut started.console, "up").await;
        started.running.kill().await;
    }
}

#[tokio::test]
async fn what_qemu_refuses_it_says_in_its_own_words() {
    if no_qemu() {
        return;
    }
    let (directory, kernel) = kernel("", Then::Halt);
    let mut greedy = machine(&kernel);
    greedy.memory = 1 << 55;
    let error = start(greedy).await.unwrap_err().to_string();
    assert!(
        error.starts_with("web: QEMU refused to start: qemu-system-x86_64: "),
        "{error}"
    );
    let kernelless = machine(Path::new("/nonexistent/kernel"));
    let log = Some(directory.path().join("log"));
    let error = start_logged(kernelless, log).await.unwrap_err().to_string();
    assert!(error.contains("/nonexistent/kernel"), "{error}");
    let log = std::fs::read_to_string(directory.path().join("log")).unwrap();
    assert!(
        log.contains("/nonexistent/kernel"),
        "the log has it, too: {log}"
    );
}

#[tokio::test]
async fn what_is_no_qemu_is_said() {
    let mut missing = machine(Path::new("/kernel"));
    missing.qemu.program = Some("/nonexistent/qemu".into());
    assert!(matches!(
        start(missing).await.unwrap_err(),
        VmmError::Missing { .. }
    ));
    let mut other = machine(Path::new("/kernel"));
    other.qemu.program = Some("/bin/true".into());
    let error = start(other).await.unwrap_err().to_string();
    assert_eq!(error, "web: QEMU refused to start: it said nothing");
}

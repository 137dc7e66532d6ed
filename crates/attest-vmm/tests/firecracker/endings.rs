//! How machines end that run. An exit code proves nothing.

use attest_lab::ProcessExit;
use attest_vmm::EndingKind;
use tokio::io::AsyncReadExt;

use crate::common::guest::Script;
use crate::support::{Fate, Firecracker, Session, When, end, started};

fn whose_guest(first: &'static str) -> Firecracker {
    Firecracker {
        guest: Script {
            first: vec![first],
            is_silent: false,
        },
        ..Firecracker::default()
    }
}

#[tokio::test]
async fn a_guest_is_believed_on_its_console_only() {
    let cases = [
        ("reboot", EndingKind::Reset, "the guest rebooted"),
        ("panic Oops", EndingKind::Panic, "Oops"),
        ("off", EndingKind::PoweredOff, "switched itself off"),
        // Fact: a triple fault is 0 or 1, and a broken guest may end in 0.
        ("exit 0", EndingKind::TripleFault, "exit code 0"),
        ("exit 1", EndingKind::TripleFault, "exit code 1"),
    ];
    for (first, kind, detail) in cases {
        let (host, started) = started(whose_guest(first)).await;
        let (ending, _) = end(started).await;
        assert_eq!(ending.kind, kind, "{first}: {ending:?}");
        assert!(ending.detail.contains(detail), "{ending:?}");
        host.last().exited().await;
    }
}

#[tokio::test]
async fn a_vmm_that_breaks_is_not_its_guest() {
    let cases = [
        (148, "its system call filter ended Firecracker"),
        (149, "ended by SIGBUS"),
        (150, "ended by SIGSEGV"),
        (151, "ended by SIGXFSZ"),
        (154, "ended by SIGXCPU"),
        (155, "ended by SIGPIPE"),
        (156, "ended by SIGHUP"),
        (157, "ended by SIGILL"),
        (2, "exit code 2"),
    ];
    for (code, detail) in cases {
        // As it has answered the last call that starts a machine.
        let (_host, started) = started(Firecracker {
            fate: Fate::ends(When::Answered(9), code),
            ..Firecracker::default()
        })
        .await;
        let (ending, _) = end(started).await;
        assert_eq!(ending.kind, EndingKind::VmmCrashed, "{code}: {ending:?}");
        assert!(ending.detail.contains(detail), "{ending:?}");
    }
}

#[tokio::test]
async fn an_announcement_explains_no_crash() {
    // It has announced its reset, and then its VMM broke.
    let mut fake = whose_guest("print [    1.0] reboot: Restarting system");
    fake.guest.first.push("exit 148");
    let (_host, started) = started(fake).await;
    let (ending, _) = end(started).await;
    assert_eq!(ending.kind, EndingKind::VmmCrashed, "{ending:?}");
}

#[tokio::test]
async fn only_our_own_kill_is_called_one() {
    for signal in [9, 15, 2] {
        let (host, started) = started(Firecracker::default()).await;
        host.last().signal(signal);
        let (ending, _) = end(started).await;
        assert_eq!(ending.kind, EndingKind::VmmCrashed, "{ending:?}");
        assert!(
            ending.detail.contains(&format!("signal {signal}")),
            "{ending:?}"
        );
    }
    let (host, started) = started(Firecracker::default()).await;
    started.running.kill().await;
    for _ in 0..2 {
        let ending = started.running.ended().await;
        assert_eq!(ending.kind, EndingKind::Killed, "any number of times");
    }
    assert_eq!(host.last().exited().await, ProcessExit::Signal(9));
}

#[tokio::test]
async fn what_is_printed_is_read_in_time() {
    const BYTES: usize = 4 << 20;
    let (_host, mut started) = started(Firecracker::default()).await;
    let session = Session::next(&started).await;
    let flood = format!("flood {BYTES}");
    let flood = session.run(&flood);
    let mut printed = vec![0; BYTES];
    let reading = started.console.read_exact(&mut printed);
    let (flooded, read) = tokio::join!(flood, reading);
    flooded.unwrap();
    assert_eq!(read.unwrap(), BYTES, "nothing was lost");
    assert!(printed.iter().all(|byte| *byte == b'f'));
}

#[tokio::test]
async fn what_nobody_can_read_in_time_is_lost_and_nothing_else_is() {
    const BYTES: usize = 32 << 20;
    let (_host, started) = started(Firecracker::default()).await;
    let session = Session::next(&started).await;
    session.run(&format!("torrent {BYTES}")).await.unwrap();
    // The guest goes on, and its last words are heard when there is room again.
    let (ending, console) = tokio::join!(
        async {
            let _ = session.run("panic too much").await;
        },
        end(started)
    )
    .1;
    assert!(console.len() < BYTES, "{}", console.len());
    assert_ne!(ending.kind, EndingKind::VmmCrashed, "{ending:?}");
}

//! A distribution's kernel: that it boots, finds the agent's channel, and ends as it says.

use std::path::PathBuf;

use attest_image::bare::{self, BareGuest, BareOptions};
use attest_image::{Cache, Kernel, KernelSource};
use attest_vmm::{EndingKind, MachineType, Started};
use tokio::io::AsyncWriteExt;

use crate::support::{agent, allow_reboot, end, machine, no_qemu, read_until, start};

const MODULES: &[&str] = &["virtio_mmio", "virtio_pci", "virtio_console", "virtio_rng"];

/// In place of the agent: does what comes on the agent's channel, line by line.
const INIT: &str = r#"#!/bin/busybox sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
while IFS='	' read -r files devices; do
    for file in $files; do insmod "$file" 2>/dev/null; done
done < /lib/attest/modules
until name=$(grep -ls attest.0 /sys/class/virtio-ports/*/name); do :; done
exec 3<>/dev/$(basename $(dirname $name))
echo up >&3
while read -r line <&3; do eval "$line" >&3; done
"#;

/// The guest, or `None` with the reason told.
pub(crate) fn guest() -> Option<BareGuest> {
    if no_qemu() {
        return None;
    }
    let built = || {
        let cache = Cache::open(&Cache::default_directory()?)?;
        let asked = std::env::var_os("ATTEST_KERNEL").map(PathBuf::from);
        let source = asked.map_or(KernelSource::Auto, KernelSource::Path);
        let kernel = Kernel::find(&cache, &source, &mut |step| eprintln!("{step}"))?;
        bare::build(&cache, &kernel, &BareOptions::new(INIT.as_bytes(), MODULES))
    };
    built()
        .inspect_err(|error| eprintln!("SKIPPED: no guest: {error}"))
        .ok()
}

async fn boot(guest: &BareGuest, board: MachineType) -> Started {
    let mut machine = machine(&guest.kernel);
    machine.initrd.clone_from(&guest.initrd);
    machine.memory = 256 << 20;
    machine.qemu.machine = board;
    start(machine).await.unwrap()
}

#[tokio::test]
async fn what_is_said_before_the_guest_is_up_is_heard() {
    let Some(guest) = guest() else { return };
    for board in MachineType::ALL {
        let mut started = boot(&guest, board).await;
        // The kernel has not begun; 64 KiB of comment is more than QEMU's own buffers hold.
        let early = format!(
            ": {}\necho early; cat /sys/devices/system/clocksource/*/current_clocksource\n",
            "x".repeat(65_536)
        );
        agent(&mut started)
            .write_all(early.as_bytes())
            .await
            .unwrap();
        let heard = read_until(agent(&mut started), "tsc").await;
        assert!(heard.starts_with("up\nearly\n"), "{heard:?}");
        agent(&mut started)
            .write_all(b"poweroff -f\n")
            .await
            .unwrap();
        let (ending, console) = end(started).await;
        assert_eq!(ending.kind, EndingKind::PoweredOff, "{ending:?} {console}");
    }
}

#[tokio::test]
async fn the_kernels_own_ends_have_their_names() {
    let Some(guest) = guest() else { return };
    let cases = [
        (
            "echo c > /proc/sysrq-trigger\n",
            EndingKind::Panic,
            "sysrq triggered crash",
        ),
        ("echo b > /proc/sysrq-trigger\n", EndingKind::Reset, ""),
        ("reboot -f\n", EndingKind::Reset, ""),
        ("halt -f\n", EndingKind::PoweredOff, ""),
        ("exit 3\n", EndingKind::Panic, "Attempted to kill init"),
    ];
    for (command, kind, detail) in cases {
        let mut started = boot(&guest, MachineType::Microvm).await;
        agent(&mut started)
            .write_all(command.as_bytes())
            .await
            .unwrap();
        let (ending, console) = end(started).await;
        assert_eq!(ending.kind, kind, "{command}{ending:?} {console}");
        assert!(ending.detail.contains(detail), "{ending:?}");
    }
}

#[tokio::test]
async fn the_agents_channel_outlives_reboots() {
    let Some(guest) = guest() else { return };
    let mut started = boot(&guest, MachineType::Microvm).await;
    allow_reboot(&started, true).await;
    agent(&mut started)
        .write_all(b"echo first; reboot -f\n")
        .await
        .unwrap();
    read_until(agent(&mut started), "first").await;
    // What is said before this may end in the buffers of the first boot.
    read_until(agent(&mut started), "up\n").await;
    agent(&mut started)
        .write_all(b"echo second\n")
        .await
        .unwrap();
    read_until(agent(&mut started), "second").await;
    started.running.kill().await;
}

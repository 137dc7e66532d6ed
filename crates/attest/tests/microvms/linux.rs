//! The same with Linux, where this host's KVM runs it: the bare guest, and a Debian.

use attest::manifest::{Backend, Disk, Image, Machine as Definition, RootFormat, Size};
use attest::{Lab, LabBuilder, Machine, Result};

use crate::debian::{can_build, debian};
use crate::guest::{Booted, backends};
use crate::support::{LONG, text};

/// The backends that run Linux here; of the others it is said why not.
fn with_linux() -> Vec<Backend> {
    let backends = backends();
    match attest_vmm::probe::kvm() {
        attest_vmm::probe::KvmProbe::Usable => backends,
        attest_vmm::probe::KvmProbe::Doubtful(reason)
        | attest_vmm::probe::KvmProbe::Unusable(reason) => {
            eprintln!("SKIPPED: no Linux under KVM: {reason}");
            Vec::new()
        }
    }
}

/// Two machines, `a` and `b`, with a disk each.
fn two(backend: Backend, change: impl Fn(&mut Definition)) -> LabBuilder {
    let mut builder = Lab::builder().network("lan").boot_timeout(LONG);
    for name in ["a", "b"] {
        builder = builder.machine_with(name, |machine| {
            machine.backend = Some(backend);
            machine.disks = vec![Disk {
                size: Some(Size::from_mib(16)),
                ..Disk::default()
            }];
            change(machine);
        });
    }
    builder
}

/// What every Linux is asked: commands, files, the network, its disk by its name, a reboot, and forks.
async fn is_a_whole_machine(booted: &Booted) -> Result<()> {
    let (a, b) = (booted.a(), booted.lab.machine("b")?);
    assert_eq!(text(&a, "uname -s").await?, "Linux\n");
    let sent = "0123456789abcdef".repeat(64 * 1024);
    let echoed = a.exec(["cat"]).stdin(sent.clone()).await?;
    assert!(echoed.text() == sent);
    a.shell("ping -c1 -w10 b").await?;
    a.shell("echo written > /dev/disk/by-id/virtio-disk0")
        .await?;
    b.shell("echo one > /tmp/file; sleep 1000 & echo $! > /tmp/pid")
        .await?;
    let boot = text(&b, "cat /proc/sys/kernel/random/boot_id").await?;
    let snapshot = booted.lab.snapshot().await?;
    let fork = snapshot.fork().await?;
    let other = fork.machine("b")?;
    b.shell("echo two > /tmp/file").await?;
    assert_eq!(text(&other, "cat /tmp/file").await?, "one\n");
    assert_eq!(
        text(&other, "cat /proc/sys/kernel/random/boot_id").await?,
        boot
    );
    other.shell("kill -0 $(cat /tmp/pid)").await?;
    other.shell("ping -c1 -w10 a").await?;
    is_now(&other).await?;
    assert_ne!(random(&b).await?, random(&other).await?);
    fork.shutdown().await;
    booted.lab.restore(&snapshot).await?;
    assert_eq!(text(&b, "cat /tmp/file").await?, "one\n");
    a.reboot().await?;
    let disk = text(&a, "head -c7 /dev/disk/by-id/virtio-disk0").await?;
    assert_eq!(disk, "written");
    a.power_off().await
}

async fn random(machine: &Machine) -> Result<String> {
    text(machine, "head -c16 /dev/urandom | od -An -tx1").await
}

/// Its clock is the host's, to a minute.
async fn is_now(machine: &Machine) -> Result<()> {
    let guest: u64 = text(machine, "date +%s").await?.trim().parse().unwrap();
    let host = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap()
        .as_secs();
    assert!(host.abs_diff(guest) < 60, "{guest} is not {host}");
    Ok(())
}

#[tokio::test]
async fn the_bare_guest_is_a_whole_machine() -> Result<()> {
    for backend in with_linux() {
        let booted = Booted::of(two(backend, |_| {})).await?;
        is_a_whole_machine(&booted).await?;
        booted.lab.shutdown().await;
    }
    Ok(())
}

#[tokio::test]
async fn a_debian_is_a_whole_machine() -> Result<()> {
    let backends = with_linux();
    if backends.is_empty() || !can_build("a_debian_is_a_whole_machine") {
        return Ok(());
    }
    for backend in backends {
        for format in [RootFormat::Erofs, RootFormat::Ext4] {
            let builder = two(backend, |machine| {
                machine.image = Some(Image::Name("debian".to_owned()));
            });
            let booted = Booted::of(builder.image("debian", debian(format))).await?;
            let a = booted.a();
            a.wait_for_unit("multi-user.target").timeout(LONG).await?;
            assert_eq!(text(&a, "cat /etc/attest-test").await?, "from the image\n");
            // The image is shared, and stays as it is.
            a.shell("echo changed > /etc/attest-test").await?;
            let b = booted.lab.machine("b")?;
            assert_eq!(text(&b, "cat /etc/attest-test").await?, "from the image\n");
            is_a_whole_machine(&booted).await?;
            booted.lab.shutdown().await;
        }
    }
    Ok(())
}

//! Faults on purpose: each ends in an error that names the machine and the cause, leaves nothing, and harms no other.

use attest::events::MachineEnding;
use attest::manifest::{Backend, Disk, Image, ImageFiles};
use attest::{Error, Lab, LabBuilder, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::guest::{Booted, backends, define, has_firecracker, one, says, with};
use crate::support::{LONG, failed, silent};

/// Boot a lab that cannot, and give its error.
async fn refused(builder: LabBuilder) -> Error {
    let output = tempfile::tempdir().unwrap();
    failed(builder.context(silent(output.path())).boot().await)
}

fn two(backend: Backend) -> LabBuilder {
    let mut builder = Lab::builder().network("lan");
    for name in ["a", "b"] {
        builder = builder.machine_with(name, |machine| define(machine, backend));
    }
    builder
}

#[tokio::test]
async fn a_vmm_that_is_killed_ends_its_machine_and_no_other() -> Result<()> {
    for backend in backends() {
        let booted = Booted::of(two(backend)).await?;
        let (a, b) = (booted.a(), booted.lab.machine("b")?);
        let vmm = a.vmm_pid().await.expect("it runs");
        let hanging = a.exec(["hang"]).timeout(LONG);
        let killing = async {
            // It is under way when the plug is pulled.
            says(&a, ["echo", "before"]).await.unwrap();
            kill(Pid::from_raw(vmm.try_into().unwrap()), Signal::SIGKILL).unwrap();
        };
        let (hung, ()) = tokio::join!(hanging, killing);
        match failed(hung) {
            Error::MachineEnded { ending, .. } => assert_eq!(ending, MachineEnding::VmmCrashed),
            // The stream ended first.
            other => assert!(other.chain().contains("a: "), "{other:?}"),
        }
        let after = failed(a.exec(["true"]).timeout(LONG).await);
        assert!(after.to_string().contains("signal 9"), "{after}");
        assert_eq!(says(&b, ["echo", "unharmed"]).await?, "unharmed");
        // And it can be started again.
        a.start().await?;
        assert_eq!(says(&a, ["count"]).await?, "1");
        booted.lab.shutdown().await;
    }
    Ok(())
}

#[tokio::test]
async fn a_guest_that_dies_in_the_middle_of_a_command_is_named() -> Result<()> {
    for backend in backends() {
        let booted = Booted::of(two(backend)).await?;
        let (a, b) = (booted.a(), booted.lab.machine("b")?);
        let hanging = a.exec(["hang"]).timeout(LONG);
        let crashing = async {
            let _ = a.exec(["crash"]).timeout(LONG).await;
        };
        let (hung, ()) = tokio::join!(hanging, crashing);
        failed(hung);
        assert_eq!(says(&b, ["echo", "unharmed"]).await?, "unharmed");
        booted.lab.shutdown().await;
    }
    Ok(())
}

#[tokio::test]
async fn a_kernel_of_the_wrong_kind_is_refused_with_what_is_needed() {
    let whole = std::fs::read(attest_fixture::metal::kernel()).unwrap();
    let mut without_note = whole.clone();
    let note = without_note
        .windows(4)
        .position(|bytes| bytes == b"Xen\0")
        .unwrap();
    without_note[note..note + 4].fill(0);
    let cases = [
        (
            b"no kernel at all".to_vec(),
            "neither a bzImage nor a vmlinux",
        ),
        (without_note, "PVH"),
        (whole[..200].to_vec(), "PVH"),
    ];
    for backend in backends() {
        for (content, expected) in &cases {
            let directory = tempfile::tempdir().unwrap();
            let kernel = directory.path().join("vmlinux-0.1-none");
            std::fs::write(&kernel, content).unwrap();
            let files = ImageFiles {
                kernel: Some(kernel.clone()),
                initrd: Some(kernel),
            };
            let builder = with(backend, |machine| machine.image = Some(Image::Files(files)));
            let context = silent(directory.path());
            let error = builder.context(context).boot().await.unwrap_err();
            assert!(
                error.chain().contains(expected),
                "{}: {}",
                backend.name(),
                error.chain()
            );
        }
    }
}

#[tokio::test]
async fn what_no_backend_has_room_for_is_refused_before_anything_starts() {
    for backend in backends() {
        let many = (0..40).map(|_| Disk {
            size: Some(attest::manifest::Size::from_mib(1)),
            ..Disk::default()
        });
        let builder = with(backend, |machine| machine.disks = many.collect());
        let chain = refused(builder).await.chain();
        assert!(
            chain.contains("virtio devices") && chain.contains("40 disks"),
            "{chain}"
        );
        let builder = with(backend, |machine| {
            machine.memory = Some(attest::manifest::Size::from_mib(16 << 20));
        });
        let chain = refused(builder).await.chain();
        assert!(chain.contains("memory"), "{chain}");
    }
}

#[tokio::test]
async fn a_qcow2_is_refused_with_what_to_do() {
    if !has_firecracker() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk.qcow2");
    // The magic number, version 3, and a size; all else is empty (docs/interop/qcow2.txt of QEMU).
    let mut header = vec![0; 65_536];
    header[..8].copy_from_slice(b"QFI\xfb\0\0\0\x03");
    header[20..32].copy_from_slice(&[0, 0, 0, 16, 0, 0, 0, 0, 0, 16, 0, 0]);
    std::fs::write(&path, header).unwrap();
    let disk = Disk {
        source: Some(path),
        read_only: true,
        ..Disk::default()
    };
    let chain = refused(with(Backend::Firecracker, |machine| {
        machine.disks = vec![disk];
    }))
    .await
    .chain();
    assert!(
        chain.contains("raw disks only") && chain.contains("qemu-img convert"),
        "{chain}"
    );
}

#[tokio::test]
async fn nothing_is_left_of_machines_that_come_and_go() -> Result<()> {
    for backend in backends() {
        let booted = Booted::of(one(backend).network("lan")).await?;
        let (a, lab) = (booted.a(), &booted.lab);
        let left = || {
            let root = format!("/proc/{}/root/dev/shm/p", lab.pid());
            let places = std::fs::read_dir(root).unwrap().count();
            let devices = std::fs::read_to_string(format!("/proc/{}/net/dev", lab.pid())).unwrap();
            (places, devices.lines().count())
        };
        let before = left();
        for _ in 0..3 {
            a.kill().await;
            a.start().await?;
            assert_eq!(says(&a, ["echo", "again"]).await?, "again");
        }
        assert_eq!(left(), before, "{}", backend.name());
        booted.lab.shutdown().await;
    }
    Ok(())
}

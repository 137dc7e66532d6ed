//! Cards, disks, balloons, and the boot timer.

use attest::manifest::{Backend, Disk, MachineNetwork, MachineNetworkSettings, Rate, Size};
use attest::{Lab, Result};

use crate::guest::{Booted, backends, define, has_firecracker, says, with};

fn scratch() -> Disk {
    Disk {
        size: Some(Size::from_mib(1)),
        ..Disk::default()
    }
}

fn rate() -> Rate {
    Rate {
        bandwidth: Some(Size::from_mib(100)),
        operations: Some(10_000),
    }
}

#[tokio::test]
async fn machines_of_a_network_reach_each_other() -> Result<()> {
    for backend in backends() {
        let mut builder = Lab::builder().network("lan");
        for name in ["a", "b"] {
            builder = builder.machine_with(name, |machine| {
                define(machine, backend);
                machine.networks = Some(vec![MachineNetwork::Settings(MachineNetworkSettings {
                    network: "lan".to_owned(),
                    rate: Some(rate()),
                    ..MachineNetworkSettings::default()
                })]);
            });
        }
        let booted = Booted::of(builder).await?;
        let (a, b) = (booted.a(), booted.lab.machine("b")?);
        let before: u32 = says(&b, ["received", "0"]).await?.parse().unwrap();
        says(&a, ["send", "0"]).await?;
        // A frame needs no longer than an answer, but that need not be sooner.
        let mut after = before;
        for _ in 0..100 {
            after = says(&b, ["received", "0"]).await?.parse().unwrap();
            if after > before {
                break;
            }
        }
        assert!(after > before, "{}", backend.name());
        booted.lab.shutdown().await;
    }
    Ok(())
}

#[tokio::test]
async fn disks_are_there_in_order_and_read_only_ones_stay_as_they_are() -> Result<()> {
    for backend in backends() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("data.raw");
        let mut content = vec![0; 1 << 20];
        content[..5].copy_from_slice(b"hello");
        std::fs::write(&path, &content).unwrap();
        let source = Disk {
            source: Some(path.clone()),
            read_only: true,
            ..Disk::default()
        };
        let limited = Disk {
            rate: Some(rate()),
            ..scratch()
        };
        let booted = Booted::of(with(backend, |machine| {
            machine.disks = vec![source, limited];
        }))
        .await?;
        let a = booted.a();
        let hello = says(&a, ["read", "0"]).await?;
        assert!(hello.starts_with("68656c6c6f"), "{hello}");
        says(&a, ["write", "1", "hello"]).await?;
        assert_eq!(says(&a, ["read", "1"]).await?, hello);
        booted.lab.shutdown().await;
        assert_eq!(std::fs::read(&path).unwrap(), content);
    }
    Ok(())
}

#[tokio::test]
async fn more_devices_than_fit_on_mmio_are_on_pci() -> Result<()> {
    if !has_firecracker() {
        return Ok(());
    }
    // The guest knows eight of them.
    let disks = (0..18).map(|_| scratch()).collect();
    let booted = Booted::of(with(Backend::Firecracker, |machine| machine.disks = disks)).await?;
    let a = booted.a();
    says(&a, ["write", "7", "last"]).await?;
    assert!(says(&a, ["read", "7"]).await?.starts_with("6c617374"));
    let snapshot = booted.lab.snapshot().await?;
    let fork = snapshot.fork().await?;
    let forked = fork.machine("a")?;
    assert!(says(&forked, ["read", "7"]).await?.starts_with("6c617374"));
    fork.shutdown().await;
    booted.lab.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn a_balloon_is_told_its_size() -> Result<()> {
    for backend in backends() {
        let booted = Booted::of(with(backend, |machine| machine.balloon = Some(true))).await?;
        let a = booted.a();
        // The guest has no driver for it, so that nothing is given back.
        if let Err(error) = a.balloon(16 << 20).await {
            assert!(error.chain().contains("alloon"), "{}", error.chain());
        }
        booted.lab.shutdown().await;
    }
    Ok(())
}

#[tokio::test]
async fn the_boot_that_firecracker_measured_is_in_the_breakdown() -> Result<()> {
    if !has_firecracker() {
        return Ok(());
    }
    let output = tempfile::tempdir().unwrap();
    let (recorder, mut events) = attest::Recorder::new(std::time::Instant::now());
    let context = attest::LabContext {
        recorder: recorder.clone(),
        ..crate::support::silent(output.path())
    };
    let lab = crate::guest::one(Backend::Firecracker)
        .context(context)
        .boot()
        .await?;
    lab.shutdown().await;
    drop((lab, recorder));
    let mut told = 0;
    while let Some(event) = events.next().await {
        if let attest::events::EventKind::BootMeasured { duration_ns } = event.kind {
            assert!(duration_ns > 0);
            told += 1;
        }
    }
    assert_eq!(told, 1);
    Ok(())
}

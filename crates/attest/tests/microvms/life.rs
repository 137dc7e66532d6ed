//! How machines begin and end.

use attest::events::MachineEnding;
use attest::manifest::Backend;
use attest::{Error, Result};

use crate::guest::{Booted, backends, one, says, with};
use crate::support::LONG;

#[tokio::test]
async fn machines_answer_and_are_switched_off() -> Result<()> {
    for backend in backends() {
        let booted = Booted::of(one(backend)).await?;
        let a = booted.a();
        assert_eq!(says(&a, ["echo", "hello", "there"]).await?, "hello there");
        assert!(!a.exec(["false"]).ignore_status().await?.success());
        // Both directions at once, more than any window holds.
        let sent = "0123456789abcdef".repeat(16 * 1024);
        let echoed = a.exec(["cat"]).stdin(sent.clone()).await?;
        assert!(
            echoed.text() == sent,
            "{} bytes came back",
            echoed.text().len()
        );
        a.power_off().await?;
        booted.lab.shutdown().await;
    }
    Ok(())
}

#[tokio::test]
async fn commands_run_side_by_side_and_can_be_given_up() -> Result<()> {
    for backend in backends() {
        let booted = Booted::of(one(backend)).await?;
        let a = booted.a();
        let hanging = a
            .exec(["hang"])
            .timeout(std::time::Duration::from_millis(200));
        let (hung, said) = tokio::join!(hanging, says(&a, ["echo", "meanwhile"]));
        match hung {
            Err(Error::Command(failure)) => assert!(failure.timed_out.is_some(), "{failure:?}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(said?, "meanwhile");
        assert_eq!(says(&a, ["echo", "after"]).await?, "after");
        booted.lab.shutdown().await;
    }
    Ok(())
}

#[tokio::test]
async fn a_guest_reboots_when_it_is_asked_to() -> Result<()> {
    for backend in backends() {
        let booted = Booted::of(one(backend)).await?;
        let a = booted.a();
        assert_eq!(says(&a, ["count"]).await?, "1");
        for _ in 0..2 {
            assert_eq!(says(&a, ["count"]).await?, "2");
            a.reboot().await?;
            assert_eq!(says(&a, ["count"]).await?, "1");
        }
        booted.lab.shutdown().await;
    }
    Ok(())
}

async fn ended(backend: Backend, word: &str) -> Result<(MachineEnding, String)> {
    let booted = Booted::of(one(backend)).await?;
    let a = booted.a();
    let _ = a.exec([word]).timeout(LONG).await;
    let error = a.exec(["true"]).timeout(LONG).await.unwrap_err();
    let ending = match &error {
        Error::MachineEnded { ending, .. } => *ending,
        other => panic!("{} {word}: {other:?}", backend.name()),
    };
    booted.lab.shutdown().await;
    Ok((ending, error.to_string()))
}

#[tokio::test]
async fn each_end_has_its_own_name() -> Result<()> {
    let cases = [
        ("off", MachineEnding::PoweredOff),
        ("panic", MachineEnding::Panic),
        ("crash", MachineEnding::TripleFault),
    ];
    for backend in backends() {
        for (word, expected) in cases {
            let (ending, message) = ended(backend, word).await?;
            // Where the kernel emulates every instruction, a triple fault is an error of KVM's for Cloud Hypervisor.
            if expected == MachineEnding::TripleFault && message.contains("InternalError") {
                assert_eq!(ending, MachineEnding::VmmCrashed, "{message}");
                continue;
            }
            assert_eq!(ending, expected, "{}: {word}: {message}", backend.name());
        }
    }
    Ok(())
}

/// The numbers of the guest's lines that are not there whole: of each, a letter 54 times follows its number.
fn missing(console: &str, kib: usize) -> Vec<usize> {
    let found: std::collections::HashSet<&str> = console.lines().map(str::trim).collect();
    let expected = |number: usize| {
        let letter = char::from(b"abcdefghijklmnopqrstuvwxyz"[number % 26]);
        format!("{number:08x} {}", String::from(letter).repeat(54))
    };
    let lines = 0..kib * 1024 / 64;
    lines
        .filter(|number| !found.contains(expected(*number).as_str()))
        .collect()
}

#[tokio::test]
async fn what_is_printed_at_full_speed_is_all_there() -> Result<()> {
    const KIB: usize = 64;
    for backend in backends() {
        let booted = Booted::of(one(backend)).await?;
        let a = booted.a();
        a.exec(["serial", &KIB.to_string()]).timeout(LONG).await?;
        a.power_off().await?;
        booted.lab.shutdown().await;
        let console = std::fs::read_to_string(booted.file("a.console.log")).unwrap();
        let missing = missing(&console, KIB);
        assert_eq!(missing, Vec::<usize>::new(), "{}", backend.name());
    }
    Ok(())
}

#[tokio::test]
async fn a_machine_is_paused_and_goes_on() -> Result<()> {
    for backend in backends() {
        let booted = Booted::of(one(backend)).await?;
        let a = booted.a();
        for _ in 0..3 {
            a.pause().await?;
            let waits = tokio::time::timeout(
                std::time::Duration::from_millis(200),
                a.exec(["echo", "late"]).into_future(),
            );
            assert!(waits.await.is_err());
            a.resume().await?;
            assert_eq!(says(&a, ["echo", "now"]).await?, "now");
        }
        booted.lab.shutdown().await;
    }
    Ok(())
}

#[tokio::test]
async fn many_machines_of_a_lab_start_at_once() -> Result<()> {
    for backend in backends() {
        let mut builder = attest::Lab::builder().network("lan");
        for name in ["a", "b", "c"] {
            builder = builder.machine_with(name, |machine| crate::guest::define(machine, backend));
        }
        let booted = Booted::of(builder).await?;
        for machine in booted.lab.machines() {
            assert_eq!(says(machine, ["echo", "hi"]).await?, "hi");
        }
        booted.lab.shutdown().await;
    }
    Ok(())
}

#[tokio::test]
async fn a_jail_hides_the_host_and_changes_nothing_else() -> Result<()> {
    if !crate::guest::has_firecracker() {
        return Ok(());
    }
    let builder = with(Backend::Firecracker, |machine| {
        machine.jailer = Some(attest::manifest::Jailer::Require);
    });
    let booted = match Booted::of(builder.network("lan")).await {
        Err(error) if error.chain().contains("jailer = \"require\"") => {
            eprintln!("SKIPPED: {}", error.chain());
            return Ok(());
        }
        booted => booted?,
    };
    let a = booted.a();
    let vmm = std::path::PathBuf::from(format!("/proc/{}", a.vmm_pid().await.unwrap()));
    // Its root is its place, and it is nobody of the host's.
    assert!(vmm.join("root/api").exists() && !vmm.join("root/etc").exists());
    let status = std::fs::read_to_string(vmm.join("status")).unwrap();
    let user = status
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))
        .unwrap();
    assert!(!user.split_whitespace().any(|user| user == "0"), "{user}");
    assert_eq!(says(&a, ["count"]).await?, "1");
    let snapshot = booted.lab.snapshot().await?;
    let fork = snapshot.fork().await?;
    assert_eq!(says(&fork.machine("a")?, ["count"]).await?, "2");
    assert_eq!(says(&a, ["count"]).await?, "2");
    a.reboot().await?;
    assert_eq!(says(&a, ["count"]).await?, "1");
    fork.shutdown().await;
    booted.lab.shutdown().await;
    Ok(())
}

//! Machines that are saved, put back and forked.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use attest::manifest::{Backend, Disk, Size};
use attest::{Error, Lab, Result, Snapshot};

use crate::guest::{Booted, backends, define, one, says, with};

/// A snapshot; where this host's KVM lets the VMM make none, that is said.
async fn snapshot(lab: &Lab, backend: Backend) -> Result<Option<Snapshot>> {
    match lab.snapshot().await {
        Ok(snapshot) => Ok(Some(snapshot)),
        Err(error) if backend == Backend::CloudHypervisor && is_of_kvm(&error) => {
            eprintln!("SKIPPED for cloud-hypervisor: {}", error.chain());
            // The lab goes on as it was.
            for machine in lab.machines() {
                assert_eq!(says(machine, ["echo", "on"]).await?, "on");
            }
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Whether the host's KVM cannot tell the state of nested guests, without which Cloud Hypervisor saves nothing.
fn is_of_kvm(error: &Error) -> bool {
    error.chain().contains("ested")
}

#[tokio::test]
async fn forks_begin_as_the_lab_was_and_have_nothing_in_common() -> Result<()> {
    for backend in backends() {
        let mut builder = Lab::builder().network("lan");
        for name in ["a", "b"] {
            builder = builder.machine_with(name, |machine| define(machine, backend));
        }
        let booted = Booted::of(builder).await?;
        let a = booted.a();
        assert_eq!(says(&a, ["count"]).await?, "1");
        assert_eq!(says(&a, ["dirty", "4"]).await?, "dirty 4");
        let Some(snapshot) = snapshot(&booted.lab, backend).await? else {
            continue;
        };
        let (one, two) = tokio::join!(snapshot.fork(), snapshot.fork());
        let (one, two) = (one?, two?);
        for lab in [&booted.lab, &one, &two] {
            let (a, b) = (lab.machine("a")?, lab.machine("b")?);
            assert_eq!(says(&a, ["count"]).await?, "2");
            assert_eq!(says(&b, ["count"]).await?, "1");
            assert_eq!(says(&a, ["check"]).await?, "whole 4");
            // What one writes, none of the others sees.
            assert_eq!(says(&a, ["dirty", "5"]).await?, "dirty 5");
        }
        // Put back, any number of times, with traffic before and after.
        for round in 0..5 {
            booted.lab.restore(&snapshot).await?;
            assert_eq!(says(&a, ["check"]).await?, "whole 4", "round {round}");
            assert_eq!(says(&a, ["count"]).await?, "2", "round {round}");
            let echoed = a.exec(["cat"]).stdin("x".repeat(100_000)).await?;
            assert_eq!(echoed.text().len(), 100_000, "round {round}");
        }
        // Saved again, with what was written since.
        let later = one.snapshot().await?;
        one.shutdown().await;
        let last = later.fork().await?;
        let a = last.machine("a")?;
        assert_eq!(says(&a, ["check"]).await?, "whole 5");
        assert_eq!(says(&a, ["count"]).await?, "3");
        two.shutdown().await;
        last.shutdown().await;
        booted.lab.shutdown().await;
    }
    Ok(())
}

#[tokio::test]
async fn one_machine_is_saved_and_put_back_many_times() -> Result<()> {
    for backend in backends() {
        let booted = Booted::of(one(backend)).await?;
        let a = booted.a();
        for round in 1..5_u32 {
            assert_eq!(says(&a, ["count"]).await?, round.to_string());
            let Some(_) = snapshot(&booted.lab, backend).await? else {
                break;
            };
            // What was saved last goes on here; each is saved from the one before.
        }
        booted.lab.shutdown().await;
    }
    Ok(())
}

#[tokio::test]
async fn what_goes_on_has_the_hosts_time_and_randomness_of_its_own() -> Result<()> {
    for backend in backends() {
        let booted = Booted::of(one(backend)).await?;
        let Some(snapshot) = snapshot(&booted.lab, backend).await? else {
            continue;
        };
        let (one, two) = (snapshot.fork().await?, snapshot.fork().await?);
        let mut seeds = Vec::new();
        for lab in [&one, &two] {
            let a = lab.machine("a")?;
            seeds.push(says(&a, ["seed"]).await?);
            let clock: u64 = says(&a, ["clock"]).await?.parse().unwrap();
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            let apart = now.abs_diff(Duration::from_nanos(clock));
            assert!(apart < Duration::from_mins(1), "{apart:?}");
        }
        assert_ne!(seeds[0], seeds[1]);
        one.shutdown().await;
        two.shutdown().await;
        booted.lab.shutdown().await;
    }
    Ok(())
}

#[tokio::test]
async fn disks_are_saved_with_the_machine() -> Result<()> {
    for backend in backends() {
        let scratch = || Disk {
            size: Some(Size::from_mib(1)),
            ..Disk::default()
        };
        let booted = Booted::of(with(backend, |machine| machine.disks = vec![scratch()])).await?;
        let a = booted.a();
        says(&a, ["write", "0", "before"]).await?;
        let before = says(&a, ["read", "0"]).await?;
        let Some(snapshot) = snapshot(&booted.lab, backend).await? else {
            continue;
        };
        let fork = snapshot.fork().await?;
        says(&a, ["write", "0", "later"]).await?;
        assert_ne!(says(&a, ["read", "0"]).await?, before);
        let forked = fork.machine("a")?;
        assert_eq!(says(&forked, ["read", "0"]).await?, before);
        booted.lab.restore(&snapshot).await?;
        assert_eq!(says(&a, ["read", "0"]).await?, before);
        // A reboot loses nothing of it.
        says(&a, ["write", "0", "last"]).await?;
        let last = says(&a, ["read", "0"]).await?;
        a.reboot().await?;
        assert_eq!(says(&a, ["read", "0"]).await?, last);
        fork.shutdown().await;
        booted.lab.shutdown().await;
    }
    Ok(())
}

#[tokio::test]
async fn a_fork_goes_on_while_what_it_came_from_is_deleted() -> Result<()> {
    for backend in backends() {
        let booted = Booted::of(one(backend)).await?;
        assert_eq!(says(&booted.a(), ["dirty", "2"]).await?, "dirty 2");
        let Some(snapshot) = snapshot(&booted.lab, backend).await? else {
            continue;
        };
        let (fork, ()) = tokio::join!(snapshot.fork(), booted.lab.shutdown());
        let fork = fork?;
        drop((snapshot, booted));
        assert_eq!(says(&fork.machine("a")?, ["check"]).await?, "whole 2");
        fork.shutdown().await;
    }
    Ok(())
}

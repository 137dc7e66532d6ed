//! What Firecracker refuses it says in its own words, and what attest refuses never gets there.

use std::fs;

use attest_lab::ProcessExit;
use attest_vmm::{Ability, Backend, Saved, VmmError, Wanted};

use crate::support::{Firecracker, Host, chain, names_in, started};

#[tokio::test]
async fn a_kernel_of_the_wrong_kind() {
    for version in [(1, 15, 0), (1, 17, 0)] {
        let host = Host::new(Firecracker {
            version,
            ..Firecracker::default()
        });
        fs::write(host.files.path().join("kernel"), b"#!/bin/sh\n").unwrap();
        let text = chain(&host.start(host.machine()).await.unwrap_err());
        assert!(text.contains("did not start the guest"), "{text}");
        assert!(
            text.contains("invalid kernel image: Kernel Loader"),
            "{text}"
        );
        // Fact: a failed configuration call leaves the process alive. It is attest that ends it.
        assert_eq!(host.last().exited().await, ProcessExit::Signal(9));
    }
}

#[tokio::test]
async fn a_tap_that_somebody_else_has() {
    let host = Host::new(Firecracker {
        busy_taps: ["tap0".to_owned()].into(),
        ..Firecracker::default()
    });
    let text = chain(&host.start(host.machine()).await.unwrap_err());
    assert!(
        text.contains("did not take its card 0, over the TAP tap0"),
        "{text}"
    );
    assert!(text.contains("Device or resource busy"), "{text}");
    assert_eq!(host.last().exited().await, ProcessExit::Signal(9));
}

#[tokio::test]
async fn too_much_of_anything_that_was_not_checked_before() {
    let host = Host::new(Firecracker::default());
    let refusal = async |change: fn(&mut attest_vmm::VirtualConfig)| {
        let mut machine = host.machine();
        change(&mut machine);
        let text = chain(&host.start(machine).await.unwrap_err());
        assert_eq!(host.last().exited().await, ProcessExit::Signal(9));
        text
    };
    let vcpus = refusal(|machine| machine.vcpus = 33).await;
    assert!(
        vcpus.contains("take its size") && vcpus.contains("number of vCPUs"),
        "{vcpus}"
    );
    let memory = refusal(|machine| machine.memory = 0).await;
    assert!(memory.contains("memory size (MiB) is either 0"), "{memory}");
    let long = refusal(|machine| machine.kernel_arguments = vec!["x".repeat(2048)]).await;
    assert!(
        long.contains("take its kernel") && long.contains("command line"),
        "{long}"
    );
    let devices = refusal(|machine| machine.kernel_arguments = vec!["x".repeat(1700)]).await;
    assert!(devices.contains("command line too long"), "{devices}");
}

#[tokio::test]
async fn a_socket_that_is_there_already() {
    let host = Host::new(Firecracker::default());
    for (name, words) in [
        ("api", "Failed to open the API socket at: api"),
        (
            "vsock",
            "Error binding to the host-side Unix socket: Address in use",
        ),
    ] {
        let place = host.place();
        fs::write(place.join(name), "").unwrap();
        let error = host.start_in(&place, host.machine()).await.0.unwrap_err();
        let text = chain(&error);
        let words = words.replace("Address in use", "Address already in use");
        assert!(text.contains(&words), "{text}");
        host.last().exited().await;
        assert!(
            names_in(&place).contains(&name.to_owned()),
            "it is somebody else's"
        );
    }
}

#[tokio::test]
async fn arguments_that_a_build_does_not_know() {
    let fake = Firecracker {
        version: (1, 12, 0),
        ..Firecracker::default()
    };
    let host = Host::that_says((1, 13, 0), fake);
    let mut machine = host.machine();
    let card = |number| attest_vmm::Card {
        mac: [2, 0, 0, 0, 0, number],
        rate: None,
    };
    machine.cards = (0..14).map(card).collect();
    let error = host.start(machine).await.unwrap_err();
    let text = chain(&error);
    assert!(matches!(error, VmmError::EndedEarly { .. }), "{text}");
    // Before there is an API, and before there is a log.
    assert!(text.contains("exit code 153"), "{text}");
    assert!(
        text.contains("UnexpectedArgument(\"enable-pci\")"),
        "{text}"
    );
}

#[tokio::test]
async fn versions_that_are_too_old() {
    let host = Host::new(Firecracker {
        version: (1, 11, 0),
        ..Firecracker::default()
    });
    let text = chain(&host.start(host.machine()).await.unwrap_err());
    assert!(text.contains("attest needs 1.12 or newer"), "{text}");
    assert_eq!(host.fakes.started(), 0, "it was not even started");
}

#[tokio::test]
async fn pauses_where_they_break_connections() {
    for version in [(1, 16, 0), (1, 16, 1)] {
        let fake = Firecracker {
            version,
            ..Firecracker::default()
        };
        let (host, started) = started(fake).await;
        let before = host.last().calls().len();
        let state = || tempfile::tempfile().unwrap().into();
        let saves = started.running.saves().unwrap();
        let refusals = [
            started.running.pause().unwrap().pause().await,
            saves.save(state(), Saved::Devices).await.map(drop),
            saves.load(state(), Saved::Devices).await,
        ];
        for refusal in refusals {
            let text = chain(&refusal.unwrap_err());
            assert!(text.contains("breaks connections with a guest"), "{text}");
        }
        assert_eq!(host.last().calls().len(), before, "nothing was asked for");
        for ability in [Ability::Pause, Ability::Snapshots] {
            let wanted = Wanted {
                machine: "web".to_owned(),
                vcpus: 1,
                abilities: vec![ability],
                ..Wanted::default()
            };
            let refused = host.backend.check(&wanted).unwrap_err();
            // A host without KVM is told of that first.
            let text = chain(&refused);
            assert!(
                text.contains("breaks connections") || text.contains("KVM"),
                "{text}"
            );
        }
    }
}

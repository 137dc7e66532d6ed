//! What Cloud Hypervisor refuses it says in its own words, and what attest refuses never gets there.

use std::fs;

use attest_lab::ProcessExit;

use crate::support::{CloudHypervisor, Host, chain, names_in};

#[tokio::test]
async fn a_kernel_of_the_wrong_kind() {
    let host = Host::new(CloudHypervisor::default());
    fs::write(host.files.path().join("kernel"), b"#!/bin/sh\n").unwrap();
    let text = chain(&host.start(host.machine()).await.unwrap_err());
    assert!(text.contains("did not start the guest"), "{text}");
    assert!(
        text.contains("The VM could not boot: Cannot load kernel"),
        "{text}"
    );
    assert_eq!(host.last().exited().await, ProcessExit::Signal(9));
}

#[tokio::test]
async fn a_tap_that_somebody_else_has() {
    let host = Host::new(CloudHypervisor {
        busy_taps: ["tap0".to_owned()].into(),
        ..CloudHypervisor::default()
    });
    let text = chain(&host.start(host.machine()).await.unwrap_err());
    assert!(text.contains("Device or resource busy"), "{text}");
    assert_eq!(host.last().exited().await, ProcessExit::Signal(9));
}

#[tokio::test]
async fn a_socket_that_is_there_already() {
    let host = Host::new(CloudHypervisor::default());
    for (name, is_started) in [("api", false), ("vsock", true)] {
        let before = host.fakes.started();
        let place = host.place();
        fs::write(place.join(name), "").unwrap();
        let text = chain(&host.start_in(&place, host.machine()).await.0.unwrap_err());
        assert!(text.contains("Address already in use"), "{text}");
        assert_eq!(host.fakes.started() > before, is_started);
        if is_started {
            assert_eq!(host.last().exited().await, ProcessExit::Signal(9));
        }
        assert!(
            names_in(&place).contains(&name.to_owned()),
            "it is somebody else's"
        );
    }
}

#[tokio::test]
async fn versions_that_are_too_old() {
    let host = Host::that_says("40.0", CloudHypervisor::default());
    let text = chain(&host.start(host.machine()).await.unwrap_err());
    assert!(text.contains("attest needs 41 or newer"), "{text}");
    assert_eq!(host.fakes.started(), 0, "it was not even started");
}

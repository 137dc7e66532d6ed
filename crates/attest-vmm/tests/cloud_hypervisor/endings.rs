//! How machines end that run. An exit code proves nothing.

use attest_vmm::EndingKind;

use crate::common::guest::Script;
use crate::support::{CloudHypervisor, Fate, Session, When, end, started};

fn whose_guest(first: &'static str) -> CloudHypervisor {
    CloudHypervisor {
        guest: Script {
            first: vec![first],
            is_silent: false,
        },
        ..CloudHypervisor::default()
    }
}

#[tokio::test]
async fn a_guest_is_believed_in_what_it_tells() {
    let cases = [
        ("reboot", EndingKind::Reset, "the guest rebooted"),
        ("triple-fault", EndingKind::TripleFault, "triple fault"),
        ("panic Oops", EndingKind::Panic, "Oops"),
        ("off", EndingKind::PoweredOff, "switched itself off"),
        (
            "off-silently",
            EndingKind::PoweredOff,
            "without announcing it",
        ),
        // Fact: an internal KVM error may also end with 0.
        ("exit 0", EndingKind::VmmCrashed, "by an error of KVM's"),
        ("exit 1", EndingKind::VmmCrashed, "exit code 1"),
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
async fn a_reboot_that_was_announced_explains_no_triple_fault() {
    let (_host, started) = started(CloudHypervisor::default()).await;
    let attest_vmm::Reboots::InPlace(reboots) = started.running.reboots() else {
        panic!("it goes on running");
    };
    reboots.allow_reboot(true).await.unwrap();
    let _ = Session::next(&started).await.run("reboot").await;
    let session = Session::next(&started).await;
    reboots.allow_reboot(false).await.unwrap();
    let _ = session.run("triple-fault").await;
    let (ending, _) = end(started).await;
    assert_eq!(ending.kind, EndingKind::TripleFault, "{ending:?}");
}

#[tokio::test]
async fn only_our_own_kill_is_called_one() {
    for signal in [9, 6] {
        let (host, started) = started(CloudHypervisor::default()).await;
        host.last().signal(signal);
        let (ending, _) = end(started).await;
        assert_eq!(ending.kind, EndingKind::VmmCrashed, "{ending:?}");
        assert!(
            ending.detail.contains(&format!("signal {signal}")),
            "{ending:?}"
        );
    }
    // Fact: SIGTERM and SIGINT: clean exit 0.
    let (_host, started) = started(CloudHypervisor {
        fate: Fate::ends(When::Answered(2), 0),
        ..CloudHypervisor::default()
    })
    .await;
    let (ending, _) = end(started).await;
    assert_eq!(ending.kind, EndingKind::VmmCrashed, "{ending:?}");
}

//! A Cloud Hypervisor that ends, or is silent, at each step of its life.

use attest_lab::ProcessExit;
use attest_vmm::{EndingKind, Ram, Saved, VmmError};

use crate::support::{CloudHypervisor, Fate, Host, MEMORY, When, chain, end, started};

async fn ends_early(fate: Fate, how: &str) {
    let host = Host::new(CloudHypervisor {
        fate,
        ..CloudHypervisor::default()
    });
    let error = host.start(host.machine()).await.unwrap_err();
    let text = chain(&error);
    assert!(matches!(error, VmmError::EndedEarly { .. }), "{text}");
    let expected = format!("web: Cloud Hypervisor ended with {how} before it ran the guest");
    assert!(text.starts_with(&expected), "{text}");
}

#[tokio::test]
async fn before_and_in_each_call() {
    let before = [
        When::BeforeApi,
        When::Call(1),
        When::Answered(1),
        When::Call(2),
    ];
    for when in before {
        for code in [0, 1] {
            ends_early(Fate::ends(when.clone(), code), &format!("exit code {code}")).await;
        }
    }
}

#[tokio::test]
async fn with_its_guest_just_started() {
    let (_host, started) = started(CloudHypervisor {
        fate: Fate::ends(When::Answered(2), 1),
        ..CloudHypervisor::default()
    })
    .await;
    let (ending, _) = end(started).await;
    assert_eq!(ending.kind, EndingKind::VmmCrashed, "{ending:?}");
}

#[tokio::test(start_paused = true)]
async fn one_that_does_not_answer_is_given_up_and_ended() {
    for call in ["PUT vm.create", "PUT vm.boot"] {
        let host = Host::new(CloudHypervisor {
            fate: Fate::hangs_in(call),
            ..CloudHypervisor::default()
        });
        let text = chain(&host.start(host.machine()).await.unwrap_err());
        assert!(text.contains("no answer within 30 s"), "{text}");
        assert_eq!(host.last().exited().await, ProcessExit::Signal(9), "{call}");
    }
}

#[tokio::test]
async fn as_it_saves() {
    let (host, started) = started(CloudHypervisor {
        fate: Fate::ends(When::Called("PUT vm.snapshot"), 0),
        ..CloudHypervisor::default()
    })
    .await;
    started.running.pause().unwrap().pause().await.unwrap();
    let state = tempfile::tempfile().unwrap();
    let saves = started.running.saves().unwrap();
    let text = chain(&saves.save(state.into(), Saved::Devices).await.unwrap_err());
    assert!(text.contains("did not save the guest"), "{text}");
    assert_eq!(host.last().exited().await, ProcessExit::Code(0));
    let (ending, _) = end(started).await;
    assert_eq!(ending.kind, EndingKind::VmmCrashed, "{ending:?}");
}

#[tokio::test]
async fn with_nothing_to_load() {
    let host = Host::new(CloudHypervisor::default());
    let mut machine = host.machine();
    let memory = tempfile::tempfile().unwrap();
    memory.set_len(MEMORY).unwrap();
    machine.waits = true;
    machine.ram = Ram::Private(memory.into());
    let started = host.start(machine).await.unwrap();
    let saves = started.running.saves().unwrap();
    let nothing = tempfile::tempfile().unwrap();
    let refused = saves.load(nothing.into(), Saved::Devices).await;
    let text = chain(&refused.unwrap_err());
    assert!(text.contains("its devices cannot be loaded"), "{text}");
    assert_eq!(
        host.last().exited().await,
        ProcessExit::Signal(9),
        "it is nothing"
    );
}

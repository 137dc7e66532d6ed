//! A Firecracker that ends, or is silent, at each step of its life.

use attest_lab::ProcessExit;
use attest_vmm::{EndingKind, Ram, VmmError};

use crate::support::{Fate, Firecracker, Host, When, chain, end, started};

/// The calls that start the machine of the tests.
const CALLS: usize = 9;

async fn ends_early(fake: Firecracker, how: &str) {
    let host = Host::new(fake);
    let error = host.start(host.machine()).await.unwrap_err();
    let text = chain(&error);
    assert!(matches!(error, VmmError::EndedEarly { .. }), "{text}");
    let expected = format!("web: Firecracker ended with {how} before it ran the guest");
    assert!(text.starts_with(&expected), "{text}");
}

#[tokio::test]
async fn before_it_has_an_api() {
    for code in [0, 1, 148] {
        let fake = Firecracker {
            fate: Fate::ends(When::BeforeApi, code),
            ..Firecracker::default()
        };
        ends_early(fake, &format!("exit code {code}")).await;
    }
}

#[tokio::test]
async fn in_and_after_each_call() {
    for number in 1..=CALLS {
        for code in [0, 148] {
            let when = [When::Call(number), When::Answered(number)];
            for when in when {
                if when == When::Answered(CALLS) {
                    continue;
                }
                let fake = Firecracker {
                    fate: Fate::ends(when, code),
                    ..Firecracker::default()
                };
                ends_early(fake, &format!("exit code {code}")).await;
            }
        }
    }
}

#[tokio::test]
async fn with_its_guest_just_started() {
    let (_host, started) = started(Firecracker {
        fate: Fate::ends(When::Answered(CALLS), 150),
        ..Firecracker::default()
    })
    .await;
    let (ending, _) = end(started).await;
    assert_eq!(ending.kind, EndingKind::VmmCrashed, "{ending:?}");
}

#[tokio::test(start_paused = true)]
async fn one_that_makes_no_api_is_given_up_and_ended() {
    let host = Host::new(Firecracker {
        is_mute: true,
        ..Firecracker::default()
    });
    let error = host.start(host.machine()).await.unwrap_err();
    assert!(matches!(error, VmmError::NoApi { .. }), "{error}");
    assert_eq!(host.last().exited().await, ProcessExit::Signal(9));
}

#[tokio::test(start_paused = true)]
async fn one_that_does_not_answer_is_given_up_and_ended() {
    for call in ["PUT /machine-config", "PUT /vsock", "PUT /actions"] {
        let host = Host::new(Firecracker {
            fate: Fate::hangs_in(call),
            ..Firecracker::default()
        });
        let error = host.start(host.machine()).await.unwrap_err();
        let text = chain(&error);
        assert!(text.contains("no answer within 30 s"), "{text}");
        assert_eq!(host.last().exited().await, ProcessExit::Signal(9), "{call}");
    }
}

#[tokio::test]
async fn one_that_is_not_wanted_any_more_is_ended() {
    let host = Host::new(Firecracker {
        fate: Fate::hangs_in("PUT /actions"),
        ..Firecracker::default()
    });
    let mut starting = Box::pin(host.start(host.machine()));
    // Until it hangs.
    while host.fakes.started() == 0 || host.last().calls().len() < CALLS {
        tokio::select! {
            _ = &mut starting => panic!("it started"),
            () = tokio::task::yield_now() => {}
        }
    }
    drop(starting);
    // The start was given up by what waited for it.
    assert_eq!(host.last().exited().await, ProcessExit::Signal(9));
}

#[tokio::test]
async fn as_it_saves() {
    for code in [0, 1, 151] {
        let (host, started) = started(Firecracker {
            fate: Fate::ends(When::Called("PUT /snapshot/create"), code),
            ..Firecracker::default()
        })
        .await;
        started.running.pause().unwrap().pause().await.unwrap();
        let state = tempfile::tempfile().unwrap();
        let saved = started.running.saves().unwrap();
        let saved = saved.save(state.into(), attest_vmm::Saved::Devices);
        let text = chain(&saved.await.unwrap_err());
        assert!(text.contains("did not save the guest"), "{text}");
        assert_eq!(host.last().exited().await, ProcessExit::Code(code));
        let (ending, _) = end(started).await;
        assert_ne!(ending.kind, EndingKind::Killed, "{ending:?}");
    }
}

#[tokio::test]
async fn as_it_loads() {
    for code in [0, 1, 148] {
        let host = Host::new(Firecracker {
            fate: Fate::ends(When::Called("PUT /snapshot/load"), code),
            ..Firecracker::default()
        });
        let mut machine = host.machine();
        machine.waits = true;
        machine.ram = Ram::Private(tempfile::tempfile().unwrap().into());
        let started = host.start(machine).await.unwrap();
        let state = tempfile::tempfile().unwrap();
        let loads = started.running.saves().unwrap();
        let loaded = loads.load(state.into(), attest_vmm::Saved::Devices);
        let text = chain(&loaded.await.unwrap_err());
        assert!(text.contains("did not load what was saved"), "{text}");
        assert!(text.contains("closed its API"), "{text}");
        let (ending, _) = end(started).await;
        // Its guest never ran, so that it is nothing that its guest did.
        assert_eq!(ending.kind, EndingKind::VmmCrashed, "{ending:?}");
    }
}

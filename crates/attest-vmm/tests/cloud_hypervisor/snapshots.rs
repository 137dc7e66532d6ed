//! Machines that are saved and go on, in another Cloud Hypervisor.

use std::fs::{self, File};
use std::os::fd::AsRawFd;

use attest_lab::ProcessExit;
use attest_vmm::{Ram, Saved, Started, VirtualConfig, VmmError};

use crate::support::{CloudHypervisor, Host, MEMORY, Session, chain, listener, names_in, started};

/// A machine that was saved.
struct Kept {
    memory: File,
    state: File,
}

/// The same file, from its start.
fn again(file: &File) -> File {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    File::options().read(true).write(true).open(path).unwrap()
}

/// Given: the memory that it shares.
async fn save(started: &Started, given: Option<&File>) -> Result<Kept, VmmError> {
    let saves = started.running.saves().unwrap();
    started.running.pause().unwrap().pause().await?;
    let state = tempfile::tempfile().unwrap();
    let to = state.try_clone().unwrap().into();
    let made = saves.save(to, Saved::Devices).await?;
    assert_eq!(made.is_none(), given.is_some());
    assert_eq!(saves.goes_on(), given.is_none());
    let memory = made.unwrap_or_else(|| again(given.unwrap()));
    Ok(Kept { memory, state })
}

impl Kept {
    fn private(&self, host: &Host) -> VirtualConfig {
        VirtualConfig {
            ram: Ram::Private(again(&self.memory).into()),
            waits: true,
            ..host.machine()
        }
    }

    async fn load_into(&self, started: &Started) -> Result<(), VmmError> {
        let saves = started.running.saves().unwrap();
        saves.load(again(&self.state).into(), Saved::Devices).await
    }

    /// Loaded, running, and its agent called.
    async fn goes_on(&self, host: &Host, machine: VirtualConfig) -> (Started, Session) {
        let started = host.start(machine).await.unwrap();
        self.load_into(&started).await.unwrap();
        started.running.pause().unwrap().resume().await.unwrap();
        let called = listener(&started).call().expect("it has to be called");
        let session = Session::on(called.await.unwrap()).await;
        (started, session)
    }
}

fn shared() -> File {
    let file = tempfile::tempfile().unwrap();
    file.set_len(MEMORY).unwrap();
    file
}

async fn saved(host: &Host) -> Kept {
    let started = host.start(host.machine()).await.unwrap();
    let session = Session::next(&started).await;
    session.run("write before").await.unwrap();
    save(&started, None).await.unwrap()
}

#[tokio::test]
async fn a_guest_goes_on_where_it_was_again_and_again() {
    let host = Host::new(CloudHypervisor::default());
    let mut kept = saved(&host).await;
    let mut expected = "before".to_owned();
    for round in 0..5 {
        let (started, session) = kept.goes_on(&host, kept.private(&host)).await;
        assert_eq!(session.run("read").await.unwrap(), expected);
        expected = format!("round {round}");
        session.run(&format!("write {expected}")).await.unwrap();
        kept = save(&started, None).await.unwrap();
    }
}

#[tokio::test]
async fn forks_have_one_memory_and_change_their_own() {
    let host = Host::new(CloudHypervisor::default());
    let kept = saved(&host).await;
    let mut forks = Vec::new();
    for text in ["one", "two", "three"] {
        let (fork, session) = kept.goes_on(&host, kept.private(&host)).await;
        assert_eq!(session.run("read").await.unwrap(), "before");
        session.run(&format!("write {text}")).await.unwrap();
        forks.push((fork, session, text));
    }
    for (_fork, session, text) in forks {
        assert_eq!(session.run("read").await.unwrap(), text);
    }
}

#[tokio::test]
async fn memory_that_is_shared_is_where_it_was_given() {
    let host = Host::new(CloudHypervisor::default());
    let file = shared();
    let booted = VirtualConfig {
        ram: Ram::Shared(again(&file).into()),
        ..host.machine()
    };
    let started = host.start(booted).await.unwrap();
    let session = Session::next(&started).await;
    session.run("write first").await.unwrap();
    let kept = save(&started, Some(&file)).await.unwrap();
    drop((session, started));
    let mut machine = kept.private(&host);
    machine.ram = Ram::Shared(again(&file).into());
    let (started, session) = kept.goes_on(&host, machine).await;
    assert_eq!(session.run("read").await.unwrap(), "first");
    session.run("write second").await.unwrap();
    let kept = save(&started, Some(&file)).await.unwrap();
    let (_started, session) = kept.goes_on(&host, kept.private(&host)).await;
    assert_eq!(session.run("read").await.unwrap(), "second");
}

#[tokio::test]
async fn connections_outlive_a_snapshot() {
    let host = Host::new(CloudHypervisor::default());
    let place = host.place();
    let started = host.start_in(&place, host.machine()).await.0.unwrap();
    let session = Session::next(&started).await;
    save(&started, None).await.unwrap();
    started.running.pause().unwrap().resume().await.unwrap();
    assert_eq!(session.run("echo there").await.unwrap(), "there");
    assert!(
        !names_in(&place).contains(&"snapshot".to_owned()),
        "nothing is left of it"
    );
}

#[tokio::test]
async fn what_cannot_be_saved_says_why_and_goes_on() {
    let full = CloudHypervisor {
        is_full: true,
        ..CloudHypervisor::default()
    };
    let nested = CloudHypervisor {
        lacks_nested_state: true,
        ..CloudHypervisor::default()
    };
    for (fake, words) in [
        (full, "No space left on device"),
        (nested, "GetNestedState(Invalid argument (os error 22)"),
    ] {
        let (_host, started) = started(fake).await;
        let session = Session::next(&started).await;
        let text = chain(&save(&started, None).await.err().unwrap());
        assert!(
            text.contains("did not save the guest") && text.contains(words),
            "{text}"
        );
        assert!(!text.contains("Stack backtrace"), "{text}");
        started.running.pause().unwrap().resume().await.unwrap();
        assert_eq!(session.run("echo there").await.unwrap(), "there");
        // And again: what was left of the first is in nobody's way.
        assert!(chain(&save(&started, None).await.err().unwrap()).contains(words));
    }
}

#[tokio::test]
async fn what_runs_is_not_saved_and_what_is_paused_not_paused() {
    let (_host, started) = started(CloudHypervisor::default()).await;
    let saves = started.running.saves().unwrap();
    let state = tempfile::tempfile().unwrap();
    let refused = saves.save(state.into(), Saved::Devices).await.unwrap_err();
    let text = chain(&refused);
    assert!(
        text.contains("Trying to snapshot while VM is running"),
        "{text}"
    );
    let pause = started.running.pause().unwrap();
    pause.pause().await.unwrap();
    // Fact: pausing twice is a 500.
    let text = chain(&pause.pause().await.unwrap_err());
    assert!(
        text.contains("InvalidStateTransition(Paused, Paused)"),
        "{text}"
    );
}

#[tokio::test]
async fn what_it_had_on_its_host_must_be_there_again() {
    let host = Host::new(CloudHypervisor::default());
    let kept = saved(&host).await;
    let fails = async |host: &Host, machine: VirtualConfig, taken: Option<&str>, words: &str| {
        let place = host.place();
        let started = host.start_in(&place, machine).await.0.unwrap();
        if let Some(name) = taken {
            fs::write(place.join(name), "").unwrap();
        }
        let text = chain(&kept.load_into(&started).await.unwrap_err());
        assert!(text.contains(words), "{text}");
        // Fact: a failed restore leaves the process usable. It is attest that ends it.
        assert_eq!(host.last().exited().await, ProcessExit::Signal(9));
    };
    fails(
        &host,
        kept.private(&host),
        Some("vsock"),
        "Address already in use",
    )
    .await;
    let mut more_cards = kept.private(&host);
    more_cards.cards.push(attest_vmm::Card {
        mac: [2, 0, 0, 0, 0, 2],
        rate: None,
    });
    fails(&host, more_cards, None, "no such `net` as attest knows").await;
    let mut fewer_disks = kept.private(&host);
    fewer_disks.disks.pop();
    fails(&host, fewer_disks, None, "I/O error (path=disk1 op=open)").await;
    let crowded = Host::new(CloudHypervisor {
        busy_taps: ["tap0".to_owned()].into(),
        ..CloudHypervisor::default()
    });
    fails(
        &crowded,
        kept.private(&crowded),
        None,
        "Device or resource busy",
    )
    .await;
}

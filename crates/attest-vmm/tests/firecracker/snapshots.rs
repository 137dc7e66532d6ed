//! Machines that are saved and go on, in another Firecracker.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use attest_lab::ProcessExit;
use attest_vmm::{EndingKind, Ram, Saved, Started, VirtualConfig, VmmError};
use serde_json::json;

use crate::common::raw::Raw;
use crate::support::{Firecracker, Full, Host, Session, chain, end, started};

/// A machine that was saved.
struct Kept {
    memory: File,
    state: File,
}

/// The same file, from its start.
fn again(file: &File) -> File {
    File::open(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap()
}

async fn save(started: &Started) -> Result<Kept, VmmError> {
    save_over(started, None).await
}

/// With memory that is in this file, where it was given one.
async fn save_over(started: &Started, given: Option<&File>) -> Result<Kept, VmmError> {
    let saves = started.running.saves().unwrap();
    started.running.pause().unwrap().pause().await?;
    let state = tempfile::tempfile().unwrap();
    let to = state.try_clone().unwrap().into();
    let made = saves.save(to, Saved::Devices).await?;
    assert_eq!(made.is_none(), given.is_some());
    let memory = made.unwrap_or_else(|| given.unwrap().try_clone().unwrap());
    Ok(Kept { memory, state })
}

impl Kept {
    /// A machine that waits for it.
    fn private(&self, host: &Host) -> VirtualConfig {
        VirtualConfig {
            ram: Ram::Private(again(&self.memory).into()),
            waits: true,
            ..host.machine()
        }
    }

    async fn load(&self, host: &Host, machine: VirtualConfig) -> Result<Started, VmmError> {
        let started = host.start(machine).await?;
        self.load_into(&started).await?;
        Ok(started)
    }

    async fn load_into(&self, started: &Started) -> Result<(), VmmError> {
        let saves = started.running.saves().unwrap();
        saves.load(again(&self.state).into(), Saved::Devices).await
    }
}

async fn resume(started: &Started) {
    started.running.pause().unwrap().resume().await.unwrap();
}

/// On the default machine, whose guest has written something.
async fn saved(host: &Host) -> Kept {
    let started = host.start(host.machine()).await.unwrap();
    let session = Session::next(&started).await;
    session.run("write before").await.unwrap();
    save(&started).await.unwrap()
}

#[tokio::test]
async fn a_guest_goes_on_where_it_was_again_and_again() {
    let host = Host::new(Firecracker::default());
    let mut kept = saved(&host).await;
    let mut expected = "before".to_owned();
    for round in 0..5 {
        let started = kept.load(&host, kept.private(&host)).await.unwrap();
        let overrides = json!([{ "iface_id": "card0", "host_dev_name": "tap0" }]);
        let loads = host.last().bodies("PUT /snapshot/load");
        assert_eq!(loads[0]["network_overrides"], overrides);
        resume(&started).await;
        // Its connections are gone with the other Firecracker: it connects anew.
        let session = Session::next(&started).await;
        assert_eq!(session.run("read").await.unwrap(), expected);
        expected = format!("round {round}");
        session.run(&format!("write {expected}")).await.unwrap();
        kept = save(&started).await.unwrap();
    }
}

#[tokio::test]
async fn forks_have_one_memory_and_change_their_own() {
    let host = Host::new(Firecracker::default());
    let kept = saved(&host).await;
    let mut forks = Vec::new();
    for text in ["one", "two", "three"] {
        let fork = kept.load(&host, kept.private(&host)).await.unwrap();
        resume(&fork).await;
        let session = Session::next(&fork).await;
        assert_eq!(session.run("read").await.unwrap(), "before");
        session.run(&format!("write {text}")).await.unwrap();
        forks.push((fork, session, text));
    }
    for (fork, session, text) in forks {
        assert_eq!(session.run("read").await.unwrap(), text);
        fork.running.kill().await;
    }
}

/// Whether the host's kernel can swap a guest out: then it does not know what was touched.
fn has_swap() -> bool {
    fs::read_to_string("/proc/swaps").is_ok_and(|swaps| swaps.lines().count() > 1)
}

/// As which kind the machine that was started last was saved.
fn kind_asked_for(host: &Host) -> String {
    let bodies = host.last().bodies("PUT /snapshot/create");
    bodies.last().unwrap()["snapshot_type"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn only_a_base_gets_what_was_touched() {
    let shared = || {
        let file = tempfile::tempfile().unwrap();
        file.set_len(crate::support::MEMORY).unwrap();
        file
    };
    for (version, diff) in [((1, 12, 0), "Full"), ((1, 15, 1), "Diff")] {
        let diff = if has_swap() { "Full" } else { diff };
        let host = Host::new(Firecracker {
            version,
            ..Firecracker::default()
        });
        let kept = saved(&host).await;
        assert_eq!(kind_asked_for(&host), diff, "booted, with its own memory");

        let private = kept.load(&host, kept.private(&host)).await.unwrap();
        resume(&private).await;
        save(&private).await.unwrap();
        assert_eq!(
            kind_asked_for(&host),
            "Full",
            "what it goes on with is elsewhere"
        );

        let file = shared();
        let mut booted = host.machine();
        booted.ram = Ram::Shared(file.try_clone().unwrap().into());
        let booted = host.start(booted).await.unwrap();
        Session::next(&booted)
            .await
            .run("write first")
            .await
            .unwrap();
        let kept = save_over(&booted, Some(&file)).await.unwrap();
        assert_eq!(
            kind_asked_for(&host),
            diff,
            "booted, with memory that is shared"
        );
        drop(booted);

        let mut machine = kept.private(&host);
        machine.ram = Ram::Shared(file.try_clone().unwrap().into());
        let again = kept.load(&host, machine).await.unwrap();
        resume(&again).await;
        let session = Session::next(&again).await;
        assert_eq!(session.run("read").await.unwrap(), "first");
        session.run("write second").await.unwrap();
        let kept = save_over(&again, Some(&file)).await.unwrap();
        assert_eq!(kind_asked_for(&host), diff, "into what it goes on with");

        let last = kept.load(&host, kept.private(&host)).await.unwrap();
        resume(&last).await;
        assert_eq!(
            Session::next(&last).await.run("read").await.unwrap(),
            "second"
        );
    }
}

#[tokio::test]
async fn a_later_diff_alone_is_no_memory_and_its_end_no_success() {
    let host = Host::new(Firecracker::default());
    let kept = saved(&host).await;
    let place = host.place();
    let later = host.start_in(&place, kept.private(&host)).await.0.unwrap();
    kept.load_into(&later).await.unwrap();
    resume(&later).await;
    Session::next(&later)
        .await
        .run("write later")
        .await
        .unwrap();
    later.running.pause().unwrap().pause().await.unwrap();
    // Nobody but a test asks for that.
    let mut raw = Raw::connect(&place).await;
    let asked =
        json!({ "snapshot_type": "Diff", "snapshot_path": "state", "mem_file_path": "later" });
    assert_eq!(raw.call("PUT /snapshot/create", asked).await.0, 204);
    let broken = Kept {
        memory: File::open(place.join("later")).unwrap(),
        state: File::open(place.join("state")).unwrap(),
    };
    let started = broken.load(&host, broken.private(&host)).await.unwrap();
    resume(&started).await;
    assert_eq!(host.last().exited().await, ProcessExit::Code(0));
    let (ending, _) = end(started).await;
    assert_eq!(ending.kind, EndingKind::TripleFault, "{ending:?}");
}

/// Breaks what was kept.
type Breaks = fn(&Kept);

#[tokio::test]
async fn what_cannot_be_loaded_says_why_and_its_vmm_ends() {
    let host = Host::new(Firecracker::default());
    let broken: [(Breaks, &str); 6] = [
        (
            |kept| kept.memory.set_len(1 << 20).unwrap(),
            "Total sum of memory regions exceeds",
        ),
        (
            |kept| kept.memory.set_len(0).unwrap(),
            "Total sum of memory regions exceeds",
        ),
        (
            |kept| kept.state.set_len(0).unwrap(),
            "File too short to contain CRC",
        ),
        (|kept| kept.state.set_len(10).unwrap(), "bitcode error"),
        (
            |kept| kept.state.write_all_at(b"!", 100).unwrap(),
            "CRC64 validation failed",
        ),
        (
            |kept| kept.state.write_all_at(&[6, 0], 8).unwrap(),
            "Invalid data version: 6.0.0",
        ),
    ];
    for (breaks, words) in broken {
        let kept = saved(&host).await;
        breaks(&kept);
        let started = host.start(kept.private(&host)).await.unwrap();
        let text = chain(&kept.load_into(&started).await.unwrap_err());
        assert!(
            text.starts_with("web: Firecracker did not load what was saved"),
            "{text}"
        );
        assert!(text.contains(words), "{text}");
        assert_eq!(host.last().exited().await, ProcessExit::Code(1));
        let (ending, _) = end(started).await;
        assert_eq!(ending.kind, EndingKind::VmmCrashed, "{ending:?}");
    }
}

#[tokio::test]
async fn what_it_had_on_its_host_must_be_there_again() {
    let host = Host::new(Firecracker::default());
    let kept = saved(&host).await;
    let fails = async |host: &Host, machine: VirtualConfig, taken: Option<&str>, words: &str| {
        let place = host.place();
        let started = host.start_in(&place, machine).await.0.unwrap();
        if let Some(name) = taken {
            let _ = fs::remove_file(place.join(name));
            fs::write(place.join(name), "").unwrap();
        }
        let text = chain(&kept.load_into(&started).await.unwrap_err());
        assert!(text.contains(words), "{text}");
        assert_eq!(host.last().exited().await, ProcessExit::Code(1));
    };
    fails(
        &host,
        kept.private(&host),
        Some("vsock"),
        "Address already in use",
    )
    .await;
    fails(
        &host,
        kept.private(&host),
        Some("memory"),
        "memory regions exceeds",
    )
    .await;
    let mut more_cards = kept.private(&host);
    more_cards.cards.push(attest_vmm::Card {
        mac: [2, 0, 0, 0, 0, 2],
        rate: None,
    });
    fails(&host, more_cards, None, "Unknown Network Device").await;
    let mut fewer_disks = kept.private(&host);
    fewer_disks.disks.pop();
    let words = "Error manipulating the backing file: No such file or directory (os error 2) disk1";
    fails(&host, fewer_disks, None, words).await;
    let crowded = Host::new(Firecracker {
        busy_taps: ["tap0".to_owned()].into(),
        ..Firecracker::default()
    });
    fails(
        &crowded,
        kept.private(&crowded),
        None,
        "Device or resource busy",
    )
    .await;
}

#[tokio::test]
async fn other_versions_load_other_snapshots() {
    let host = Host::new(Firecracker::default());
    let kept = saved(&host).await;
    let newer = Host::new(Firecracker {
        version: (1, 16, 2),
        ..Firecracker::default()
    });
    let refused = kept.load(&newer, kept.private(&newer)).await.unwrap_err();
    let text = chain(&refused);
    assert!(text.contains("Invalid data version: 9.0.0"), "{text}");
}

#[tokio::test]
async fn a_full_disk_costs_the_snapshot_and_not_the_guest() {
    for (full, words) in [
        (
            Full::State,
            "Cannot serialize the microVM state: IO Error: No space left on device",
        ),
        (
            Full::Memory,
            "Cannot dump memory: Guest memory error: No space left on device",
        ),
    ] {
        let (_host, started) = started(Firecracker {
            is_full: Some(full),
            ..Firecracker::default()
        })
        .await;
        let text = chain(&save(&started).await.err().unwrap());
        assert!(
            text.contains("did not save the guest") && text.contains(words),
            "{text}"
        );
        resume(&started).await;
        // Its connection is gone all the same.
        let _gone = Session::next(&started).await;
        let session = Session::next(&started).await;
        assert_eq!(session.run("echo there").await.unwrap(), "there");
    }
}

#[tokio::test]
async fn what_runs_is_not_saved() {
    let (_host, started) = started(Firecracker::default()).await;
    let saves = started.running.saves().unwrap();
    let state = tempfile::tempfile().unwrap();
    let refused = saves.save(state.into(), Saved::Devices).await.unwrap_err();
    let text = chain(&refused);
    assert!(
        text.contains("save/restore unavailable while running"),
        "{text}"
    );
    let session = Session::next(&started).await;
    assert_eq!(session.run("echo there").await.unwrap(), "there");
}

#[tokio::test]
async fn connections_do_not_outlive_a_snapshot() {
    let (_host, started) = started(Firecracker::default()).await;
    let before = Session::next(&started).await;
    before.run("echo there").await.unwrap();
    save(&started).await.unwrap();
    resume(&started).await;
    let after = Session::next(&started).await;
    assert_eq!(after.run("echo there").await.unwrap(), "there");
    tokio::select! {
        biased;
        answer = before.run("echo lost") => panic!("an answer on a connection that is gone: {answer:?}"),
        answer = after.run("echo there") => assert_eq!(answer.unwrap(), "there"),
    }
}

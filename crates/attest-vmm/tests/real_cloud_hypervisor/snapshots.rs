//! Machines that are saved, and go on any number of times; or the reason why this host cannot.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};

use attest_vmm::{Ram, Saved, VmmError};
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::support::{Host, MEMORY, Session, chain, is_missing, machine, start};

fn memory_file(bytes: u64) -> File {
    let file = File::from(memfd_create(c"test", MFdFlags::MFD_CLOEXEC).unwrap());
    file.set_len(bytes).unwrap();
    file
}

fn named_file() -> (tempfile::TempDir, File) {
    let directory = tempfile::tempdir().unwrap();
    let mut options = File::options();
    let path = directory.path().join("memory");
    let file = options
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)
        .unwrap();
    file.set_len(MEMORY).unwrap();
    (directory, file)
}

fn again(file: &File) -> OwnedFd {
    let name = format!("/proc/self/fd/{}", file.as_raw_fd());
    let mut options = File::options();
    options.read(true).write(true).open(name).unwrap().into()
}

async fn waiting(ram: Ram) -> Host {
    let mut machine = machine();
    machine.ram = ram;
    machine.waits = true;
    start(machine).await.unwrap()
}

/// The state of a machine, which is paused then, and its memory where that is not in a file already; `None` where this
/// host cannot save.
async fn save(host: &Host) -> Option<(File, Option<File>)> {
    let state = memory_file(0);
    let running = &host.started.running;
    running.pause().unwrap().pause().await.unwrap();
    let saved = running
        .saves()
        .unwrap()
        .save(again(&state), Saved::Devices)
        .await;
    match saved {
        Ok(memory) => Some((state, memory)),
        Err(error) => {
            let words = chain(&error);
            assert!(matches!(error, VmmError::Api { .. }), "{words}");
            assert!(words.contains("did not save the guest"), "{words}");
            // Any other reason is a fault.
            assert!(words.contains("GetNestedState"), "{words}");
            eprintln!("SKIPPED: {words}");
            running.pause().unwrap().resume().await.unwrap();
            None
        }
    }
}

async fn go_on(state: &File, ram: Ram) -> (Host, Session) {
    let host = waiting(ram).await;
    let running = &host.started.running;
    running
        .saves()
        .unwrap()
        .load(again(state), Saved::Devices)
        .await
        .unwrap();
    running.pause().unwrap().resume().await.unwrap();
    let session = Session::called(&host).await;
    (host, session)
}

#[tokio::test]
async fn a_machine_that_cannot_be_saved_goes_on() {
    if is_missing() {
        return;
    }
    let (host, other) = (
        start(machine()).await.unwrap(),
        start(machine()).await.unwrap(),
    );
    let (session, others) = (Session::next(&host).await, Session::next(&other).await);
    assert_eq!(session.run("count").await.unwrap(), "1");
    if save(&host).await.is_some() {
        assert!(host.started.running.saves().unwrap().goes_on());
        host.started
            .running
            .pause()
            .unwrap()
            .resume()
            .await
            .unwrap();
    }
    assert_eq!(session.run("count").await.unwrap(), "2");
    assert_eq!(others.run("count").await.unwrap(), "1");
}

#[tokio::test]
async fn memory_in_a_given_file_is_shared_by_all_that_go_on() {
    if is_missing() {
        return;
    }
    let (_directory, named) = named_file();
    for file in [&named, &memory_file(MEMORY)] {
        let mut machine = machine();
        machine.ram = Ram::Shared(again(file));
        let host = start(machine).await.unwrap();
        let session = Session::next(&host).await;
        session.run("count").await.unwrap();
        session.run("dirty 2").await.unwrap();
        let Some((state, memory)) = save(&host).await else {
            return;
        };
        assert!(memory.is_none(), "it is where it was");
        assert!(!host.started.running.saves().unwrap().goes_on());
        host.started.running.kill().await;
        for _ in 0..3 {
            let one = go_on(&state, Ram::Private(again(file))).await;
            let two = go_on(&state, Ram::Private(again(file))).await;
            for (_host, session) in [&one, &two] {
                assert_eq!(
                    session.run("count").await.unwrap(),
                    "2",
                    "nobody has written there"
                );
                assert_eq!(session.run("check").await.unwrap(), "whole 2");
            }
        }
    }
}

#[tokio::test]
async fn what_went_on_is_saved_again_and_goes_on_itself() {
    if is_missing() {
        return;
    }
    let host = start(machine()).await.unwrap();
    let session = Session::next(&host).await;
    session.run("count").await.unwrap();
    let Some((mut state, Some(mut memory))) = save(&host).await else {
        return;
    };
    host.started
        .running
        .pause()
        .unwrap()
        .resume()
        .await
        .unwrap();
    for round in 2..5 {
        assert_eq!(memory.metadata().unwrap().len(), MEMORY);
        let (next, session) = go_on(&state, Ram::Private(again(&memory))).await;
        assert_eq!(session.run("count").await.unwrap(), round.to_string());
        let saved = save(&next).await.unwrap();
        next.started
            .running
            .pause()
            .unwrap()
            .resume()
            .await
            .unwrap();
        assert_eq!(session.run("count").await.unwrap(), (round + 1).to_string());
        (state, memory) = (saved.0, saved.1.unwrap());
    }
    assert_eq!(
        session.run("count").await.unwrap(),
        "2",
        "the first has gone on by itself"
    );
}

#[tokio::test]
async fn what_is_no_state_is_refused_and_ends_who_waits_for_it() {
    if is_missing() {
        return;
    }
    let host = waiting(Ram::Private(again(&memory_file(MEMORY)))).await;
    let saves = host.started.running.saves().unwrap();
    let refused = saves.load(again(&memory_file(100)), Saved::Devices).await;
    assert!(matches!(refused, Err(VmmError::Host { .. })), "{refused:?}");
    host.started.running.ended().await;
}

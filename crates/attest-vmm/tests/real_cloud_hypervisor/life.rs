//! A machine from its boot on.

use std::fs::File;
use std::io::Read;

use attest_vmm::VmmError;
use tokio::io::AsyncWriteExt;

use crate::support::{MEMORY, Session, disk, is_missing, machine, read_until, start};

#[tokio::test]
async fn a_guest_says_hello_and_does_what_it_is_told() -> Result<(), VmmError> {
    if is_missing() {
        return Ok(());
    }
    let mut host = start(machine()).await?;
    read_until(&mut host.started.console, "attest metal guest").await;
    let session = Session::next(&host).await;
    assert_eq!(session.run("echo hi there").await.unwrap(), "hi there");
    let cmdline = session.run("cmdline").await.unwrap();
    assert!(cmdline.contains("attest.vsock=1024"), "{cmdline}");
    assert!(
        host.started
            .chosen
            .iter()
            .any(|choice| choice.what == "confinement")
    );
    host.started.running.kill().await;
    Ok(())
}

#[tokio::test]
async fn what_is_typed_on_the_console_arrives() -> Result<(), VmmError> {
    if is_missing() {
        return Ok(());
    }
    let mut host = start(machine()).await?;
    let session = Session::next(&host).await;
    // 0x0a alone becomes 0x0d on the way, as people at terminals want it.
    for byte in [b'!', 0, 3, 4, 17, 0xff] {
        host.started.console.write_all(&[byte]).await.unwrap();
        assert_eq!(session.run("key").await.unwrap(), byte.to_string());
    }
    Ok(())
}

#[tokio::test]
async fn a_paused_guest_waits() -> Result<(), VmmError> {
    if is_missing() {
        return Ok(());
    }
    let host = start(machine()).await?;
    let session = Session::next(&host).await;
    let pause = host.started.running.pause().unwrap();
    for round in 1..=3 {
        pause.pause().await?;
        let mut counting = Box::pin(session.run("count"));
        tokio::select! {
            biased;
            count = &mut counting => panic!("{count:?}"),
            // It answers only after all that came before it.
            again = pause.pause() => {
                let error = again.unwrap_err();
                assert!(crate::support::chain(&error).contains("could not be paused"), "{error:?}");
            }
        }
        pause.resume().await?;
        assert_eq!(counting.await.unwrap(), round.to_string());
    }
    Ok(())
}

#[tokio::test]
async fn disks_are_written_to_and_read_only_ones_are_shared() -> Result<(), VmmError> {
    if is_missing() {
        return Ok(());
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("shared");
    std::fs::write(&path, [7; 4096]).unwrap();
    let shared = || File::open(&path).unwrap().into();
    let mut written = tempfile::tempfile().unwrap();
    written.set_len(4096).unwrap();
    let with = |file: &File| {
        let mut machine = machine();
        let own = file.try_clone().unwrap().into();
        machine.disks = vec![disk("root", shared(), true), disk("data", own, false)];
        machine
    };
    let other = tempfile::tempfile().unwrap();
    other.set_len(4096).unwrap();
    // Both at once: whoever only reads keeps nobody else from it.
    let (one, two) = (start(with(&written)).await?, start(with(&other)).await?);
    let session = Session::next(&one).await;
    assert_eq!(session.run("read 0").await.unwrap(), "07".repeat(16));
    session.run("write 1 word").await.unwrap();
    assert_eq!(
        Session::next(&two).await.run("read 0").await.unwrap(),
        "07".repeat(16)
    );
    let mut sector = [0; 4];
    written.read_exact(&mut sector).unwrap();
    assert_eq!(&sector, b"word");
    Ok(())
}

#[tokio::test]
async fn a_balloon_is_told_its_size() -> Result<(), VmmError> {
    if is_missing() {
        return Ok(());
    }
    let host = start(machine()).await?;
    assert!(host.started.running.balloon().is_none());
    let mut machine = machine();
    machine.balloon = true;
    let host = start(machine).await?;
    let balloon = host.started.running.balloon().unwrap();
    assert_eq!(balloon.statistics().await?.target, 0);
    balloon.inflate(MEMORY / 2).await?;
    let statistics = balloon.statistics().await?;
    // The guest has no driver for it.
    assert_eq!((statistics.target, statistics.actual), (MEMORY / 2, 0));
    Ok(())
}

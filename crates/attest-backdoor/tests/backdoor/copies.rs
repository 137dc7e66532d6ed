use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use attest_protocol::link::{Channel, Stream};
use attest_protocol::message::{Download, Failure, FailureCode, Request, Response, Upload};
use attest_protocol::tree;

use crate::support::{Fixture, bash, finish};

async fn up(guest: &Fixture, from: &Path, to: &Path) -> Result<Response, Failure> {
    let path = to.display().to_string().into_bytes().into();
    let channel = guest.link.open(&Request::Upload(Upload { path })).unwrap();
    let writer = channel.sender.blocking_writer(Stream::In);
    let sender = channel.sender.clone();
    let from = from.to_owned();
    let packing = tokio::task::spawn_blocking(move || {
        let packed = tree::pack(&from, writer);
        // A request that failed takes no more.
        let _ = sender.eof(Stream::In);
        packed
    });
    let answer = finish(channel).await.0;
    let _ = packing.await.unwrap();
    answer
}

async fn down(guest: &Fixture, from: &Path, to: &Path) -> Result<Response, Failure> {
    let path = from.display().to_string().into_bytes().into();
    let Channel { sender, receiver } = guest
        .link
        .open(&Request::Download(Download { path }))
        .unwrap();
    let (reader, ended) = receiver.into_blocking_reader(Stream::Out);
    let to = to.to_owned();
    let unpacked = tokio::task::spawn_blocking(move || tree::unpack(reader, &to))
        .await
        .unwrap();
    if unpacked.is_err() {
        sender.cancel();
    }
    ended.result().await.unwrap()
}

#[tokio::test]
async fn trees_go_up_and_come_down_as_they_were() {
    let guest = bash().await;
    let directory = tempfile::tempdir().unwrap();
    let from = directory.path().join("from");
    fs::create_dir_all(from.join("a b/c")).unwrap();
    fs::write(from.join("a b/it's"), "text").unwrap();
    fs::write(
        from.join("large"),
        (0..=250).cycle().take(3_000_000).collect::<Vec<u8>>(),
    )
    .unwrap();
    fs::set_permissions(from.join("large"), fs::Permissions::from_mode(0o751)).unwrap();
    std::os::unix::fs::symlink("a b/it's", from.join("link")).unwrap();
    let (there, back) = (
        directory.path().join("x/y/there"),
        directory.path().join("back"),
    );
    assert_eq!(
        up(&guest, &from, &there).await,
        Ok(Response::Copied(3_000_004))
    );
    assert_eq!(
        down(&guest, &there, &back).await,
        Ok(Response::Copied(3_000_004))
    );
    for copy in [&there, &back] {
        assert!(fs::read(copy.join("large")).unwrap() == fs::read(from.join("large")).unwrap());
        let mode = fs::metadata(copy.join("large"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o751);
        assert_eq!(
            fs::read_link(copy.join("link")).unwrap(),
            Path::new("a b/it's")
        );
        assert_eq!(fs::read(copy.join("a b/it's")).unwrap(), b"text");
        assert!(copy.join("a b/c").is_dir());
    }
    assert_eq!(
        fs::read_dir(there.parent().unwrap()).unwrap().count(),
        1,
        "nothing is left"
    );
    // Into a directory that is there.
    fs::write(from.join("large"), "small").unwrap();
    fs::write(there.join("stays"), "").unwrap();
    up(&guest, &from, &there).await.unwrap();
    assert_eq!(fs::read(there.join("large")).unwrap(), b"small");
    assert!(there.join("stays").exists());
}

#[tokio::test]
async fn a_single_file_and_what_cannot_be() {
    let guest = bash().await;
    let directory = tempfile::tempdir().unwrap();
    let (from, to) = (directory.path().join("from"), directory.path().join("to"));
    let back = directory.path().join("back");
    for text in ["one", ""] {
        fs::write(&from, text).unwrap();
        up(&guest, &from, &to).await.unwrap();
        down(&guest, &to, &back).await.unwrap();
        assert_eq!(fs::read_to_string(&back).unwrap(), text);
    }
    let missing = down(&guest, Path::new("/nowhere/at all"), &back)
        .await
        .unwrap_err();
    assert_eq!(missing.code, FailureCode::NotFound);
    assert_eq!(
        missing.message,
        "/nowhere/at all: no such file or directory"
    );
    let refused = up(&guest, &from, Path::new("/proc/nothing/here"))
        .await
        .unwrap_err();
    assert!(refused.message.contains("/proc/nothing"), "{refused:?}");
    let relative = up(&guest, &from, Path::new("here")).await.unwrap_err();
    assert_eq!(relative.code, FailureCode::Invalid);
    let onto = up(&guest, &from, directory.path()).await.unwrap_err();
    assert!(onto.message.contains("Is a directory"), "{onto:?}");
}

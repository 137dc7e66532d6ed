use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use attest_protocol::message::{Condition, FailureCode, RawBytes, Response};

use crate::support::{Fixture, bash, call, run, shell, wait};

fn raw(path: &std::path::Path) -> RawBytes {
    RawBytes::from(path.as_os_str().as_bytes().to_vec())
}

/// What a wait that is too short has last seen.
async fn unmet(guest: &Fixture, condition: Condition) -> String {
    let failure = call(&guest.link, &wait(condition, 400)).await.unwrap_err();
    assert_eq!(failure.code, FailureCode::TimedOut, "{failure:?}");
    failure.last_seen.unwrap_or_default()
}

async fn met(guest: &Fixture, condition: Condition) {
    let answer = call(&guest.link, &wait(condition, 20_000)).await;
    assert_eq!(answer, Ok(Response::Met(None)));
}

#[tokio::test]
async fn files() {
    let guest = bash().await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("it's a file");
    let exists = Condition::FileExists(raw(&path));
    assert!(unmet(&guest, exists.clone()).await.contains("No such file"));
    std::fs::write(&path, "first\nthe word\n").unwrap();
    met(&guest, exists).await;
    let vanished = Condition::FileVanished(raw(&path));
    assert!(
        unmet(&guest, vanished.clone())
            .await
            .contains("it is there")
    );
    met(
        &guest,
        Condition::FileMatches(raw(&path), "^the \\w+$".to_owned()),
    )
    .await;
    let other = Condition::FileMatches(raw(&path), "^word$".to_owned());
    assert!(unmet(&guest, other).await.contains("the word"));
    let bad = Condition::FileMatches(raw(&path), "(".to_owned());
    let failure = call(&guest.link, &wait(bad, 1000)).await.unwrap_err();
    assert_eq!(failure.code, FailureCode::Invalid);
    std::fs::remove_file(&path).unwrap();
    met(&guest, vanished).await;
}

#[tokio::test]
async fn ports_and_sockets() {
    let guest = bash().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let open = Condition::PortOpen("127.0.0.1".to_owned(), port);
    let closed = Condition::PortClosed("127.0.0.1".to_owned(), port);
    met(&guest, open.clone()).await;
    assert_eq!(
        unmet(&guest, closed.clone()).await,
        "it accepts connections"
    );
    drop(listener);
    met(&guest, closed).await;
    assert_eq!(unmet(&guest, open).await, "Connection refused");
    let injected = Condition::PortOpen("a;b".to_owned(), 1);
    let failure = call(&guest.link, &wait(injected, 1000)).await.unwrap_err();
    assert_eq!(failure.code, FailureCode::Invalid);

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("the socket");
    let socket = Condition::UnixSocket(raw(&path));
    assert!(unmet(&guest, socket.clone()).await.contains("No such file"));
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    met(&guest, socket.clone()).await;
    drop(listener);
    assert_eq!(
        unmet(&guest, socket.clone()).await,
        "it exists; no process listens"
    );
    std::fs::remove_file(&path).unwrap();
    let _datagram = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    met(&guest, socket).await;
}

#[tokio::test]
async fn processes() {
    let guest = bash().await;
    let mark = format!("attest-test-{}", std::process::id());
    let exists = Condition::ProcessExists(format!("^sh .*{mark}$"));
    let vanished = Condition::ProcessVanished(format!("^sh .*{mark}$"));
    assert_eq!(unmet(&guest, exists.clone()).await, "no process matches");
    let mut child = std::process::Command::new("sh")
        .args(["-c", "read line; :", &mark])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    met(&guest, exists).await;
    assert!(
        unmet(&guest, vanished.clone())
            .await
            .starts_with("1 processes match: ")
    );
    drop(child.stdin.take());
    child.wait().unwrap();
    met(&guest, vanished).await;
}

#[tokio::test]
async fn commands_are_tried_until_then_and_others_have_turns() {
    let guest = bash().await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("made").display().to_string();
    let command = shell(format!("cat {path}"));
    let waiting = tokio::spawn({
        let link = guest.link.clone();
        let request = wait(Condition::CommandSucceeds(command.clone()), 20_000);
        async move { call(&link, &request).await }
    });
    // The same shell makes what is waited for.
    assert_eq!(
        run(&guest.link, shell(format!("echo done > {path}")))
            .await
            .0,
        0
    );
    let Ok(Response::Met(Some(seen))) = waiting.await.unwrap() else {
        panic!("not met");
    };
    assert_eq!(&**seen.stdout, b"done\n");
    assert!(
        unmet(&guest, Condition::CommandFails(command))
            .await
            .contains("exit code 0")
    );
    let slow = Condition::CommandSucceeds(shell("sleep 60"));
    let began = tokio::time::Instant::now();
    unmet(&guest, slow).await;
    assert!(
        began.elapsed() < Duration::from_secs(30),
        "the deadline held while a try ran"
    );
    assert_eq!(run(&guest.link, shell("echo free")).await.1, b"free\n");
}

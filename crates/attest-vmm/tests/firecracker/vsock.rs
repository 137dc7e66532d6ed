//! The agent's way to the driver, and the fake's to the guest.

use attest_vmm::{EndingKind, Told};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::common::guest::{GREETER, GREETING, Script};
use crate::common::raw::Raw;
use crate::support::{Firecracker, Host, Session, listener, started};

#[tokio::test]
async fn a_connection_that_is_reset_in_a_command_fails_that_and_comes_again() {
    let (_host, started) = started(Firecracker::default()).await;
    for _ in 0..3 {
        let session = Session::next(&started).await;
        assert_eq!(session.run("echo there").await.unwrap(), "there");
        session.run("reset-vsock").await.unwrap_err();
    }
    started.running.kill().await;
    assert_eq!(started.running.ended().await.kind, EndingKind::Killed);
}

#[tokio::test]
async fn a_guest_that_never_connects_can_be_killed() {
    let host = Host::new(Firecracker {
        guest: Script {
            first: vec!["print no agent here"],
            is_silent: true,
        },
        ..Firecracker::default()
    });
    let (started, mut told) = host.start_in(&host.place(), host.machine()).await;
    let started = started.unwrap();
    tokio::select! {
        biased;
        _ = listener(&started).accept() => panic!("there is nobody"),
        told = told.recv() => assert!(matches!(told, Some(Told::Booted(_)))),
    }
    started.running.kill().await;
    assert_eq!(started.running.ended().await.kind, EndingKind::Killed);
}

#[tokio::test]
async fn a_paused_guest_answers_later() {
    let (_host, started) = started(Firecracker::default()).await;
    let session = Session::next(&started).await;
    let pause = started.running.pause().unwrap();
    pause.pause().await.unwrap();
    let mut answer = Box::pin(session.run("echo later"));
    tokio::select! {
        biased;
        early = &mut answer => panic!("{early:?}"),
        // To pause what is paused is no error.
        paused = pause.pause() => paused.unwrap(),
    }
    pause.resume().await.unwrap();
    assert_eq!(answer.await.unwrap(), "later");
}

/// What comes back from the vsock's socket.
async fn host_says(place: &std::path::Path, text: &str) -> (UnixStream, Vec<u8>) {
    let mut stream = UnixStream::connect(place.join("vsock")).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut packet = vec![0; 100];
    // What was sent and not read makes a reset of an end.
    let length = stream.read(&mut packet).await.unwrap_or(0);
    packet.truncate(length);
    (stream, packet)
}

#[tokio::test]
async fn a_connection_to_the_guest_is_answered_in_the_same_packet_or_ends() {
    let host = Host::new(Firecracker::default());
    let place = host.place();
    let started = host.start_in(&place, host.machine()).await.0.unwrap();
    let _session = Session::next(&started).await;
    let (_open, packet) = host_says(&place, &format!("CONNECT {GREETER:03}\n")).await;
    assert!(packet.starts_with(b"OK 107374"), "{packet:?}");
    assert!(packet.ends_with(GREETING), "{packet:?}");
    // Fact: at most 32 bytes; refused or garbage is a plain EOF.
    let long = format!("CONNECT {}\n", "0".repeat(40));
    for garbage in [
        "CONNECT 12345\n",
        "GET / HTTP/1.1\r\n\r\n",
        "CONNECT port\n",
        &long,
    ] {
        let (_open, packet) = host_says(&place, garbage).await;
        assert_eq!(packet, b"", "{garbage}");
    }
}

#[tokio::test]
async fn a_connection_to_a_paused_guest_hangs_until_it_goes_on() {
    let host = Host::new(Firecracker::default());
    let place = host.place();
    let started = host.start_in(&place, host.machine()).await.0.unwrap();
    let _session = Session::next(&started).await;
    let pause = started.running.pause().unwrap();
    pause.pause().await.unwrap();
    let text = format!("CONNECT {GREETER:03}\n");
    let mut connecting = Box::pin(host_says(&place, &text));
    let mut raw = Raw::connect(&place).await;
    for _ in 0..10 {
        tokio::select! {
            biased;
            _ = &mut connecting => panic!("nobody can have accepted it"),
            (status, _) = raw.call("GET /", serde_json::Value::Null) => assert_eq!(status, 200),
        }
    }
    pause.resume().await.unwrap();
    let (_open, packet) = connecting.await;
    assert!(packet.starts_with(b"OK "), "{packet:?}");
}

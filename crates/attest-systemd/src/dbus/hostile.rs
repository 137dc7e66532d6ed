//! Peers that mean harm: each ends in an error, and nothing is kept for it.

use std::time::Duration;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::encode::encode;
use super::message::{Kind, Message};
use super::{Call, Connection};
use crate::error::{Error, Lost};
use crate::value::Value;

const CALL: Call<'static> = Call {
    path: "/a",
    interface: "a.b",
    method: "Do",
    signature: "",
    arguments: &[],
};

/// How shaking hands ends with a peer that says this and closes.
async fn greeted_with(said: &[u8]) -> Result<Connection, Lost> {
    let (near, mut far) = tokio::io::duplex(64 * 1024);
    far.write_all(said).await.unwrap();
    far.shutdown().await.unwrap();
    Connection::open(near).await
}

/// A connection, and the bare stream of its peer after the handshake.
async fn connected() -> (Connection, DuplexStream) {
    let (near, mut far) = tokio::io::duplex(64 * 1024);
    let peer = async {
        let mut said = [0; 19 + 7];
        far.read_exact(&mut said[..19]).await.unwrap();
        assert_eq!(&said[..19], b"\0AUTH EXTERNAL 30\r\n");
        far.write_all(b"OK 00\r\n").await.unwrap();
        far.read_exact(&mut said[19..]).await.unwrap();
        assert_eq!(&said[19..], b"BEGIN\r\n");
    };
    let (connection, ()) = tokio::join!(Connection::open(near), peer);
    (connection.unwrap(), far)
}

fn reply(to: u32, signature: &str, body: &[Value]) -> Vec<u8> {
    let body = encode(signature, body).unwrap();
    let message = Message::new(Kind::Return, 1, signature, body);
    Message {
        reply_to: Some(to),
        ..message
    }
    .encode()
    .unwrap()
}

#[tokio::test]
async fn handshakes_that_are_none_are_errors() {
    for (said, error) in [
        (&b""[..], "closed by the guest"),
        (b"\n", "without its end"),
        (b"OK\n", "without its end"),
        (b"REJECTED\r\nREJECTED\r\n", "refused us: REJECTED"),
        (
            b"REJECTED EXTERNAL\r\nDATA\r\nREJECTED\r\n",
            "refused us: REJECTED",
        ),
        (b"ERROR what\r\n", "refused us: ERROR what"),
        (b"OKAY\r\n", "refused us: OKAY"),
        (b"\xff\xfe\r\n", "refused us"),
        (&[b'A'; 5000], "more than 1 KiB"),
    ] {
        let lost = greeted_with(said).await.unwrap_err().to_string();
        assert!(lost.contains(error), "{said:?}: {lost}");
    }
}

#[tokio::test]
async fn a_peer_may_take_the_uid_from_the_socket() {
    assert!(
        greeted_with(b"REJECTED EXTERNAL\r\nDATA\r\nOK 00\r\n")
            .await
            .is_ok()
    );
    assert!(
        greeted_with(b"REJECTED EXTERNAL\r\nOK 00\r\n")
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn what_is_no_dbus_ends_the_connection() {
    for garbage in [
        &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
        &[0; 16],
        &[0xff; 64],
    ] {
        let (connection, mut far) = connected().await;
        far.write_all(garbage).await.unwrap();
        let error = connection.call(CALL).await.unwrap_err();
        assert!(matches!(error, Error::Lost(Lost::Malformed(_))), "{error}");
        assert!(matches!(connection.lost(), Some(Lost::Malformed(_))));
        // And it stays so.
        assert!(connection.call(CALL).await.is_err());
        assert!(connection.signals().is_err());
    }
}

#[tokio::test]
async fn a_message_beyond_all_bounds_ends_the_connection() {
    let (connection, mut far) = connected().await;
    // A header that is good but for the size of its body, which is beyond any bound.
    let mut bytes = reply(1, "ay", &[Value::Bytes(vec![0; 8])]);
    bytes[4..8].copy_from_slice(&0x7fff_ffff_u32.to_le_bytes());
    far.write_all(&bytes).await.unwrap();
    let error = connection.call(CALL).await.unwrap_err().to_string();
    assert!(error.contains("more than 8 MiB"), "{error}");
}

#[tokio::test]
async fn an_end_answers_all_that_waits() {
    let (connection, far) = connected().await;
    let mut signals = connection.signals().unwrap();
    let calls = (0..10).map(|_| connection.call(CALL));
    let calls = futures_util::future::join_all(calls);
    let hanging_up = async {
        let mut far = far;
        far.read_u8().await.unwrap();
    };
    let (calls, ()) = tokio::join!(calls, hanging_up);
    for call in calls {
        assert!(matches!(call, Err(Error::Lost(Lost::Closed))), "{call:?}");
    }
    assert!(signals.next(&connection).await.is_err());
    assert_eq!(connection.pending(), 0);
}

#[tokio::test]
async fn a_peer_that_never_answers_is_left_by_dropping() {
    let (connection, _far) = connected().await;
    for _ in 0..100 {
        let calls = (0..40).map(|_| connection.call(CALL));
        let calls = futures_util::future::join_all(calls);
        tokio::select! {
            biased;
            _ = calls => panic!("nobody answered"),
            () = tokio::task::yield_now() => {}
        }
        assert_eq!(connection.pending(), 0);
    }
}

#[tokio::test]
async fn answers_that_nobody_asked_for_are_dropped() {
    let (connection, mut far) = connected().await;
    far.write_all(&reply(77, "s", &["x".into()])).await.unwrap();
    let answering = async {
        far.read_u8().await.unwrap();
        far.write_all(&reply(1, "s", &["y".into()])).await.unwrap();
        far
    };
    let (answer, mut far) = tokio::join!(connection.call(CALL), answering);
    let answer = answer.unwrap();
    assert_eq!((answer.at, answer.values), (2, vec!["y".into()]));
    // The same again, to a call that has its answer.
    far.write_all(&reply(1, "s", &["z".into()])).await.unwrap();
    far.write_all(&reply(2, "u", &[Value::U32(3)]))
        .await
        .unwrap();
    assert_eq!(connection.call(CALL).await.unwrap().values, [Value::U32(3)]);
}

#[tokio::test]
async fn errors_have_their_words() {
    let (connection, mut far) = connected().await;
    let body = encode("s", &["no such unit".into()]).unwrap();
    let error = Message {
        reply_to: Some(1),
        error: "a.b.NoSuchUnit".to_owned(),
        ..Message::new(Kind::Error, 1, "s", body)
    };
    far.write_all(&error.encode().unwrap()).await.unwrap();
    let error = connection.call(CALL).await.unwrap_err().to_string();
    assert_eq!(error, "Do: no such unit (a.b.NoSuchUnit)");
}

#[tokio::test]
async fn a_body_that_is_damaged_is_an_error_of_its_call_alone() {
    let (connection, mut far) = connected().await;
    let mut bytes = reply(1, "b", &[Value::Bool(true)]);
    *bytes.last_mut().unwrap() = 9;
    far.write_all(&bytes).await.unwrap();
    let error = connection.call(CALL).await.unwrap_err();
    assert!(matches!(error, Error::Answer { .. }), "{error}");
    far.write_all(&reply(2, "b", &[Value::Bool(true)]))
        .await
        .unwrap();
    connection.call(CALL).await.unwrap();
}

#[tokio::test]
async fn the_last_handle_ends_the_connection() {
    let (connection, mut far) = connected().await;
    drop(connection.clone());
    drop(connection);
    let mut rest = Vec::new();
    let closing = far.read_to_end(&mut rest);
    tokio::time::timeout(Duration::from_secs(20), closing)
        .await
        .unwrap()
        .unwrap();
}

/// A connection that gets these bytes, with a call and a listener that wait.
async fn fed(bytes: &[u8]) {
    let (connection, mut far) = connected().await;
    let mut signals = connection.signals().unwrap();
    let feeding = async {
        far.write_all(bytes).await.unwrap();
        far.shutdown().await.unwrap();
    };
    let listening = async { while signals.next(&connection).await.is_ok() {} };
    let all = async { tokio::join!(connection.call(CALL), listening, feeding) };
    let ended = tokio::time::timeout(Duration::from_secs(20), all).await;
    let _ = ended.expect("all comes to its end");
    assert_eq!(connection.pending(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_comes_comes_to_an_end(
        noise in prop::collection::vec(any::<u8>(), 0..200),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let fake = crate::fake::World::new("active", &[1]);
        let mut bytes = Vec::new();
        for message in [
            crate::fake::changed(&fake),
            crate::fake::job_new(3),
            crate::fake::job_removed(3, "y.service", "done"),
            crate::fake::unit_new(),
            crate::fake::startup_finished(),
        ] {
            bytes.extend(message.encode().unwrap());
        }
        bytes.extend(reply(1, "a{sv}", &[Value::Dict(vec![])]));
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.extend(noise);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(fed(&bytes));
    }
}

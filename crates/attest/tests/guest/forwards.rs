//! Connections between host and guest, over the agent's link.

use std::time::Duration;

use attest::{Endpoint, Lab, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::support::{LONG, failed, one, text};

/// Say it, end the writing half, and read the answer to its end.
async fn ask<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(
    mut stream: S,
    words: &[u8],
) -> Vec<u8> {
    let mut answer = Vec::new();
    stream.write_all(words).await.unwrap();
    stream.shutdown().await.unwrap();
    stream.read_to_end(&mut answer).await.unwrap();
    answer
}

#[attest::test(lab = one())]
async fn the_host_reaches_a_service_of_the_guest(lab: Lab) -> Result<()> {
    let a = lab.machine("a")?;
    a.shell("nc -ll -p 7 -e cat &").await?;
    a.wait_for_port(7).await?;
    let forward = a
        .forward_to_guest(Endpoint::port(0), Endpoint::port(7))
        .await?;
    let port = forward.port();
    assert_ne!(port, 0);
    let large = vec![b'x'; 3 << 20];
    let (one, two) = tokio::join!(
        async {
            ask(
                TcpStream::connect(("127.0.0.1", port)).await.unwrap(),
                b"one",
            )
            .await
        },
        async {
            ask(
                TcpStream::connect(("127.0.0.1", port)).await.unwrap(),
                &large,
            )
            .await
        },
    );
    assert_eq!(one, b"one");
    assert!(two == large, "{} bytes came back", two.len());
    // Through a Unix socket of the host, which goes with the forward.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("echo");
    let local = a
        .forward_to_guest(Endpoint::Unix(path.clone()), Endpoint::port(7))
        .await?;
    assert_eq!(
        ask(UnixStream::connect(&path).await.unwrap(), b"unix").await,
        b"unix"
    );
    drop((forward, local));
    assert!(!path.exists());
    // Where nobody listens, the connection is closed.
    let nobody = a
        .forward_to_guest(Endpoint::port(0), Endpoint::port(9))
        .await?;
    let stream = TcpStream::connect(("127.0.0.1", nobody.port()))
        .await
        .unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(LONG, async {
        let mut stream = stream;
        stream.read_to_end(&mut answer).await
    })
    .await;
    assert!(matches!(read, Ok(Ok(0) | Err(_))), "{read:?}");
    Ok(())
}

#[attest::test(lab = one())]
async fn the_guest_reaches_a_service_of_the_host(lab: Lab) -> Result<()> {
    let a = lab.machine("a")?;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = Endpoint::port(listener.local_addr().unwrap().port());
    let serving = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut words = Vec::new();
                stream.read_to_end(&mut words).await.unwrap();
                words.reverse();
                stream.write_all(&words).await.unwrap();
            });
        }
    });
    let forward = a.forward_to_host(Endpoint::port(0), host.clone()).await?;
    let ask = format!("printf abc | nc 127.0.0.1 {}", forward.port());
    assert_eq!(text(&a, &ask).await?, "cba");
    // At a port that is taken it cannot listen.
    let taken = failed(
        a.forward_to_host(Endpoint::port(forward.port()), host)
            .await,
    );
    assert!(taken.to_string().contains("in use"), "{taken}");
    let port = forward.port();
    drop(forward);
    a.wait_for_closed_port(port).timeout(LONG).await?;
    serving.abort();
    // From a Unix socket of the guest to one of the host.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("service");
    let listener = UnixListener::bind(&path).unwrap();
    let _forward = a
        .forward_to_host(Endpoint::Unix("/run/service".into()), Endpoint::Unix(path))
        .await?;
    a.wait_for_unix_socket("/run/service")
        .timeout(Duration::from_secs(10))
        .await?;
    let (mut stream, _) = listener.accept().await.unwrap();
    stream.shutdown().await.unwrap();
    Ok(())
}

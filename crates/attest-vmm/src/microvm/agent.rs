//! The agent's way to the driver over hybrid vsock: the guest connects out, and the VMM to a socket of the driver's.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use attest_protocol::VSOCK_PORT;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use super::place::Place;
use crate::BoxFuture;

/// The number of every guest on its vsock: each has a VMM of its own, so they need not differ. The first that is free
/// (vsock(7)).
pub(crate) const GUEST_CID: u32 = 3;
/// The VMM's own socket, for connections to the guest.
pub(crate) const SOCKET: &str = "vsock";
/// How long a guest that goes on may take to accept a connection: a VMM answers only when its guest has.
const ACCEPTS: Duration = Duration::from_secs(10);
/// The answer to `CONNECT`: `OK ` and a number of 32 bits.
const ANSWER: usize = 14;

/// Hears a machine's agent. Each time that the agent begins anew, it comes as another stream.
#[derive(Debug)]
pub struct AgentListener {
    listener: UnixListener,
    place: Arc<Place>,
    calls: bool,
}

impl AgentListener {
    /// Listen where the VMM will connect to. It must be there before the guest runs.
    pub(crate) fn new(place: Arc<Place>) -> io::Result<Self> {
        let path = place.entry(&format!("{SOCKET}_{VSOCK_PORT}"));
        let listener = UnixListener::bind(&path)?;
        place.hand_over(&path)?;
        Ok(Self {
            listener,
            place,
            calls: false,
        })
    }

    /// For a guest that goes on under a VMM that tells it nothing of that: it waits for what no longer comes, until it
    /// is called.
    pub(crate) fn calling(self) -> Self {
        Self {
            calls: true,
            ..self
        }
    }

    /// The next stream that the agent begins. Cancel-safe.
    ///
    /// # Errors
    /// The socket broke.
    pub async fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }

    /// Where its agent has to be called: a stream to it, which is no longer asked for when this is dropped.
    pub fn call(&self) -> Option<BoxFuture<'static, io::Result<UnixStream>>> {
        let socket = self.place.entry(SOCKET);
        // The socket is reached through the place for as long as the call takes.
        let place = Arc::clone(&self.place);
        self.calls.then(|| -> BoxFuture<'static, _> {
            Box::pin(async move {
                let called = connect(&socket, VSOCK_PORT, ACCEPTS).await;
                drop(place);
                called
            })
        })
    }
}

/// A stream to who listens on a port in the guest.
async fn connect(socket: &Path, port: u32, within: Duration) -> io::Result<UnixStream> {
    let connecting = async {
        let mut stream = UnixStream::connect(socket).await?;
        stream
            .write_all(format!("CONNECT {port}\n").as_bytes())
            .await?;
        answered(&mut stream).await?;
        Ok(stream)
    };
    let connected = tokio::time::timeout(within, connecting).await;
    connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Read the answer, up to its newline and no further: what the guest says first may follow in the same packet.
async fn answered(stream: &mut UnixStream) -> io::Result<()> {
    let mut line = Vec::with_capacity(ANSWER);
    loop {
        // A refusal is nothing but the end.
        let byte = stream.read_u8().await?;
        if byte == b'\n' {
            break;
        }
        line.push(byte);
        if line.len() > ANSWER {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    let port = line
        .strip_prefix(b"OK ")
        .and_then(|port| std::str::from_utf8(port).ok());
    match port.map(str::parse::<u32>) {
        Some(Ok(_)) => Ok(()),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of a connection to a VMM that answers so.
    async fn answer(bytes: &'static [u8]) -> io::Result<Vec<u8>> {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join(SOCKET);
        let vmm = UnixListener::bind(&socket).unwrap();
        let serve = async {
            let (mut stream, _) = vmm.accept().await.unwrap();
            let mut asked = [0; 13];
            stream.read_exact(&mut asked).await.unwrap();
            assert_eq!(&asked, b"CONNECT 1024\n");
            stream.write_all(bytes).await.unwrap();
        };
        let ask = async {
            let mut stream = connect(&socket, 1024, ACCEPTS).await?;
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).await?;
            Ok(rest)
        };
        tokio::join!(serve, ask).1
    }

    #[tokio::test]
    async fn what_follows_the_newline_is_the_guests() {
        assert_eq!(answer(b"OK 1073741824\nhello").await.unwrap(), b"hello");
    }

    #[tokio::test]
    async fn a_refusal_is_an_end_and_garbage_no_answer() {
        let kind = |result: io::Result<_>| result.unwrap_err().kind();
        assert_eq!(kind(answer(b"").await), io::ErrorKind::UnexpectedEof);
        assert_eq!(kind(answer(b"OK").await), io::ErrorKind::UnexpectedEof);
        for garbage in ["NO 1\n", "OK x\n", "OK\n", "OK 123456789012345\n"] {
            let refused = kind(answer(garbage.as_bytes()).await);
            assert_eq!(refused, io::ErrorKind::InvalidData, "{garbage}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_guest_that_does_not_accept_is_not_waited_for_for_ever() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join(SOCKET);
        let _vmm = UnixListener::bind(&socket).unwrap();
        let error = connect(&socket, 1024, ACCEPTS).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}

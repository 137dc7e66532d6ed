//! Where the agent's streams to its host come from: there is one, or there are many, one after the
//! other.

mod port;
mod redial;
mod vsock;

use std::os::fd::OwnedFd;

use attest_protocol::link::LinkError;

pub(crate) use port::open;
pub use redial::{Peer, Redial};
pub use vsock::Vsock;

/// The stream to the host.
#[derive(Debug)]
pub enum Stream {
    /// A device or socket.
    Duplex(OwnedFd),
    /// Two pipes: from the host, and to it.
    Pipes(OwnedFd, OwnedFd),
}

/// How a stream ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Why.
    pub error: LinkError,
    /// Whether a host had answered on it.
    pub answered: bool,
}

/// Gives streams.
pub trait Streams {
    /// The next one; `before` is how the one before it ended, if there was one. An error when there
    /// is none any more.
    fn next(&mut self, before: Option<Ended>) -> impl Future<Output = Result<Stream, LinkError>>;

    /// One that takes the place of that which is served. Never, where there is no such. Cancel-safe.
    fn newer(&mut self) -> impl Future<Output = Stream>;
}

/// One stream, over which one host may come after the other, as over a virtio-serial port.
#[derive(Debug)]
pub struct Fixed(Option<Stream>);

impl From<Stream> for Fixed {
    fn from(stream: Stream) -> Self {
        Self(Some(stream))
    }
}

impl Streams for Fixed {
    async fn next(&mut self, before: Option<Ended>) -> Result<Stream, LinkError> {
        let over = before.map_or(LinkError::Closed, |ended| ended.error);
        self.0.take().ok_or(over)
    }

    async fn newer(&mut self) -> Stream {
        std::future::pending().await
    }
}

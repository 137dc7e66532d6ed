//! The streams of a machine's agent: one for all its sessions, or a new one whenever the agent begins anew.

use std::io;

use attest_protocol::link::{HostLink, HostPort, LinkError};
use attest_protocol::message::Hello;
use attest_vmm::{AgentListener, AgentStreams};
use tokio::net::UnixStream;

use super::Begin;

/// A session, as its agent began it.
type Session = (HostLink, Hello);

/// Over all streams.
#[derive(Debug)]
pub(super) enum Ports {
    /// One stream, which ends with its VMM.
    One(HostPort),
    /// Streams that come and go.
    Many(Box<Coming>),
}

/// Hears streams begin.
#[derive(Debug)]
pub(super) struct Coming {
    listener: AgentListener,
    /// With the session of now.
    current: Option<HostPort>,
    /// The last one that began, as long as nobody has said hello on it: it need not be the agent's.
    candidate: Option<HostPort>,
    /// Begun, and not yet taken.
    next: Option<Session>,
    /// Whether the agent may have to be called.
    calls: bool,
}

impl Ports {
    pub(super) fn new(streams: AgentStreams, begin: Begin) -> Self {
        match (streams, begin) {
            (AgentStreams::One(stream), Begin::Boots) => Self::One(port(stream)),
            (AgentStreams::One(stream), Begin::GoesOn) => {
                let (reader, writer) = stream.into_split();
                Self::One(HostPort::knocking(reader, writer))
            }
            (AgentStreams::Many(listener), begin) => Self::Many(Box::new(Coming {
                listener,
                current: None,
                candidate: None,
                next: None,
                calls: begin == Begin::GoesOn,
            })),
        }
    }

    /// The next session. An error when there can be none any more. Cancel-safe.
    pub(super) async fn accept(&mut self) -> Result<Session, LinkError> {
        match self {
            Self::One(port) => port.accept().await,
            Self::Many(coming) => coming.accept().await,
        }
    }

    /// The stream of the last session is of no use any more: its agent begins another one.
    pub(super) fn let_go(&mut self) {
        if let Self::Many(coming) = self
            && coming.next.is_none()
        {
            coming.current = None;
        }
    }

    /// Resolves when another session has begun on another stream, which [`Self::accept`] returns then.
    pub(super) async fn superseded(&mut self) {
        if let Self::Many(coming) = self
            && let Ok(session) = coming.accept().await
        {
            coming.next = Some(session);
            return;
        }
        // The session of one stream ends by itself.
        std::future::pending::<()>().await;
    }
}

impl Coming {
    async fn accept(&mut self) -> Result<Session, LinkError> {
        if let Some(session) = self.next.take() {
            return Ok(session);
        }
        loop {
            tokio::select! {
                // A stream is heard before another takes its place.
                biased;
                session = accepted(&mut self.candidate) => match session {
                    Ok(session) => {
                        self.current = self.candidate.take();
                        return Ok(session);
                    }
                    Err(_) => self.candidate = None,
                },
                session = accepted(&mut self.current) => match session {
                    Ok(session) => return Ok(session),
                    Err(_) => self.current = None,
                },
                stream = self.listener.accept() => self.candidate = Some(port(broken(stream)?)),
                stream = called(&self.listener), if self.calls => {
                    self.calls = false;
                    // A guest that does not take it begins a stream by itself, or is not there.
                    self.candidate = stream.ok().map(port).or(self.candidate.take());
                }
            }
        }
    }
}

async fn accepted(port: &mut Option<HostPort>) -> Result<Session, LinkError> {
    match port {
        Some(port) => port.accept().await,
        None => std::future::pending().await,
    }
}

/// A stream that the driver began; never where that need not be.
async fn called(listener: &AgentListener) -> io::Result<UnixStream> {
    match listener.call().await {
        Some(stream) => stream,
        None => std::future::pending().await,
    }
}

fn port(stream: UnixStream) -> HostPort {
    let (reader, writer) = stream.into_split();
    HostPort::new(reader, writer)
}

fn broken(stream: io::Result<UnixStream>) -> Result<UnixStream, LinkError> {
    stream.map_err(|error| LinkError::Io(error.to_string()))
}

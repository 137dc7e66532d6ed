//! The streams of a machine's agent: one for all its sessions, or a new one whenever the agent begins anew.

use std::io;
use std::sync::Mutex;

use attest_protocol::link::{HostLink, HostPort, LinkError};
use attest_protocol::message::Hello;
use attest_vmm::{AgentListener, AgentStreams, BoxFuture};
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
    /// The stream that the driver begins, as long as nobody has said hello on it.
    called: Called,
}

/// A stream that the driver begins, where a guest goes on and is told nothing of that.
enum Called {
    /// There is none, or no longer.
    No,
    /// The guest has not taken it yet.
    /// Locked by nobody: it is there so that others may look at the rest meanwhile.
    Begun(Mutex<BoxFuture<'static, io::Result<UnixStream>>>),
    Taken(HostPort),
}

impl std::fmt::Debug for Called {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::No => "No",
            Self::Begun(_) => "Begun",
            Self::Taken(_) => "Taken",
        })
    }
}

impl Ports {
    pub(super) fn new(streams: AgentStreams, begin: Begin) -> Self {
        match (streams, begin) {
            (AgentStreams::One(stream), Begin::Boots) => Self::One(port(stream)),
            (AgentStreams::One(stream), Begin::GoesOn) => {
                let (reader, writer) = stream.into_split();
                Self::One(HostPort::knocking(reader, writer))
            }
            (AgentStreams::Many(listener), begin) => {
                let called = Some(&listener).filter(|_| begin == Begin::GoesOn);
                let called = called.and_then(AgentListener::call);
                Self::Many(Box::new(Coming {
                    called: called.map_or(Called::No, |call| Called::Begun(Mutex::new(call))),
                    listener,
                    current: None,
                    candidate: None,
                    next: None,
                }))
            }
        }
    }

    /// The next session. An error when there can be none any more. Cancel-safe.
    pub(super) async fn accept(&mut self) -> Result<Session, LinkError> {
        match self {
            Self::One(port) => port.accept().await,
            Self::Many(coming) => coming.accept().await,
        }
    }

    /// Whether a stream ends with its session.
    pub(super) fn come_and_go(&self) -> bool {
        matches!(self, Self::Many(_))
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
            if let Some(session) = self.called().await? {
                return Ok(session);
            }
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
            }
        }
    }

    /// The session on the stream that the driver begins. As long as that may come nobody else is listened to: a guest
    /// that was called leaves what it had begun itself. `None` when it comes no longer: a guest that does not take it
    /// begins a stream itself, or is not there.
    async fn called(&mut self) -> Result<Option<Session>, LinkError> {
        loop {
            match &mut self.called {
                Called::No => return Ok(None),
                Called::Begun(call) => tokio::select! {
                    biased;
                    stream = call.get_mut().expect("not poisoned") => {
                        let taken = stream.map(|stream| Called::Taken(port(stream)));
                        self.called = taken.unwrap_or(Called::No);
                    }
                    stream = self.listener.accept() => self.candidate = Some(port(broken(stream)?)),
                },
                Called::Taken(taken) => tokio::select! {
                    biased;
                    session = taken.accept() => {
                        let called = std::mem::replace(&mut self.called, Called::No);
                        if let (Called::Taken(taken), Ok(session)) = (called, session) {
                            self.forget_begun().await;
                            self.current = Some(taken);
                            return Ok(Some(session));
                        }
                    }
                    stream = self.listener.accept() => self.candidate = Some(port(broken(stream)?)),
                },
            }
        }
    }

    /// What the guest had begun itself before it was called: all of that has arrived, and means nothing any more.
    async fn forget_begun(&mut self) {
        self.candidate = None;
        loop {
            tokio::select! {
                biased;
                begun = self.listener.accept() => if begun.is_err() {
                    return;
                },
                () = std::future::ready(()) => return,
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

fn port(stream: UnixStream) -> HostPort {
    let (reader, writer) = stream.into_split();
    HostPort::new(reader, writer)
}

fn broken(stream: io::Result<UnixStream>) -> Result<UnixStream, LinkError> {
    stream.map_err(|error| LinkError::Io(error.to_string()))
}

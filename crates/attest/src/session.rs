//! The state of a machine as its agent shows it, and requests to it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use attest_events::MachineEnding;
use attest_protocol::link::{Channel, HostLink, Incoming, LinkError};
use attest_protocol::message::{FailureCode, Hello, Request, Response};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::console::Console;
use crate::error::{Error, Result};

/// How long after a broken link the machine's end may take to be known, before the agent alone
/// is said to be lost. A VMM that dies closes the link a few milliseconds before its exit
/// status arrives.
const ENDING_GRACE: Duration = Duration::from_secs(2);

/// Where a machine stands.
#[derive(Debug, Clone, Default)]
pub(crate) enum State {
    /// Never started, or stopped.
    #[default]
    Off,
    /// Booting since then; its agent has not answered in this boot.
    Booting(Instant),
    /// Booting since then; its agent answered and is being told who it is.
    Up(Instant),
    /// Usable.
    Ready(Arc<Ready>),
    /// Setting it up failed; it will not become ready in this boot.
    Broken(Arc<Error>),
    /// It ended without being asked.
    Ended(MachineEnding, Arc<str>),
}

/// A usable machine.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) link: HostLink,
    pub(crate) hello: Hello,
    /// Whether it did not boot, but goes on from where it was saved.
    pub(crate) goes_on: bool,
}

impl Ready {
    pub(crate) fn session(&self) -> crate::life::Session {
        crate::life::Session {
            token: self.hello.nonce,
            is_agent: !self.hello.version.ends_with("(root shell)"),
        }
    }
}

/// One machine's connection to its agent, over all boots.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) machine: String,
    pub(crate) state: watch::Sender<State>,
    pub(crate) boot_timeout: Duration,
    pub(crate) console: Arc<Console>,
    /// Whether the machine was saved and goes on by itself: its agent begins the next session without having booted.
    pub(crate) goes_on: AtomicBool,
}

impl Session {
    /// The link, as soon as the machine is ready.
    pub(crate) async fn link(&self) -> Result<HostLink> {
        Ok(self.ready_where(|_| true).await?.link.clone())
    }

    /// Wait until the machine is ready and `accept`s.
    pub(crate) async fn ready_where(&self, accept: impl Fn(&Ready) -> bool) -> Result<Arc<Ready>> {
        let asked = Instant::now();
        let mut changes = self.state.subscribe();
        loop {
            let state = changes.borrow_and_update().clone();
            let since = match &state {
                State::Booting(since) | State::Up(since) => *since,
                State::Ready(ready) if accept(ready) => return Ok(Arc::clone(ready)),
                State::Ready(_) => asked,
                State::Off | State::Broken(_) | State::Ended(..) => {
                    return Err(self.error_of(&state));
                }
            };
            let deadline = since + self.boot_timeout;
            if timeout_at(deadline, changes.changed()).await.is_err() {
                return Err(Error::BootTimedOut {
                    machine: self.machine.clone(),
                    timeout: self.boot_timeout,
                    last_console: self.console.last_line(),
                });
            }
        }
    }

    /// Wait until the agent has answered since the last boot, or cannot any more.
    pub(crate) async fn up(&self) {
        let mut changes = self.state.subscribe();
        loop {
            let State::Booting(since) = *changes.borrow_and_update() else {
                return;
            };
            let deadline = since + self.boot_timeout;
            // Too late is for `ready_where` to say.
            if timeout_at(deadline, changes.changed()).await.is_err() {
                return;
            }
        }
    }

    fn error_of(&self, state: &State) -> Error {
        let machine = self.machine.clone();
        match state {
            State::Ended(ending, detail) => Error::MachineEnded {
                machine,
                ending: *ending,
                detail: detail.to_string(),
            },
            State::Broken(cause) => Error::SetUp {
                machine,
                source: Arc::clone(cause),
            },
            State::Off | State::Booting(_) | State::Up(_) | State::Ready(_) => {
                Error::MachineOff { machine }
            }
        }
    }

    /// What a broken link means: the machine's end if it ended, else a lost agent.
    pub(crate) async fn lost(&self, source: LinkError) -> Error {
        if source == LinkError::Superseded {
            return Error::Superseded {
                machine: self.machine.clone(),
            };
        }
        let mut state = self.state.subscribe();
        let over = state.wait_for(|state| matches!(state, State::Off | State::Ended(..)));
        match tokio::time::timeout(ENDING_GRACE, over).await {
            Ok(Ok(state)) => self.error_of(&state),
            _ => Error::AgentLost {
                machine: self.machine.clone(),
                source,
            },
        }
    }

    /// Open a channel for a request.
    pub(crate) async fn open(&self, request: &Request) -> Result<Channel> {
        let link = self.link().await?;
        match link.open(request) {
            Ok(channel) => Ok(channel),
            // The link stands: nothing was sent.
            Err(LinkError::TooLong(bytes)) => Err(Error::TooLong {
                machine: self.machine.clone(),
                operation: request.name(),
                bytes,
            }),
            Err(error) => Err(self.lost(error).await),
        }
    }

    /// The next item of a channel.
    pub(crate) async fn next(&self, channel: &mut Channel) -> Result<Incoming> {
        match channel.receiver.next().await {
            Ok(incoming) => Ok(incoming),
            Err(error) => Err(self.lost(error).await),
        }
    }

    /// A request without streams: open, and take its result.
    pub(crate) async fn call(&self, request: &Request) -> Result<Response> {
        let mut channel = self.open(request).await?;
        self.result(&mut channel, request.name()).await
    }

    /// A request after which the guest leaves: `None` when the link broke before the answer.
    pub(crate) async fn call_once(&self, request: &Request) -> Option<Result<()>> {
        let link = match self.link().await {
            Ok(link) => link,
            Err(error) => return Some(Err(error)),
        };
        let mut channel = link.open(request).ok()?;
        loop {
            if let Incoming::Finished(result) = channel.receiver.next().await.ok()? {
                return Some(
                    result
                        .map(drop)
                        .map_err(|failure| self.failure(request.name(), failure)),
                );
            }
        }
    }

    /// The result of a channel, ignoring everything before it.
    pub(crate) async fn result(
        &self,
        channel: &mut Channel,
        operation: &'static str,
    ) -> Result<Response> {
        loop {
            if let Incoming::Finished(result) = self.next(channel).await? {
                return result.map_err(|failure| self.failure(operation, failure));
            }
        }
    }

    /// It runs, and must not be used any more, for this.
    pub(crate) fn breaks(&self, why: Error) {
        self.state.send_if_modified(|state| {
            let is_ready = matches!(state, State::Ready(_));
            if is_ready {
                *state = State::Broken(Arc::new(why));
            }
            is_ready
        });
    }

    /// The agent's failure as our error.
    pub(crate) fn failure(
        &self,
        operation: &'static str,
        failure: attest_protocol::message::Failure,
    ) -> Error {
        let machine = self.machine.clone();
        match failure.code {
            FailureCode::TimedOut => Error::TimedOut {
                machine,
                subject: failure.message,
                last_seen: failure.last_seen,
            },
            _ => Error::Guest {
                machine,
                operation,
                failure,
            },
        }
    }

    /// An answer of the wrong kind: the agent is not what it says it is.
    pub(crate) fn unexpected(&self, operation: &str) -> Error {
        Error::AgentLost {
            machine: self.machine.clone(),
            source: LinkError::Protocol(format!("an answer of another kind than {operation} has")),
        }
    }
}

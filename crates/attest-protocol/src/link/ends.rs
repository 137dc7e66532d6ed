//! The two ends of a session.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::channel::Channel;
use super::session::{Accepted, Core, LinkError};
use crate::message::Request;

/// The host's end of a session. Clones are the same session.
#[derive(Debug, Clone)]
pub struct HostLink {
    pub(super) core: Arc<Core>,
}

impl HostLink {
    /// Give the session up: whoever waits for something of it gets [`LinkError::Superseded`].
    pub fn supersede(&self) {
        self.core.end(LinkError::Superseded);
    }

    /// Open a channel. Never waits for the other side.
    pub fn open(&self, request: &Request) -> Result<Channel, LinkError> {
        self.core.open(request)
    }

    /// The connections that the agent accepts for the [`Request::Listen`] of this channel. They
    /// are kept from its opening on, so none is missed; the second call for a channel gives none.
    pub fn accepted_by(&self, listener: u32) -> Connections {
        Connections(self.core.connections(listener))
    }

    /// Resolves when the session has ended, with the reason. When the agent says hello anew,
    /// because its guest was booted again, that is [`LinkError::Closed`].
    pub async fn ended(&self) -> LinkError {
        self.core.ended().await
    }
}

/// Connections that a listener in the guest accepted.
#[derive(Debug)]
pub struct Connections(Option<mpsc::Receiver<Channel>>);

impl Connections {
    /// The next one; `None` when the listener's channel or the session has ended. Cancel-safe.
    pub async fn next(&mut self) -> Option<Channel> {
        self.0.as_mut()?.recv().await
    }
}

/// The agent's end of a session: requests come out of it.
#[derive(Debug)]
pub struct AgentLink {
    pub(super) core: Arc<Core>,
    pub(super) accepted: mpsc::UnboundedReceiver<Accepted>,
}

impl AgentLink {
    /// The next request, with its channel. Cancel-safe.
    pub async fn next(&mut self) -> Result<Accepted, LinkError> {
        match self.accepted.recv().await {
            Some(accepted) => Ok(accepted),
            None => Err(self.core.reason()),
        }
    }

    /// What opens channels to the host.
    pub fn opener(&self) -> Opener {
        Opener {
            core: Arc::clone(&self.core),
        }
    }
}

/// Opens channels from the agent to the host.
#[derive(Debug, Clone)]
pub struct Opener {
    core: Arc<Core>,
}

impl Opener {
    /// Open a channel ([`Request::Accepted`]). Never waits for the other side.
    pub fn open(&self, request: &Request) -> Result<Channel, LinkError> {
        self.core.open(request)
    }
}

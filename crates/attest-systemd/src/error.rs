//! What can go wrong between us and systemd.

use std::io;
use std::sync::Arc;

use crate::failure::WaitFailure;
use crate::job::JobFailure;

/// What can go wrong. None of them names the machine: the caller knows it.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no connection to the manager's socket.
    #[error("systemd's private socket cannot be reached")]
    Connect(#[source] Arc<io::Error>),
    /// The connection ended: the guest's systemd restarted, went away, or sent nonsense.
    #[error("the connection to systemd ended: {0}")]
    Lost(#[from] Lost),
    /// PID 1 is something else than systemd.
    #[error("PID 1 is {init}, not systemd; use commands and files instead of units here")]
    NotSystemd {
        /// What it is, as `OpenRC` or `busybox init`.
        init: String,
    },
    /// systemd is there, but does not serve its socket.
    #[error("systemd runs as PID 1, but does not serve {socket} (yet); {advice}")]
    NotServed {
        /// The socket's path in the guest.
        socket: String,
        /// What to do.
        advice: &'static str,
    },
    /// This cannot be the name of a unit.
    #[error("`{name}` cannot be the name of a unit: {reason}")]
    UnitName {
        /// As it was given.
        name: String,
        /// Why not.
        reason: &'static str,
    },
    /// There is no such unit.
    #[error("there is no unit {unit}{}", near_text(near))]
    UnitNotFound {
        /// The completed name.
        unit: String,
        /// Names of units that look like it.
        near: Vec<String>,
    },
    /// The unit has no such property.
    #[error("{unit} has no property `{property}`{}", near_text(near))]
    NoProperty {
        /// The unit.
        unit: String,
        /// The name asked for.
        property: String,
        /// Names of properties that look like it.
        near: Vec<String>,
    },
    /// A wait for a unit ended: what it waits for will not come.
    #[error("{0}")]
    Wait(Box<WaitFailure>),
    /// A job ended otherwise than it should.
    #[error("{0}")]
    Job(Box<JobFailure>),
    /// The end of a job was not seen.
    #[error(
        "the end of the {kind} job of {unit} was not seen, because the manager went away meanwhile; look at the unit's state"
    )]
    JobEndMissed {
        /// The unit.
        unit: String,
        /// What the job was to do.
        kind: &'static str,
    },
    /// The manager refused a call.
    #[error("{method}: {message} ({name})")]
    Call {
        /// The method.
        method: &'static str,
        /// The name of the error, as `org.freedesktop.systemd1.NoSuchUnit`.
        name: String,
        /// systemd's words.
        message: String,
    },
    /// The answer to a call is not what this method answers.
    #[error("{method}: the answer is {reason}; this is no systemd that attest knows")]
    Answer {
        /// The method.
        method: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An argument cannot be sent.
    #[error("{method}: an argument is {reason}")]
    Argument {
        /// The method.
        method: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// Why a connection ended.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Lost {
    /// The other side closed it, as systemd does when it executes itself anew.
    #[error("it was closed by the guest")]
    Closed,
    /// The stream failed.
    #[error("{0}")]
    Io(Arc<io::Error>),
    /// The peer does not let us in.
    #[error("the guest's systemd refused us: {0}")]
    Refused(String),
    /// What came is no D-Bus, or more than systemd ever sends.
    #[error("the guest sent {0}")]
    Malformed(&'static str),
}

impl Lost {
    pub(crate) fn io(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset => Self::Closed,
            _ => Self::Io(Arc::new(error)),
        }
    }
}

impl Error {
    /// Whether the manager went away, so that the same may go well over a new connection.
    pub fn is_lost(&self) -> bool {
        matches!(
            self,
            Self::Lost(Lost::Closed | Lost::Io(_)) | Self::JobEndMissed { .. }
        )
    }

    pub(crate) fn answer(method: &'static str) -> Self {
        let reason = "of other types than it has";
        Self::Answer { method, reason }
    }
}

/// `; near it: a.service, b.service`
pub(crate) fn near_text(near: &[String]) -> String {
    if near.is_empty() {
        String::new()
    } else {
        format!("; near it: {}", near.join(", "))
    }
}

//! What goes wrong between a test and a guest's systemd.

use std::fmt;
use std::sync::Arc;

use attest_events::{JournalTail, Verdict};

use crate::error::Error;
use crate::machine::Machine;

/// What went wrong with a unit, or between attest and a machine's systemd.
#[derive(Debug)]
pub struct SystemdFailure {
    /// Where.
    pub machine: String,
    /// What.
    pub error: attest_systemd::Error,
    /// The end of the unit's journal at that moment, when a unit disappointed a wait.
    pub journal: Option<JournalTail>,
    /// What the unit itself wrote last, then.
    pub last_words: Option<String>,
}

impl SystemdFailure {
    /// As our error; one of ours that connecting ended with comes out again.
    pub(crate) fn error(machine: &Machine, error: attest_systemd::Error) -> Error {
        let error = match error {
            attest_systemd::Error::Connect(cause) => match Arc::try_unwrap(cause) {
                Ok(cause) => match cause.downcast::<Error>() {
                    Ok(ours) => return ours,
                    Err(cause) => attest_systemd::Error::Connect(Arc::new(cause)),
                },
                Err(cause) => attest_systemd::Error::Connect(cause),
            },
            error => error,
        };
        Error::Systemd(Box::new(Self {
            machine: machine.name().to_owned(),
            error,
            journal: None,
            last_words: None,
        }))
    }

    /// What it means for the test that it ends: a unit that is not as the test wants it is the
    /// system's fault, a manager that cannot be talked with is nobody's.
    pub(crate) fn verdict(&self) -> Verdict {
        use attest_systemd::Error as Cause;
        match self.error {
            Cause::Connect(_)
            | Cause::Lost(_)
            | Cause::JobEndMissed { .. }
            | Cause::Answer { .. } => Verdict::Infrastructure,
            _ => Verdict::Failed,
        }
    }
}

impl fmt::Display for SystemdFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.machine, self.error)?;
        match &self.last_words {
            Some(words) => write!(f, "; it wrote last: {}", attest_protocol::one_line(words)),
            None => Ok(()),
        }
    }
}

impl std::error::Error for SystemdFailure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

//! What can go wrong with a lab process.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

/// What can go wrong with a lab process.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LabError {
    /// It is gone, and all that ran in it.
    #[error("the lab process ended: {0}")]
    Ended(LabEnd),
    /// It could not be started.
    #[error("cannot start the lab process: {what} failed")]
    Start {
        /// The step.
        what: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// Its bytes are no program that this host runs.
    #[error(
        "cannot run the lab process from memory or from a temporary file; vm.memfd_noexec must be 0 or 1, \
         or the temporary directory ($TMPDIR) must not be mounted noexec"
    )]
    Exec(#[source] io::Error),
    /// It started, and could not set itself up.
    #[error("the lab process could not {what}")]
    Setup {
        /// What it tried, and what to do about it.
        what: String,
        /// The kernel's answer.
        source: Option<io::Error>,
    },
    /// A network or a TAP could not be made.
    #[error("network `{network}`: {what}")]
    Network {
        /// As in the manifest.
        network: String,
        /// What was tried, and what is missing.
        what: String,
        /// The kernel's answer.
        source: Option<io::Error>,
    },
    /// A root or a file for a container could not be made.
    #[error("cannot make `{name}` in the lab: cannot {what}")]
    Root {
        /// The machine, or the file.
        name: String,
        /// What was tried, and what it needs.
        what: String,
        /// The kernel's answer.
        source: Option<io::Error>,
    },
    /// A snapshot by the device mapper could not be made.
    #[error(
        "cannot make a snapshot of an image: cannot {what}; leave the choice to attest, or write \
         `copy-on-write = \"qcow2\"`"
    )]
    Snapshot {
        /// What was tried, and what it needs.
        what: String,
        /// The kernel's answer.
        source: Option<io::Error>,
    },
    /// The program is not in `PATH`.
    #[error("`{0}` is not in PATH; install it or give its whole path")]
    NotFound(PathBuf),
    /// The program could not be started.
    #[error("cannot run `{program}`: {what}")]
    Spawn {
        /// The program.
        program: PathBuf,
        /// Which step.
        what: String,
        /// The kernel's answer.
        source: Option<io::Error>,
    },
    /// Arguments and environment together are larger than one message, or too many descriptors.
    #[error(
        "cannot run `{program}`: its arguments, environment and descriptors are more than a program can be given \
         ({bytes} of {limit} bytes, {fds} of {fd_limit} descriptors)"
    )]
    TooLarge {
        /// The program.
        program: PathBuf,
        /// What it would take.
        bytes: usize,
        /// What there is.
        limit: usize,
        /// Descriptors to pass.
        fds: usize,
        /// Descriptors that can be passed.
        fd_limit: usize,
    },
    /// The control socket failed.
    #[error("cannot talk to the lab process")]
    Control(#[source] io::Error),
    /// It answered something else than was asked: driver and lab process do not fit together.
    #[error("the lab process gave an answer that does not fit; rebuild attest as a whole")]
    Answer,
}

/// How a lab process ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabEnd {
    /// The exit status of its outer process; unknown where something else reaped it.
    pub status: Option<ExitStatus>,
    /// What it could say of it by itself.
    pub reason: Option<String>,
    /// The end of what it wrote to stderr: a panic.
    pub last_words: String,
}

impl fmt::Display for LabEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(reason) = &self.reason {
            write!(f, "{reason}; ")?;
        }
        match self.status {
            // The outer process hands on what it saw of PID 1, as a shell does.
            Some(status) => match status.code() {
                Some(code @ 129..) => write!(f, "its PID 1 was killed by signal {}", code - 128)?,
                Some(0) => f.write_str("its control socket was closed")?,
                _ => write!(f, "{status}")?,
            },
            None => f.write_str("its exit status is unknown")?,
        }
        if !self.last_words.is_empty() {
            write!(f, "; it said: {}", self.last_words.trim_end())?;
        }
        Ok(())
    }
}

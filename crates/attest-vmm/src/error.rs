//! What can go wrong with machines.

use crate::{ApiError, qemu, qmp};

/// What can go wrong in a backend.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VmmError {
    /// The VMM's program is not there.
    #[error("{machine}: there is no QEMU to run it")]
    Missing {
        /// Whose.
        machine: String,
        /// What was looked for, and how to get it.
        #[source]
        source: qemu::QemuMissing,
    },
    /// The backend cannot do what the machine asks for.
    #[error("{machine}: the backend `{backend}` has no {ability}: {reason}")]
    Lacks {
        /// Whose.
        machine: String,
        /// As in the manifest.
        backend: &'static str,
        /// What it lacks.
        ability: &'static str,
        /// Why, and what to do.
        reason: &'static str,
    },
    /// It would have more of something than the backend has room for.
    #[error(
        "{machine}: {backend} has at most {limit} {what}, and this machine would have {wanted}: {help}"
    )]
    Limit {
        /// Whose.
        machine: String,
        /// As in the manifest.
        backend: &'static str,
        /// What of, as `virtual CPUs`.
        what: String,
        /// How many, and of which kinds.
        wanted: String,
        /// The most.
        limit: usize,
        /// What to do.
        help: &'static str,
    },
    /// It would have more memory than this host.
    #[error(
        "{machine}: {} MiB of memory are more than this host has: {} MiB (MemTotal of /proc/meminfo); give it less \
         `memory`", wanted >> 20, total >> 20
    )]
    Memory {
        /// Whose.
        machine: String,
        /// Bytes.
        wanted: u64,
        /// Bytes.
        total: u64,
    },
    /// This host cannot run it with this backend.
    #[error("{machine}: {reason}")]
    Unable {
        /// Whose.
        machine: String,
        /// Why not, and what to do.
        reason: String,
    },
    /// It was given another kind of machine than it runs: a mistake of its caller.
    #[error("{machine}: the backend `{backend}` runs no machines of this kind")]
    WrongBody {
        /// Whose.
        machine: String,
        /// As in the manifest.
        backend: &'static str,
    },
    /// An accelerator was asked for that cannot be had.
    #[error(
        "{machine}: KVM was asked for, but {reason}; leave the accelerator out, or ask for tcg"
    )]
    Accelerator {
        /// Whose.
        machine: String,
        /// What the probe found.
        reason: String,
    },
    /// The VMM ended at once.
    #[error("{machine}: QEMU refused to start: {words}")]
    Refused {
        /// Whose.
        machine: String,
        /// Its own words.
        words: String,
    },
    /// The VMM was killed, or crashed, as it started.
    #[error("{machine}: QEMU was ended by signal {signal} as it started: {words}")]
    Killed {
        /// Whose.
        machine: String,
        /// The signal's number.
        signal: i32,
        /// Its own words.
        words: String,
    },
    /// The VMM's program runs, but is not what it should be.
    #[error("{machine}: {} does not behave like QEMU", program.display())]
    NotQemu {
        /// Whose.
        machine: String,
        /// What was started.
        program: std::path::PathBuf,
        /// What it did on its monitor.
        #[source]
        source: qmp::QmpError,
    },
    /// The lab process could not start it.
    #[error("{machine}: the VMM could not be started")]
    Lab {
        /// Whose.
        machine: String,
        /// Why.
        #[source]
        source: attest_lab::LabError,
    },
    /// A start script ended before its machine ran.
    #[error("{machine}: its start script ended with {how} before its QEMU ran: {words}{advice}")]
    ScriptEnded {
        /// Whose.
        machine: String,
        /// As `exit code 1`.
        how: String,
        /// What it said last, on stderr and on stdout.
        words: String,
        /// What to do, where that is known: begins with `; `.
        advice: &'static str,
    },
    /// A start script runs, but no QEMU of it does.
    #[error("{machine}: its start script started no QEMU within {within:?}: {words}")]
    ScriptIdle {
        /// Whose.
        machine: String,
        /// How long it had.
        within: std::time::Duration,
        /// What it said last.
        words: String,
    },
    /// The sockets of a start script cannot be made.
    #[error(
        "{machine}: the socket {} cannot be made; its directory must be there, be writable, and its whole path \
         must have less than 108 bytes: name a shorter one in $XDG_RUNTIME_DIR", path.display()
    )]
    Socket {
        /// Whose.
        machine: String,
        /// Which.
        path: std::path::PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The lab process ended while the VMM started.
    #[error("{machine}: the lab process ended while it started")]
    LabEnded {
        /// Whose.
        machine: String,
    },
    /// The host's operating system refused something.
    #[error("{machine}: {action}")]
    Host {
        /// Whose.
        machine: String,
        /// What.
        action: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The VMM did not do what it was told.
    #[error("{machine}: {vmm} did not {what}")]
    Api {
        /// Whose.
        machine: String,
        /// As people know it.
        vmm: &'static str,
        /// As `take the disk `root``.
        what: String,
        /// Its answer.
        #[source]
        source: ApiError,
    },
    /// The VMM ended before its guest ran.
    #[error("{machine}: {vmm} ended with {how} before it ran the guest: {words}")]
    EndedEarly {
        /// Whose.
        machine: String,
        /// As people know it.
        vmm: &'static str,
        /// As `exit code 1`.
        how: String,
        /// Its own words.
        words: String,
    },
    /// The VMM's program runs, but offers no API.
    #[error("{machine}: {vmm} made no API within {within:?}; is its program what its name says?")]
    NoApi {
        /// Whose.
        machine: String,
        /// As people know it.
        vmm: &'static str,
        /// How long it had.
        within: std::time::Duration,
    },
    /// The VMM's monitor failed.
    #[error("{machine}: the VMM's monitor failed")]
    Monitor {
        /// Whose.
        machine: String,
        /// How.
        #[source]
        source: qmp::QmpError,
    },
}

impl VmmError {
    /// Whose it is.
    pub fn machine(&self) -> &str {
        match self {
            Self::Missing { machine, .. }
            | Self::Lacks { machine, .. }
            | Self::Limit { machine, .. }
            | Self::Memory { machine, .. }
            | Self::Unable { machine, .. }
            | Self::WrongBody { machine, .. }
            | Self::Accelerator { machine, .. }
            | Self::Refused { machine, .. }
            | Self::Killed { machine, .. }
            | Self::NotQemu { machine, .. }
            | Self::Lab { machine, .. }
            | Self::ScriptEnded { machine, .. }
            | Self::ScriptIdle { machine, .. }
            | Self::Socket { machine, .. }
            | Self::LabEnded { machine, .. }
            | Self::Host { machine, .. }
            | Self::Api { machine, .. }
            | Self::EndedEarly { machine, .. }
            | Self::NoApi { machine, .. }
            | Self::Monitor { machine, .. } => machine,
        }
    }

    /// Whether the VMM is gone, or about to.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(
            self,
            Self::Api {
                source: ApiError::Closed,
                ..
            }
        )
    }

    /// What the host did not do for this machine.
    pub(crate) fn host(
        machine: &str,
        action: &'static str,
    ) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let machine = machine.to_owned();
        move |source| Self::Host {
            machine,
            action,
            source,
        }
    }

    /// What the lab could not do for this machine.
    pub(crate) fn lab(machine: &str) -> impl FnOnce(attest_lab::LabError) -> Self + use<> {
        let machine = machine.to_owned();
        move |source| Self::Lab { machine, source }
    }

    /// What a probe found against a backend, for this machine.
    pub(crate) fn unable(machine: &str) -> impl FnOnce(String) -> Self + use<> {
        let machine = machine.to_owned();
        move |reason| Self::Unable { machine, reason }
    }
}

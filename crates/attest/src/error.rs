//! What can go wrong, and whose fault it is.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use attest_events::{FailureDetail, MachineEnding, Verdict};
use attest_image::ImageError;
use attest_lab::LabError;
use attest_manifest::ManifestError;
use attest_protocol::chain;
use attest_protocol::link::LinkError;
use attest_protocol::message::{ExitStatus, Failure};
use attest_vmm::VmmError;

use crate::systemd::SystemdFailure;

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong. [`Error::verdict`] tells a failed assertion of the test from a failure
/// of something beneath it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The manifest is wrong; nothing was started.
    #[error("the manifest is wrong")]
    Manifest(#[source] Box<ManifestError>),
    /// Kernel or guest image cannot be had.
    #[error("the guest's image cannot be made")]
    Image(#[from] ImageError),
    /// The lab process failed.
    #[error("the lab failed")]
    Lab(#[from] LabError),
    /// The virtual machine monitor failed.
    #[error("a machine cannot be started")]
    Vmm(#[from] VmmError),
    /// QEMU refuses a command of its machine protocol, or does not answer.
    #[error("{machine}: its QEMU failed")]
    Qmp {
        /// Whose.
        machine: String,
        /// What it says.
        #[source]
        source: attest_vmm::qmp::QmpError,
    },
    /// The machine's screen cannot be made a file, or read.
    #[error("{machine}: its screen cannot be read")]
    Screen {
        /// Whose.
        machine: String,
        /// Why not.
        #[source]
        source: attest_screen::ScreenError,
    },
    /// QEMU has no such key, or no key types such a character.
    #[error("{machine}: no key is `{}`; see the names of QEMU's `sendkey`, and US-ASCII for text", key.escape_debug())]
    Key {
        /// For which machine.
        machine: String,
        /// What was asked for.
        key: String,
    },
    /// A lab of start scripts cannot be.
    #[error(transparent)]
    Scripts(#[from] crate::scripts::ScriptsError),
    /// No machine of this name.
    #[error("no machine `{name}` in this lab; it has: {}", known.join(", "))]
    UnknownMachine {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// No image of this name.
    #[error("no image `{name}` in this manifest; it has: {}", known.join(", "))]
    UnknownImage {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// The machine does not run.
    #[error("{machine}: the machine is off; start it first")]
    MachineOff {
        /// Which.
        machine: String,
    },
    /// The machine ended while it was needed.
    #[error("{machine}: the machine ended ({}): {detail}", ending_name(*ending))]
    MachineEnded {
        /// Which.
        machine: String,
        /// How.
        ending: MachineEnding,
        /// What is known of it.
        detail: String,
    },
    /// The guest's agent did not say hello in time.
    #[error(
        "{machine}: the agent did not answer within {timeout:?} of the start; last on the console: {last_console}"
    )]
    BootTimedOut {
        /// Which.
        machine: String,
        /// How long it had.
        timeout: Duration,
        /// The last line of the console.
        last_console: String,
    },
    /// The machine was saved, or put back to what it was, while this was under way.
    #[error(
        "{machine}: it was saved or put back meanwhile, which ends all that is under way; save a lab when nothing \
         is, and start in the background what is to outlive that"
    )]
    Superseded {
        /// Which.
        machine: String,
    },
    /// What keeps snapshots failed.
    #[error("the snapshots cannot be used")]
    Snapshots(#[source] Box<attest_image::store::SnapshotError>),
    /// There is no lab of such a name that was kept of a failed test, or there are more.
    #[error("{} is kept of a failed test as `{name}`; {}", if *count == 0 { "no lab" } else { "more than one lab" }, known_text(known))]
    UnknownKept {
        /// As asked for.
        name: String,
        /// How many have such a name.
        count: usize,
        /// Those that there are, with what they are of.
        known: Vec<String>,
    },
    /// A lab that was kept of a failed test cannot go on: what it needs is not what it was.
    #[error("the lab that was kept as `{name}` cannot go on here: {reason}")]
    KeptElsewhere {
        /// Its name.
        name: String,
        /// What is other than it was.
        reason: String,
    },
    /// A machine cannot be saved as it is now.
    #[error("{machine}: it cannot be saved: {reason}")]
    Unsavable {
        /// Which.
        machine: String,
        /// Why, and what to do.
        reason: &'static str,
    },
    /// A machine cannot go on from where it was saved.
    #[error("{machine}: it cannot go on from where it was saved: {words}")]
    GoOn {
        /// Which.
        machine: String,
        /// What its VMM said last.
        words: String,
        /// How it was refused.
        #[source]
        source: Box<VmmError>,
    },
    /// The machine's backend cannot do this.
    #[error("{machine}: the backend `{backend}` has no {ability}: {reason}")]
    Unsupported {
        /// Which.
        machine: String,
        /// Its backend.
        backend: &'static str,
        /// The ability, as `attest doctor` lists it.
        ability: &'static str,
        /// Why, and what to do.
        reason: &'static str,
    },
    /// A machine whose backend has balloons was given none.
    #[error("{machine}: it has no balloon; write `balloon = true` for it in the manifest")]
    NoBalloon {
        /// Which.
        machine: String,
    },
    /// What a machine writes to its root cannot go there.
    #[error("{machine}: `copy-on-write = \"{strategy}\"` cannot be: {reason}")]
    CopyOnWrite {
        /// Which.
        machine: String,
        /// As in the manifest.
        strategy: &'static str,
        /// Why, and what to do.
        reason: &'static str,
    },
    /// The connection to the agent broke while the machine ran.
    #[error("{machine}: the connection to the agent broke")]
    AgentLost {
        /// Which.
        machine: String,
        /// How.
        #[source]
        source: LinkError,
    },
    /// The agent came up, but the machine could not be set up.
    #[error("{machine}: the machine could not be set up")]
    SetUp {
        /// Which.
        machine: String,
        /// Why.
        #[source]
        source: Arc<Error>,
    },
    /// A command printed more than may be kept.
    #[error(
        "{machine}: `{command}` printed more than {limit} bytes; raise the limit, or stream it or redirect it to a file in the guest"
    )]
    OutputTooLarge {
        /// Which.
        machine: String,
        /// The command.
        command: String,
        /// Bytes of stdout or of stderr.
        limit: usize,
    },
    /// The guest refused or could not do a request.
    #[error("{machine}: {operation} failed: {failure}")]
    Guest {
        /// Which.
        machine: String,
        /// As `exec`, `upload`.
        operation: &'static str,
        /// The agent's words.
        failure: Failure,
    },
    /// A request is longer than any message.
    #[error(
        "{machine}: {operation} of {bytes} bytes is too long for one message; put it into a file of the guest, and name that"
    )]
    TooLong {
        /// Which.
        machine: String,
        /// As `exec`, `wait`.
        operation: &'static str,
        /// Its size.
        bytes: usize,
    },
    /// A command ended otherwise than the test demands.
    #[error("{0}")]
    Command(Box<CommandFailure>),
    /// A unit is not as the test wants it, or the machine's systemd cannot be talked with.
    #[error(transparent)]
    Systemd(Box<SystemdFailure>),
    /// A wait, a command or a test ran out of time.
    #[error("{machine}: {subject}{}", last_seen.as_ref().map(|seen| format!("; last seen: {seen}")).unwrap_or_default())]
    TimedOut {
        /// Which.
        machine: String,
        /// What did not happen, and within which time.
        subject: String,
        /// What was last seen of it.
        last_seen: Option<String>,
    },
    /// A test, or the whole run, did not end in time.
    #[error("{what} did not end within {limit:?}{}", doing_text(doing))]
    TestTimedOut {
        /// `the test`, or `the run` when that was shorter.
        what: &'static str,
        /// The limit: `timeouts.test` or `timeouts.run`.
        limit: Duration,
        /// What had begun and not ended, as `machine: exec sleep 9`.
        doing: Vec<String>,
    },
    /// A machine's console can no longer be kept: what was printed there is lost.
    #[error("{machine}: its console cannot be kept in {}; free space there, or choose another directory", path.display())]
    ConsoleLost {
        /// Whose.
        machine: String,
        /// The console's file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: Arc<io::Error>,
    },
    /// An assertion of a declarative step did not hold.
    #[error("{0}")]
    Assertion(String),
    /// A file tree could not be packed or unpacked on this side.
    #[error("{machine}: copying {} failed", path.display())]
    Copy {
        /// Which.
        machine: String,
        /// The path on the host.
        path: PathBuf,
        /// Why.
        #[source]
        source: attest_protocol::tree::TreeError,
    },
    /// The host's operating system refused something.
    #[error("{action}")]
    Io {
        /// What was being done.
        action: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A step of a declarative test failed.
    #[error("step {step}")]
    Step {
        /// Its number, from 1.
        step: u32,
        /// Why.
        source: Box<Error>,
    },
    /// A script did not end well.
    #[error("{}", detail.message)]
    Script {
        /// What is known.
        detail: Box<FailureDetail>,
        /// Whether the test failed, rather than something beneath it.
        is_test: bool,
    },
    /// A lab did not come to the state that a test begins from.
    #[error("{}", detail.message)]
    Stage {
        /// What is known.
        detail: Box<FailureDetail>,
        /// What it means for the test.
        verdict: Verdict,
        /// How many of its set-ups it had: the next one failed. `None`: it did not even boot.
        set_ups: Option<usize>,
    },
    /// The run was interrupted.
    #[error("interrupted")]
    Interrupted,
    /// A program that attest runs for the test (a Rust test binary) cannot be used.
    #[error("{program}: {reason}")]
    Program {
        /// Which.
        program: String,
        /// Why not, and what to do.
        reason: String,
    },
}

/// A command that ended otherwise than the test demands.
#[derive(Debug, Clone)]
pub struct CommandFailure {
    /// Where.
    pub machine: String,
    /// As written.
    pub command: String,
    /// How it ended.
    pub status: ExitStatus,
    /// What was demanded, as `exit code 0`.
    pub expected: String,
    /// Whether the time-out ended it.
    pub timed_out: Option<Duration>,
    /// The end of its stdout.
    pub stdout: String,
    /// The end of its stderr.
    pub stderr: String,
}

impl std::fmt::Display for CommandFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}: `{}` ",
            self.machine,
            attest_protocol::one_line(&self.command)
        )?;
        if let Some(timeout) = self.timed_out {
            write!(f, "did not end within {timeout:?}")?;
        } else {
            write!(
                f,
                "ended with {}, not with {}",
                status_text(self.status),
                self.expected
            )?;
        }
        if let Some(last) = self.stderr.trim_end().lines().next_back() {
            write!(f, "; stderr ends: {last}")?;
        }
        Ok(())
    }
}

impl From<ManifestError> for Error {
    fn from(error: ManifestError) -> Self {
        Self::Manifest(Box::new(error))
    }
}

impl Error {
    pub(crate) fn in_step(self, step: u32) -> Self {
        Self::Step {
            step,
            source: Box::new(self),
        }
    }

    pub(crate) fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Self::Io { action, source }
    }

    /// The verdict that this error means for the test that it ends.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Command(failure) if failure.timed_out.is_some() => Verdict::TimedOut,
            Self::Command(_)
            | Self::Assertion(_)
            | Self::OutputTooLarge { .. }
            | Self::TooLong { .. }
            | Self::Script { is_test: true, .. } => Verdict::Failed,
            Self::TimedOut { .. } | Self::TestTimedOut { .. } => Verdict::TimedOut,
            Self::Interrupted => Verdict::Interrupted,
            Self::Stage { verdict, .. } => *verdict,
            Self::Systemd(failure) => failure.verdict(),
            Self::Step { source, .. } => source.verdict(),
            Self::Guest { failure, .. }
                if failure.code == attest_protocol::message::FailureCode::NotFound =>
            {
                Verdict::Failed
            }
            _ => Verdict::Infrastructure,
        }
    }

    /// The machine that it is about.
    pub fn machine(&self) -> Option<&str> {
        match self {
            Self::MachineOff { machine }
            | Self::Unsupported { machine, .. }
            | Self::NoBalloon { machine }
            | Self::CopyOnWrite { machine, .. }
            | Self::MachineEnded { machine, .. }
            | Self::BootTimedOut { machine, .. }
            | Self::AgentLost { machine, .. }
            | Self::SetUp { machine, .. }
            | Self::Superseded { machine }
            | Self::Unsavable { machine, .. }
            | Self::GoOn { machine, .. }
            | Self::OutputTooLarge { machine, .. }
            | Self::Guest { machine, .. }
            | Self::TooLong { machine, .. }
            | Self::TimedOut { machine, .. }
            | Self::ConsoleLost { machine, .. }
            | Self::Qmp { machine, .. }
            | Self::Screen { machine, .. }
            | Self::Key { machine, .. }
            | Self::Copy { machine, .. } => Some(machine),
            Self::Command(failure) => Some(&failure.machine),
            Self::Systemd(failure) => Some(&failure.machine),
            Self::Vmm(error) => Some(error.machine()),
            Self::Step { source, .. } => source.machine(),
            _ => None,
        }
    }

    /// The error and all its causes, joined by `: `.
    pub fn chain(&self) -> String {
        if let Self::Step { step, source } = self {
            return format!("step {step}: {}", source.chain());
        }
        chain(self)
    }

    /// What a report shows of it.
    pub fn detail(&self) -> FailureDetail {
        if let Self::Script { detail, .. } | Self::Stage { detail, .. } = self {
            return (**detail).clone();
        }
        let mut detail = FailureDetail {
            message: self.chain(),
            machine: self.machine().map(str::to_owned),
            ..FailureDetail::default()
        };
        let cause = if let Self::Step { source, .. } = self {
            source
        } else {
            self
        };
        if let Self::Command(failure) = cause {
            detail.command = Some(failure.command.clone());
            detail.stdout = Some(failure.stdout.clone());
            detail.stderr = Some(failure.stderr.clone());
        }
        if let Self::Systemd(failure) = cause {
            detail.journals.extend(failure.journal.clone());
        }
        detail
    }
}

fn known_text(known: &[String]) -> String {
    if known.is_empty() {
        return "none is kept: `attest run --keep failed` keeps them".to_owned();
    }
    format!("there are: {}", known.join("; "))
}

/// `exit code 3` or `signal 9`.
pub(crate) fn status_text(status: ExitStatus) -> String {
    match status {
        ExitStatus::Code(code) => format!("exit code {code}"),
        ExitStatus::Signal(signal) => format!("signal {signal}"),
    }
}

fn doing_text(doing: &[String]) -> String {
    if doing.is_empty() {
        return String::new();
    }
    format!("; at its end there ran: {}", doing.join("; "))
}

fn ending_name(ending: MachineEnding) -> &'static str {
    match ending {
        MachineEnding::Stopped => "stopped by attest",
        MachineEnding::PoweredOff => "powered off",
        MachineEnding::Reset => "reset by the guest",
        MachineEnding::Panic => "kernel panic",
        MachineEnding::TripleFault => "triple fault",
        MachineEnding::VmmCrashed => "the VMM crashed",
        MachineEnding::VmmMissing => "the VMM is missing",
        MachineEnding::Disconnected => "the connection ended",
    }
}

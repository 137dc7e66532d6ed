//! The events of a run: one type that every output reads, and the exit codes of the command.
//!
//! Stable and small: other programs parse these. Fields are added, never renamed.

mod breakdown;
mod part;
mod script;
mod system;
mod verdicts;

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::breakdown::{Clock, Marks};
pub use self::part::{BootsBecause, Part, ProcessKind, Row, Who};
pub use self::script::{Attributes, LogLevel};
pub use self::system::{BootTimes, JournalTail, UnitTime, priority_prefix};

/// Something that happened, with its time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// Nanoseconds since the run began, on the monotonic clock.
    pub at_ns: u64,
    /// The test it belongs to, if one runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<String>,
    /// The machine it is about, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum EventKind {
    /// A run began. Always the first event.
    RunStarted {
        /// Version of attest.
        version: String,
        /// Wall-clock time, RFC 3339, UTC.
        time: String,
        /// Names of the tests that will run.
        tests: Vec<String>,
        /// How many may run at once.
        #[serde(default = "one", skip_serializing_if = "is_one")]
        jobs: u32,
        /// Where consoles, artifacts and reports of this run go.
        output: String,
    },
    /// A lab began to be brought up.
    LabStarted {
        /// Its machines, in the manifest's order.
        machines: Vec<String>,
    },
    /// A phase began, of the machine if one is named, else of the whole lab or run.
    PhaseStarted {
        /// Which.
        phase: Phase,
    },
    /// A phase ended.
    PhaseEnded {
        /// Which.
        phase: Phase,
        /// How long it took, nanoseconds.
        duration_ns: u64,
    },
    /// From now on, the wall time of the test (of the run, where none is named) waits for this; of one of its machines,
    /// where one is named.
    PartStarted {
        /// What.
        part: Part,
        /// What the process that says so has used of the processors until now, nanoseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cpu_ns: Option<u64>,
    },
    /// Nobody waits for the machine any more: it is ready, or it is not going to be.
    PartsEnded,
    /// What a process used of the processors, until its end or nearly so.
    CpuUsed {
        /// Which.
        by: ProcessKind,
        /// All of it, nanoseconds.
        cpu_ns: u64,
        /// That of it during which the run waited for this process alone: it is part of the wall time of a part.
        #[serde(default, skip_serializing_if = "is_none_of")]
        waited_ns: u64,
    },
    /// Labs of this plan always boot: none is saved, or goes on from where one was.
    AlwaysBoots {
        /// Why.
        why: BootsBecause,
    },
    /// The guest of a machine has booted up to its first program, as its VMM measured it (Firecracker's boot timer).
    BootMeasured {
        /// From the VMM's start of the guest on, nanoseconds.
        duration_ns: u64,
    },
    /// A choice that attest made and that a reader should know, as the accelerator.
    Chosen {
        /// What was chosen: `accelerator`, `kernel`, ….
        what: String,
        /// The choice.
        choice: String,
        /// Why.
        reason: String,
    },
    /// Something that takes longer than a moment began.
    Progress {
        /// What, as one line.
        text: String,
    },
    /// A line of the machine's console, without its line end.
    Console {
        /// Invalid UTF-8 is replaced.
        line: String,
    },
    /// An entry of the machine's journal (systemd's log).
    Journal {
        /// The unit that wrote it, or that it is about; else the program; `kernel` for the kernel.
        unit: String,
        /// 0 (emergency) to 7 (debug), as of syslog.
        priority: u8,
        /// Microseconds since 1970, by the guest's clock.
        time_us: u64,
        /// May have several lines. Invalid UTF-8 is replaced, and what is very long is cut.
        message: String,
    },
    /// The machine's systemd has finished its start-up: no job was left.
    SystemUp {
        /// systemd's word for the whole system: `running`; `degraded` when units failed.
        state: String,
        /// The units that failed.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        failed: Vec<String>,
        /// Where the time of the boot went, inside the guest.
        times: BootTimes,
    },
    /// The machine's agent answered for the first time since its boot.
    AgentUp {
        /// The agent's version.
        version: String,
        /// Its protocol generation.
        generation: u32,
    },
    /// A command, wait, copy or other request began.
    OperationStarted {
        /// Number of the operation, unique in the run.
        id: u64,
        /// `exec`, `wait`, `upload`, ….
        operation: String,
        /// The command or the condition, as the user would write it.
        subject: String,
    },
    /// It ended.
    OperationEnded {
        /// Number of the operation.
        id: u64,
        /// Nanoseconds.
        duration_ns: u64,
        /// Nothing when it went well; else one line.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// Output of a command, when it is recorded. Invalid UTF-8 is replaced.
    Output {
        /// Number of the operation.
        id: u64,
        /// `stdout` or `stderr`.
        stream: OutputStream,
        /// One or more whole lines where possible.
        text: String,
    },
    /// The machine ended.
    MachineEnded {
        /// How.
        ending: MachineEnding,
        /// One line with what is known: exit code, signal, console line.
        detail: String,
    },
    /// A test began.
    TestStarted,
    /// A step of a declarative test began (1-based).
    StepStarted {
        /// Which.
        step: u32,
        /// As written.
        text: String,
    },
    /// A try of a test did not pass, and another follows.
    TryEnded {
        /// Which, from 1.
        number: u32,
        /// How many there may be.
        of: u32,
        /// Its verdict.
        verdict: Verdict,
        /// Nanoseconds, of the try alone.
        duration_ns: u64,
        /// Why it did not pass.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<FailureDetail>,
    },
    /// A test ended, by its last try.
    TestEnded {
        /// Its verdict.
        verdict: Verdict,
        /// Nanoseconds, of the test alone.
        duration_ns: u64,
        /// For what is not passed: why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<FailureDetail>,
        /// How often it was tried; a test that passed after more than one is flaky.
        #[serde(default = "one", skip_serializing_if = "is_one")]
        tries: u32,
    },
    /// A line of a script's log; of a machine where one is named.
    Log {
        /// How much it matters.
        level: LogLevel,
        /// May have several lines.
        message: String,
        /// What else the script says of it.
        #[serde(default, skip_serializing_if = "Attributes::is_empty")]
        attributes: Attributes,
    },
    /// A nested part of a script's log began.
    LogBegan {
        /// Number of the part, unique in the script.
        id: u64,
        /// What is done in it.
        message: String,
        /// Whether it is a test within the script.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        subtest: bool,
        /// What else the script says of it.
        #[serde(default, skip_serializing_if = "Attributes::is_empty")]
        attributes: Attributes,
    },
    /// It ended.
    LogEnded {
        /// Number of the part.
        id: u64,
        /// Nanoseconds.
        duration_ns: u64,
        /// Nothing when it went well; else why it did not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// Whether lines of consoles belong to the log from now on.
    LogConsoles {
        /// Whether they do.
        on: bool,
    },
    /// What matters less than this does not belong to the log from now on.
    LogLeast {
        /// The least that does.
        level: LogLevel,
    },
    /// Something that the user should know and that fails nothing.
    Warning {
        /// One line.
        message: String,
    },
    /// A lab was saved as it was; labs that begin from there need not come to it any more.
    LabSaved {
        /// Its name.
        lab: String,
        /// What was done to it last: `ready`, or a set-up.
        point: String,
        /// How long it took to come to there, nanoseconds.
        duration_ns: u64,
    },
    /// The lab is gone.
    LabEnded,
    /// The run ended. Always the last event.
    RunEnded {
        /// Exit code of the command.
        exit_code: ExitCode,
        /// Counts of verdicts.
        summary: Summary,
        /// Where the time went.
        breakdown: Breakdown,
    },
}

/// The phases of a run, in their order. Together they cover its whole wall time.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Reading the manifest, probing the host, planning.
    Plan,
    /// Kernel, initramfs and root images, from the cache or made.
    Image,
    /// The lab process, its namespaces and networks, disks, the VMMs' start until they run.
    Spawn,
    /// From the VMM's exec to the agent's first sign of life.
    Boot,
    /// From the agent's first sign of life to a machine that is set up.
    Agent,
    /// Saving the state that set-ups left, for the tests that begin from it.
    Snapshot,
    /// Bringing a lab back to a saved state.
    Restore,
    /// The tests themselves.
    Test,
    /// Ending the machines and the lab.
    Shutdown,
}

impl Phase {
    /// All phases, in order.
    pub const ALL: [Self; 9] = [
        Self::Plan,
        Self::Image,
        Self::Spawn,
        Self::Boot,
        Self::Agent,
        Self::Snapshot,
        Self::Restore,
        Self::Test,
        Self::Shutdown,
    ];

    /// The name used in every output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Image => "image",
            Self::Spawn => "spawn",
            Self::Boot => "boot",
            Self::Agent => "agent",
            Self::Snapshot => "snapshot",
            Self::Restore => "restore",
            Self::Test => "test",
            Self::Shutdown => "shutdown",
        }
    }
}

/// Which output of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OutputStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How a machine ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MachineEnding {
    /// attest ended it, as part of the lab's shutdown or on request.
    Stopped,
    /// The guest switched itself off.
    PoweredOff,
    /// The guest asked for a reset where none was allowed.
    Reset,
    /// The guest's kernel panicked.
    Panic,
    /// The virtual CPU hit a triple fault.
    TripleFault,
    /// The VMM died by a signal or an error of its own.
    VmmCrashed,
    /// The VMM could not be started.
    VmmMissing,
    /// The connection to a host that runs already ended.
    Disconnected,
}

/// The verdict on a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It passed.
    Passed,
    /// An assertion of the test did not hold.
    Failed,
    /// Its time ran out.
    TimedOut,
    /// Something beneath the test broke: the test says nothing about the system under test.
    Infrastructure,
    /// It was not run, or not to its end, because the run was interrupted.
    Interrupted,
    /// It could not run here, with the reason in the failure.
    Skipped,
}

/// Why a test did not pass.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FailureDetail {
    /// What went wrong: may have several lines.
    pub message: String,
    /// The machine, when it is one machine's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// The command that failed, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// The end of its stdout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdout: Option<String>,
    /// The end of its stderr.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stderr: Option<String>,
    /// The last lines of the consoles that matter, as (machine, lines).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub consoles: Vec<ConsoleTail>,
    /// The last lines of the journals of units that the test had to do with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub journals: Vec<JournalTail>,
    /// The command that goes on from the lab as it was then, where it was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<String>,
}

/// The end of a console.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConsoleTail {
    /// Whose.
    pub machine: String,
    /// The last lines, oldest first.
    pub lines: Vec<String>,
    /// The whole console's file.
    pub file: String,
}

/// Counts of verdicts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// [`Verdict::Passed`].
    pub passed: u32,
    /// [`Verdict::Failed`].
    pub failed: u32,
    /// [`Verdict::TimedOut`].
    pub timed_out: u32,
    /// [`Verdict::Infrastructure`].
    pub infrastructure: u32,
    /// [`Verdict::Interrupted`].
    pub interrupted: u32,
    /// [`Verdict::Skipped`].
    pub skipped: u32,
    /// Those of the passed that did not pass at the first try.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub flaky: u32,
}

/// Where the time of a run went.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Breakdown {
    /// Wall time of the whole run, nanoseconds.
    pub wall_ns: u64,
    /// Per phase: each instant belongs to the phase that runs then, or in equal parts to those of
    /// all tests that do.
    pub total: Vec<PhaseTime>,
    /// Per machine: machines run side by side, so these do not add up to the total.
    pub machines: Vec<MachineTime>,
}

/// The time of one phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PhaseTime {
    /// Which.
    pub phase: Phase,
    /// Nanoseconds.
    pub ns: u64,
}

/// The phases of one machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MachineTime {
    /// Which.
    pub machine: String,
    /// Its phases, in order.
    pub phases: Vec<PhaseTime>,
    /// How much of its boots its guest took up to its first program, as its VMM measured it; nanoseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured_boot_ns: Option<u64>,
}

/// Exit codes of the `attest` command. Part of its interface; they never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ExitCode {
    /// 0: every test passed (or was skipped by name).
    Passed,
    /// 1: a test failed.
    TestFailed,
    /// 2: the command line or the manifest is wrong; nothing was started.
    Usage,
    /// 3: something beneath the tests broke.
    Infrastructure,
    /// 4: no test matched; nothing to run.
    NothingToRun,
    /// 5: the time ran out.
    TimedOut,
    /// 130: interrupted by the user.
    Interrupted,
}

impl ExitCode {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::Passed,
        Self::TestFailed,
        Self::Usage,
        Self::Infrastructure,
        Self::NothingToRun,
        Self::TimedOut,
        Self::Interrupted,
    ];

    /// The process's exit status.
    pub const fn code(self) -> u8 {
        match self {
            Self::Passed => 0,
            Self::TestFailed => 1,
            Self::Usage => 2,
            Self::Infrastructure => 3,
            Self::NothingToRun => 4,
            Self::TimedOut => 5,
            Self::Interrupted => 130,
        }
    }

    /// One line for tables.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Passed => "every test passed",
            Self::TestFailed => "a test failed",
            Self::Usage => "the command line or the manifest is wrong; nothing was started",
            Self::Infrastructure => "something beneath the tests broke",
            Self::NothingToRun => "no test to run",
            Self::TimedOut => "the time ran out",
            Self::Interrupted => "interrupted",
        }
    }
}

/// A duration as the nanoseconds that events carry; saturates after 584 years.
pub fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_one(number: &u32) -> bool {
    *number == 1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_none_of(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_has_every_exit_code() {
        let readme = include_str!("../../../README.md");
        for code in ExitCode::ALL {
            let row = format!("| {} | {} |", code.code(), code.meaning());
            assert!(readme.contains(&row), "README.md lacks `{row}`");
        }
    }
}

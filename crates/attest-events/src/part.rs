//! What the wall time of a run waits for: a finer axis than the phases, with names for all that attest itself does.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Phase;

/// What a run, or a test of it, waits for. In the order in which a machine comes to it: of several machines, the wall
/// time waits for the one that is least far.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// From the start of the process to the reading of the first manifest.
    StartUp,
    /// Reading manifests, the schedule, and where all output goes.
    Plan,
    /// Scripts are read, by CPython: which set-ups and tests they have.
    Outline,
    /// Tests in Rust are built, by cargo.
    Build,
    /// Another test makes what this one begins from.
    Turn,
    /// Kernel, initramfs and root images, from the cache or made.
    Images,
    /// Whether there is a snapshot to go on from, and which.
    Lookup,
    /// The lab process, its namespaces and its networks.
    LabProcess,
    /// Disks, and roots of containers.
    Disks,
    /// Network cards, and what else of the host a machine has.
    Cards,
    /// What is left of starting machines.
    Start,
    /// From the exec of a VMM or of systemd-nspawn until its guest runs.
    VmmStart,
    /// A VMM takes over the devices and the memory of a machine that was saved.
    Load,
    /// The guest boots, up to its first program.
    Kernel,
    /// A machine that has booted is told its names, networks, clock and files.
    MachineSetUp,
    /// A machine that goes on gets the time and fresh randomness.
    Wake,
    /// The system of a guest comes up.
    System,
    /// A lab is saved: guests write what is dirty, VMMs write and others go on.
    Save,
    /// A process that holds a test starts: CPython, or a Rust test's.
    Client,
    /// The code of a test, between what it asks of machines.
    Script,
    /// A declarative test, between what it asks of machines.
    Steps,
    /// Commands run in machines.
    Commands,
    /// What is waited for in machines: units, ports, files, text.
    Waits,
    /// Copies to and from machines.
    Copies,
    /// What a test asks of machines beside these: units, reboots, the end of their power.
    Requests,
    /// That process ends.
    ClientEnd,
    /// What is told of a test that did not pass is collected.
    Findings,
    /// What a lab used is read, for the schedules of later runs.
    Usage,
    /// The lab's processes, VMMs among them, end.
    LabEnd,
    /// A snapshot that was made is written to its end.
    Keep,
    /// What later runs need to know of this one.
    End,
    /// Reports are written to their ends.
    Reports,
}

/// Who works, while the wall time waits.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Who {
    /// attest itself: its command, its lab process, its agent when it sets a machine up, the start of its Python.
    Attest,
    /// QEMU, Firecracker, Cloud Hypervisor or systemd-nspawn: starting, saving, loading, ending.
    Vmm,
    /// What happens inside machines.
    Guest,
    /// The code of tests.
    Script,
}

/// The rows of a breakdown that every driver of such tests has.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Row {
    /// Sandboxes, networks, what is prepared.
    SetUp,
    /// The driver's own start, and that of the language in which tests are written.
    DriverStartUp,
    /// Images, disks and roots.
    RootFileSystem,
    /// From the VMM's start to machines that are ready; or their restore.
    Boot,
    /// The tests.
    Test,
    /// Ending all of it.
    Shutdown,
}

/// One of attest's processes, or of those that it starts for tests.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum ProcessKind {
    /// The command.
    Driver,
    /// A lab's process, with what it relays between machines; without VMMs and containers.
    Lab,
    /// All processes of a lab, its own too: VMMs and containers.
    Machines,
    /// The CPython of a script.
    Python,
    /// The process of a Rust test, which has attest in it.
    RustTest,
}

/// Why labs always boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BootsBecause {
    /// Whoever started the run wants it (`--snapshots never`).
    Asked,
    /// The manifest does (`isolation = "boot"`).
    Isolation,
    /// A machine's backend, or how it writes to its root, has no snapshots.
    Backend,
}

impl Part {
    /// All, in order.
    pub const ALL: [Self; 32] = [
        Self::StartUp,
        Self::Plan,
        Self::Outline,
        Self::Build,
        Self::Turn,
        Self::Images,
        Self::Lookup,
        Self::LabProcess,
        Self::Disks,
        Self::Cards,
        Self::Start,
        Self::VmmStart,
        Self::Load,
        Self::Kernel,
        Self::MachineSetUp,
        Self::Wake,
        Self::System,
        Self::Save,
        Self::Client,
        Self::Script,
        Self::Steps,
        Self::Commands,
        Self::Waits,
        Self::Copies,
        Self::Requests,
        Self::ClientEnd,
        Self::Findings,
        Self::Usage,
        Self::LabEnd,
        Self::Keep,
        Self::End,
        Self::Reports,
    ];

    /// What a phase waits for where nothing says it finer.
    pub const fn of_phase(phase: Phase) -> Self {
        match phase {
            Phase::Plan => Self::Plan,
            Phase::Image => Self::Images,
            Phase::Spawn => Self::LabProcess,
            Phase::Boot => Self::Kernel,
            Phase::Agent => Self::MachineSetUp,
            Phase::Snapshot => Self::Save,
            Phase::Restore => Self::Load,
            Phase::Test => Self::Steps,
            Phase::Shutdown => Self::LabEnd,
        }
    }

    /// Who works meanwhile.
    pub const fn who(self) -> Who {
        match self {
            Self::VmmStart | Self::Load | Self::Save | Self::LabEnd => Who::Vmm,
            Self::Kernel
            | Self::System
            | Self::Commands
            | Self::Waits
            | Self::Copies
            | Self::Requests => Who::Guest,
            Self::Build | Self::Script => Who::Script,
            _ => Who::Attest,
        }
    }

    /// The row that it is a part of.
    pub const fn row(self) -> Row {
        match self {
            Self::StartUp | Self::Plan | Self::Outline | Self::Build | Self::Client => {
                Row::DriverStartUp
            }
            Self::Images | Self::Disks => Row::RootFileSystem,
            Self::Turn
            | Self::Lookup
            | Self::LabProcess
            | Self::Cards
            | Self::Start
            | Self::Save => Row::SetUp,
            Self::VmmStart
            | Self::Load
            | Self::Kernel
            | Self::MachineSetUp
            | Self::Wake
            | Self::System => Row::Boot,
            Self::Script
            | Self::Steps
            | Self::Commands
            | Self::Waits
            | Self::Copies
            | Self::Requests
            | Self::Findings => Row::Test,
            Self::ClientEnd
            | Self::Usage
            | Self::LabEnd
            | Self::Keep
            | Self::End
            | Self::Reports => Row::Shutdown,
        }
    }

    /// As people read it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::StartUp => "start-up",
            Self::Plan => "plan",
            Self::Outline => "reading scripts",
            Self::Build => "building Rust tests",
            Self::Turn => "waiting for another test",
            Self::Images => "images",
            Self::Lookup => "snapshot lookup",
            Self::LabProcess => "lab process and networks",
            Self::Disks => "disks and roots",
            Self::Cards => "network cards",
            Self::Start => "start of machines",
            Self::VmmStart => "VMM start",
            Self::Load => "restore of machines",
            Self::Kernel => "boot of the kernel",
            Self::MachineSetUp => "set-up of machines",
            Self::Wake => "wake of machines",
            Self::System => "boot of the system",
            Self::Save => "saving snapshots",
            Self::Client => "start of the test's process",
            Self::Script => "test code",
            Self::Steps => "steps",
            Self::Commands => "commands",
            Self::Waits => "waits",
            Self::Copies => "copies",
            Self::Requests => "other requests",
            Self::ClientEnd => "end of the test's process",
            Self::Findings => "findings of failures",
            Self::Usage => "usage of labs",
            Self::LabEnd => "VMM end",
            Self::Keep => "keeping snapshots",
            Self::End => "end of the run",
            Self::Reports => "reports",
        }
    }
}

impl Who {
    /// All, in order.
    pub const ALL: [Self; 4] = [Self::Attest, Self::Vmm, Self::Guest, Self::Script];

    /// As people read it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Attest => "attest",
            Self::Vmm => "VMM",
            Self::Guest => "guest",
            Self::Script => "test code",
        }
    }
}

impl Row {
    /// All, in order.
    pub const ALL: [Self; 6] = [
        Self::SetUp,
        Self::DriverStartUp,
        Self::RootFileSystem,
        Self::Boot,
        Self::Test,
        Self::Shutdown,
    ];

    /// As people read it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SetUp => "set-up",
            Self::DriverStartUp => "driver start-up",
            Self::RootFileSystem => "root file system",
            Self::Boot => "boot",
            Self::Test => "test",
            Self::Shutdown => "shutdown",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_numbered_in_the_order_of_all() {
        for (index, part) in Part::ALL.into_iter().enumerate() {
            assert_eq!(part as usize, index, "{part:?}");
        }
    }
}

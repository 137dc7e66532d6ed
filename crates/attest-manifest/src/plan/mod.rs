//! What a manifest comes to: every default filled in, every name resolved, everything checked.

mod cards;
mod groups;
mod images;
mod machines;
mod networks;
mod planner;
mod rates;
mod script;
mod setups;
mod steps;
mod text;
mod units;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::model::{Accelerator, Backend, CopyOnWrite, Isolation, Jailer, MachineType};
pub use groups::{MachineGroup, MachineUse};
pub use images::{DebianPlan, KernelPlan, SourcePlan, SystemPlan};
pub use networks::{Subnet, SubnetError};
pub use script::ScriptPlan;
pub use setups::{SetupKind, SetupPlan};

pub(crate) use planner::plan;

/// A lab, ready to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct LabPlan {
    /// As in the manifest, else the name of its directory, else `lab`.
    pub name: String,
    /// The manifest's directory, absolute; `None` for a manifest made in code.
    pub directory: Option<PathBuf>,
    /// In the manifest's order.
    pub networks: Vec<NetworkPlan>,
    /// In the manifest's order, used or not.
    pub images: Vec<Arc<SystemPlan>>,
    /// In the manifest's order, which is that of their numbers. Of a whole manifest, number n is
    /// at index n − 1; [`LabPlan::only`] leaves some out.
    pub machines: Vec<MachinePlan>,
    /// What tests share of the lab.
    pub isolation: Isolation,
    /// In the manifest's order; what they stand on is there, and without cycles.
    pub setups: Vec<SetupPlan>,
    /// In the manifest's order.
    pub tests: Vec<TestPlan>,
    /// How long things may take.
    pub timeouts: TimeoutPlan,
}

impl LabPlan {
    /// Whether its tests run one after the other on one lab: because it says so, or because it has a host that runs
    /// already, of which there is only one.
    pub fn shares_lab(&self) -> bool {
        let is_host = |machine: &MachinePlan| machine.backend == Backend::Ssh;
        self.isolation == Isolation::Shared || self.machines.iter().any(is_host)
    }
}

/// How long things may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeoutPlan {
    /// From the start of a machine until its agent answers.
    pub boot: Duration,
    /// One test that gives no limit of its own.
    pub test: Duration,
    /// All tests of the manifest.
    pub run: Duration,
    /// An orderly power-off.
    pub shutdown: Duration,
    /// One command or wait that gives no limit of its own.
    pub command: Duration,
}

impl Default for TimeoutPlan {
    fn default() -> Self {
        Self {
            boot: Duration::from_mins(1),
            test: Duration::from_mins(5),
            run: Duration::from_mins(30),
            shutdown: Duration::from_secs(10),
            command: Duration::from_mins(15),
        }
    }
}

/// An Ethernet segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkPlan {
    /// As in the manifest.
    pub name: String,
    /// IPv4.
    pub subnet4: Subnet,
    /// IPv6.
    pub subnet6: Subnet,
    /// The largest packet, bytes.
    pub mtu: u32,
}

/// A machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MachinePlan {
    /// Its host name.
    pub name: String,
    /// From 1, in the manifest's order.
    pub number: u32,
    /// How it runs.
    pub backend: Backend,
    /// What it boots.
    pub image: ImagePlan,
    /// QEMU's board.
    pub machine_type: MachineType,
    /// What executes its instructions.
    pub accelerator: Accelerator,
    /// Bytes, a multiple of 1 MiB.
    pub memory: u64,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Network cards, in order.
    pub cards: Vec<CardPlan>,
    /// Files to put into it before a test.
    pub files: Vec<FilePlan>,
    /// In order.
    pub disks: Vec<DiskPlan>,
    /// Of every command.
    pub environment: IndexMap<String, String>,
    /// Added to the kernel's command line.
    pub kernel_arguments: Vec<String>,
    /// Where what it writes to its root goes.
    pub copy_on_write: CopyOnWrite,
    /// Whether Firecracker is put into a jail.
    pub jailer: Jailer,
    /// Whether it has a balloon.
    pub balloon: bool,
    /// The host that it is; always there for [`Backend::Ssh`].
    pub ssh: Option<SshPlan>,
    /// How it is started; always there for [`Backend::VmScript`] and [`Backend::ContainerScript`].
    pub script: Option<ScriptPlan>,
    /// Whether it never talks to other machines, although it shares a network with them.
    pub independent: bool,
}

/// What a machine boots.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ImagePlan {
    /// What a virtual machine's processor begins with.
    pub kernel: KernelPlan,
    /// Absolute path of an initramfs of the user's own.
    pub initrd: Option<PathBuf>,
    /// The system; `None`: the built-in bare guest.
    pub system: Option<Arc<SystemPlan>>,
}

/// A host that runs already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SshPlan {
    /// Name, address, or alias.
    pub host: String,
    /// `None`: as OpenSSH is configured.
    pub port: Option<u16>,
    /// `None`: root.
    pub user: Option<String>,
    /// A private key; absolute.
    pub identity: Option<PathBuf>,
    /// As for `ssh -o`.
    pub options: Vec<String>,
}

/// A network card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CardPlan {
    /// The network's name.
    pub network: String,
    /// Unique in the lab. By default `02:hh:hh:nn:mm:mm`: locally administered, 16 bits of a
    /// hash of the network's name, the network's number, the machine's number.
    pub mac: [u8; 6],
    /// Addresses with their prefix lengths, IPv4 first.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Its name in the machine; `None`: the kernel's.
    pub interface: Option<String>,
    /// How fast it is at most, in each direction.
    pub rate: Option<RatePlan>,
}

/// How fast a disk or a network card is at most; at least one of both is there, and none is zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RatePlan {
    /// Bytes in each second.
    pub bytes_per_second: Option<u64>,
    /// Reads and writes, or packets, in each second.
    pub operations_per_second: Option<u64>,
}

/// A file to put into a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilePlan {
    /// Absolute path in the machine.
    pub path: PathBuf,
    /// What is in it.
    pub content: FileContent,
    /// Permissions; `None`: those of the source, or 0644 for text.
    pub mode: Option<u32>,
}

/// What is in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileContent {
    /// This text.
    Text(String),
    /// What this file or directory of the host holds; absolute.
    Source(PathBuf),
}

/// A disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskPlan {
    /// What is on it.
    pub content: DiskContent,
    /// Whether the guest is kept from writing.
    pub read_only: bool,
    /// How fast it is at most.
    pub rate: Option<RatePlan>,
}

/// What is on a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DiskContent {
    /// Nothing; this many bytes of zeros.
    Empty(u64),
    /// A raw image of the host; absolute.
    Source(PathBuf),
}

/// A test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestPlan {
    /// As in the manifest.
    pub name: String,
    /// The set-up whose state it begins with, which is there; `None`: the lab as it booted.
    pub setup: Option<String>,
    /// Its own limit; else [`TimeoutPlan::test`].
    pub timeout: Option<Duration>,
    /// Steps, a script, or Rust.
    pub kind: TestKind,
}

/// What a test is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TestKind {
    /// Steps, one after the other.
    Steps(Vec<StepPlan>),
    /// A Python script; absolute where the manifest is a file.
    Script(PathBuf),
    /// The tests of a Rust test target.
    Rust(RustTestPlan),
}

/// The tests of a Rust test target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RustTestPlan {
    /// Where it is.
    pub source: RustTestSource,
    /// Only the tests with this text in their names.
    pub filter: Option<String>,
}

/// Where a Rust test target is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RustTestSource {
    /// A built binary; absolute.
    Binary(PathBuf),
    /// Built by cargo.
    Package {
        /// The package.
        package: String,
        /// Its test target.
        test: String,
    },
}

/// A step of a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepPlan {
    /// On all of these at once; empty for [`ActionPlan::Parallel`].
    pub machines: Vec<String>,
    /// What to do.
    pub action: ActionPlan,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ActionPlan {
    /// Run a command and judge how it ends.
    Command(Box<CommandPlan>),
    /// Wait for something.
    Wait(WaitPlan),
    /// Start or stop a unit of systemd.
    Unit(UnitPlan),
    /// Copy into the machine.
    Upload {
        /// On the host, absolute.
        from: PathBuf,
        /// In the machine, absolute.
        to: PathBuf,
    },
    /// Copy out of the machine.
    Download {
        /// In the machine, absolute.
        from: PathBuf,
        /// Below the run's artifacts of this machine; relative, without `..`.
        to: PathBuf,
    },
    /// Boot again.
    Reboot,
    /// All of these at once; none of them is parallel itself.
    Parallel(Vec<StepPlan>),
}

/// What is done with a unit of systemd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitPlan {
    /// What.
    pub verb: UnitVerb,
    /// Its name, not completed.
    pub unit: String,
    /// The user whose manager has it; else the system's has.
    pub user: Option<String>,
    /// Its own limit; else [`TimeoutPlan::command`].
    pub timeout: Option<Duration>,
}

/// What can be done with a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnitVerb {
    /// Start it.
    Start,
    /// Stop it.
    Stop,
    /// Stop it if it runs, and start it.
    Restart,
    /// Let it read its configuration anew.
    Reload,
    /// Start it, and stop all that it does not need.
    Isolate,
}

/// A command and what is expected of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandPlan {
    /// What to run.
    pub program: ProgramPlan,
    /// How it must end.
    pub status: ExpectedStatus,
    /// The whole of stdout.
    pub stdout: Option<String>,
    /// A text in stdout.
    pub stdout_contains: Option<String>,
    /// A regular expression (crate `regex`) for stdout; it compiles.
    pub stdout_matches: Option<String>,
    /// A text in stderr.
    pub stderr_contains: Option<String>,
    /// What it reads.
    pub stdin: Option<String>,
    /// Whom it runs as.
    pub user: Option<String>,
    /// Working directory, absolute.
    pub directory: Option<PathBuf>,
    /// Added to the machine's.
    pub environment: IndexMap<String, String>,
    /// Its own limit; else [`TimeoutPlan::command`].
    pub timeout: Option<Duration>,
}

/// What a command runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProgramPlan {
    /// A text for the shell.
    Shell(String),
    /// A program and its arguments; at least one element.
    Argv(Vec<String>),
}

/// How a command must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpectedStatus {
    /// With this exit code, 0–255.
    Code(i32),
    /// With any but 0.
    Failure,
}

/// Something to wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitPlan {
    /// What.
    pub target: WaitTarget,
    /// Its own limit; else [`TimeoutPlan::command`].
    pub timeout: Option<Duration>,
}

/// What to wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WaitTarget {
    /// A TCP port.
    Port {
        /// As seen from the machine.
        host: String,
        /// 1–65535.
        port: u16,
        /// Until it refuses, instead of accepts.
        closed: bool,
    },
    /// A path.
    File {
        /// Absolute.
        path: PathBuf,
        /// Until this regular expression finds something in it. Never with `vanished`.
        matches: Option<String>,
        /// Until it is gone.
        vanished: bool,
    },
    /// A Unix socket that accepts.
    Socket {
        /// Absolute.
        path: PathBuf,
    },
    /// A unit of systemd.
    Unit {
        /// Its name, not completed.
        unit: String,
        /// The user whose manager has it; else the system's has.
        user: Option<String>,
        /// Until it is stopped, instead of active.
        stopped: bool,
    },
    /// A shell command that ends with 0.
    Succeeds(String),
    /// A shell command that does not.
    Fails(String),
    /// A process.
    Process {
        /// A regular expression for its command line.
        pattern: String,
        /// Until there is none.
        vanished: bool,
    },
    /// A regular expression for the console's output.
    Console(String),
}

//! Virtual machine monitors behind one small surface: [`Backend`] builds, [`Running`] runs.
//! Abilities that only some backends have are `Option`s.

pub mod probe;
pub mod qemu;
pub mod qmp;

use std::fmt;
use std::future::Future;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use attest_lab::LabProcess;
use tokio::net::UnixStream;

pub use qemu::Qemu;

/// A boxed future: these traits are used as `dyn`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A way to run machines.
pub trait Backend: fmt::Debug + Send + Sync {
    /// As in the manifest: `qemu`.
    fn name(&self) -> &'static str;

    /// Refuse what this backend cannot do, before anything starts.
    fn check(&self, machine: &MachineConfig) -> Result<(), VmmError>;

    /// Start the machine inside the lab. Returns when the VMM has taken its configuration and
    /// the virtual CPUs run; the guest has not booted by then.
    fn start<'a>(
        &'a self,
        machine: MachineConfig,
        lab: &'a LabProcess,
    ) -> BoxFuture<'a, Result<Started, VmmError>>;
}

/// A machine that was started.
#[derive(Debug)]
pub struct Started {
    /// The machine.
    pub running: Box<dyn Running>,
    /// The byte stream to its agent. It outlives reboots of the guest.
    pub agent: UnixStream,
    /// The serial console, from the first byte; writable.
    pub console: UnixStream,
    /// Choices made for it, for events: what, choice, reason.
    pub chosen: Vec<Choice>,
    /// From the request to the VMM's exec, and from there to running CPUs.
    pub timings: StartTimings,
}

/// A choice and its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// What was chosen, as `accelerator`.
    pub what: &'static str,
    /// The choice.
    pub choice: String,
    /// Why.
    pub reason: String,
}

/// The VMM's own part of a start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StartTimings {
    /// Up to the VMM's exec.
    pub prepare: Duration,
    /// The VMM's exec to running CPUs.
    pub vmm: Duration,
}

/// A machine that runs.
pub trait Running: fmt::Debug + Send + Sync {
    /// The VMM's process number on the host.
    fn pid(&self) -> u32;

    /// Resolves when the machine has ended, with how. May be asked any number of times.
    fn ended(&self) -> BoxFuture<'_, Ending>;

    /// End it at once, like pulling the plug; returns when the process is gone.
    fn kill(&self) -> BoxFuture<'_, ()>;

    /// Whether a reset by the guest boots it again (true) or ends the machine (false, the start).
    fn allow_reboot(&self, allow: bool) -> BoxFuture<'_, Result<(), VmmError>>;

    /// Stop and continue the virtual CPUs, where the backend can.
    fn pause(&self) -> Option<&dyn Pause>;
}

/// Stop and continue virtual CPUs.
pub trait Pause: Send + Sync {
    /// Stop them.
    fn pause(&self) -> BoxFuture<'_, Result<(), VmmError>>;
    /// Continue.
    fn resume(&self) -> BoxFuture<'_, Result<(), VmmError>>;
}

/// How a machine ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// The kind.
    pub kind: EndingKind,
    /// One line: exit code, signal, the VMM's last words.
    pub detail: String,
}

/// The kinds of [`Ending`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndingKind {
    /// [`Running::kill`] was called.
    Killed,
    /// The guest powered off.
    PoweredOff,
    /// The guest asked for a reset where none was allowed.
    Reset,
    /// The guest's kernel panicked.
    Panic,
    /// Triple fault.
    TripleFault,
    /// The VMM failed by itself or was killed by someone else.
    VmmCrashed,
    /// The lab process died, and the VMM with it.
    LabEnded,
}

/// Everything a backend needs to start one machine.
#[derive(Debug)]
pub struct MachineConfig {
    /// For messages and the VMM's process name.
    pub name: String,
    /// Bytes, a multiple of 1 MiB.
    pub memory: u64,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Uncompressed ELF with a PVH note where there is one, else a bzImage.
    pub kernel: PathBuf,
    /// The initramfs.
    pub initrd: PathBuf,
    /// Added to what the backend needs itself.
    pub kernel_arguments: Vec<String>,
    /// Network cards, in order.
    pub cards: Vec<Card>,
    /// Disks, in order.
    pub disks: Vec<Disk>,
    /// QEMU machine type and accelerator.
    pub qemu: QemuOptions,
    /// Where the VMM's own log may go (a file that the run keeps).
    pub log: Option<PathBuf>,
}

/// A network card.
#[derive(Debug)]
pub struct Card {
    /// Locally administered.
    pub mac: [u8; 6],
    /// An open TAP queue.
    pub tap: OwnedFd,
}

/// A disk.
#[derive(Debug)]
pub struct Disk {
    /// An open file, raw; the VMM needs no name for it.
    pub file: OwnedFd,
    /// Whether the guest may write.
    pub read_only: bool,
    /// Shown in the guest as `/dev/disk/by-id/virtio-<serial>`.
    pub serial: String,
}

/// What only QEMU has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QemuOptions {
    /// Path of `qemu-system-x86_64`; searched in `PATH` when absent.
    pub program: Option<PathBuf>,
    /// The board.
    pub machine: MachineType,
    /// `None`: chosen by a probe.
    pub accelerator: Option<Accelerator>,
}

/// QEMU's boards.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MachineType {
    /// `microvm`: virtio-mmio only, boots fastest.
    #[default]
    Microvm,
    /// `q35`: a PC with PCI Express.
    Q35,
}

/// What executes the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    /// The host's processor.
    Kvm,
    /// QEMU's own translator.
    Tcg,
}

/// What can go wrong in a backend.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VmmError {
    /// The VMM's program is not there.
    #[error("{machine}: no VMM")]
    Missing {
        /// Whose.
        machine: String,
        /// What was looked for, and how to get it.
        #[source]
        source: qemu::QemuMissing,
    },
    /// The VMM ended at once.
    #[error("{machine}: QEMU refused to start: {words}")]
    Refused {
        /// Whose.
        machine: String,
        /// Its own words.
        words: String,
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
    /// The VMM's monitor failed.
    #[error("the VMM's monitor failed")]
    Monitor {
        /// How.
        #[source]
        source: qmp::QmpError,
    },
}

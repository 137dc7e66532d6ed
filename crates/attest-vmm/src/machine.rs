//! What a machine is made of.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use attest_lab::{Directory, LastingTap};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::microvm::place::Use;
use crate::{Told, VmmError};

/// Everything a backend needs to start one machine.
#[derive(Debug)]
pub struct MachineConfig {
    /// For messages and the VMM's process name.
    pub name: String,
    /// What it is made of; each backend runs one kind.
    pub body: Body,
    /// Where the log of what runs it may go (a file that the run keeps).
    pub log: Option<PathBuf>,
    /// Hears what is to be told of it, from its start on.
    pub tell: mpsc::UnboundedSender<Told>,
}

impl MachineConfig {
    /// A virtual machine, and how its VMM reaches what is its own.
    pub(crate) fn into_virtual(
        self,
        backend: &'static str,
    ) -> Result<(VirtualConfig, Reach), VmmError> {
        let Body::Virtual(mut machine) = self.body else {
            return Err(VmmError::WrongBody {
                machine: self.name,
                backend,
            });
        };
        let reach = std::mem::replace(&mut machine.reach, Reach::Inherits(Vec::new()));
        Ok((*machine, reach))
    }
}

/// What a machine is made of.
#[derive(Debug)]
pub enum Body {
    /// A virtual machine.
    Virtual(Box<VirtualConfig>),
    /// A container.
    Container(ContainerConfig),
    /// A host that runs already.
    Host(HostConfig),
    /// A virtual machine by a start script of its own.
    Script(ScriptConfig),
    /// A container by a start script of its own.
    ContainerScript(ContainerScriptConfig),
}

/// A virtual machine.
#[derive(Debug)]
pub struct VirtualConfig {
    /// Bytes, a multiple of 1 MiB.
    pub memory: u64,
    /// Where the memory is.
    pub ram: Ram,
    /// Whether it boots, or waits for what [`crate::Saves::load`] brings.
    pub waits: bool,
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
    /// Whether it has a balloon, with statistics.
    pub balloon: bool,
    /// How its VMM reaches its cards and all else.
    pub reach: Reach,
    /// QEMU machine type and accelerator.
    pub qemu: QemuOptions,
}

/// How a VMM reaches what is its machine's on the host.
#[derive(Debug)]
pub enum Reach {
    /// It inherits all: here, the way of each card's frames.
    Inherits(Vec<Wire>),
    /// By names.
    Names(Names),
}

/// The way of a card's frames to its network and back, which a VMM inherits.
#[derive(Debug)]
pub enum Wire {
    /// An open queue of a TAP, with headers for offloads.
    Tap(OwnedFd),
    /// A socket of messages (`SOCK_SEQPACKET`), each of them a frame without such a header.
    Frames(OwnedFd),
}

/// What a VMM finds by names.
#[derive(Debug)]
pub struct Names {
    /// For its sockets and files; nothing of it is there yet.
    pub directory: Directory,
    /// A TAP for each card.
    pub taps: Vec<LastingTap>,
    /// The user that it becomes in a jail, where it has one.
    pub jailed_as: Option<u32>,
}

/// Where a virtual machine's memory is.
#[derive(Debug, Default)]
pub enum Ram {
    /// The VMM's own.
    #[default]
    Own,
    /// In this file, which is as long: what the guest writes goes there, at the latest when it is saved. One that goes
    /// on finds there what it was.
    Shared(OwnedFd),
    /// As in this file, which is as long and does not change any more: what the guest writes is the VMM's own.
    Private(OwnedFd),
}

/// A container. Its paths are those of the lab, where it is started.
#[derive(Debug)]
pub struct ContainerConfig {
    /// A directory that is its root, and may be written to.
    pub root: PathBuf,
    /// Its network namespace, with its cards in it.
    pub network: PathBuf,
    /// The static agent.
    pub agent: PathBuf,
    /// The system's init, in the root; `None`: the agent looks for it.
    pub init: Option<String>,
}

/// A host that runs already, as OpenSSH reaches it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostConfig {
    /// Name, address, or alias.
    pub host: String,
    /// `None`: as OpenSSH is configured.
    pub port: Option<u16>,
    /// `None`: root.
    pub user: Option<String>,
    /// A private key.
    pub identity: Option<PathBuf>,
    /// As for `ssh -o`.
    pub options: Vec<String>,
    /// The static agent, plain.
    pub agent: Vec<u8>,
}

/// A virtual machine by a start script, as the NixOS test driver runs them. All its paths are
/// absolute.
#[derive(Debug, Clone)]
pub struct ScriptConfig {
    /// A program with arguments, for `sh -c`; more arguments are added to it.
    pub command: String,
    /// An existing directory for its sockets and for what it writes; it is started there.
    pub state: PathBuf,
    /// An existing directory that the guest sees, too.
    pub shared: PathBuf,
    /// Its environment, to which is added what belongs to the contract.
    pub environment: Vec<(OsString, OsString)>,
    /// Whether a reset by the guest boots it again, or ends its QEMU.
    pub allow_reboot: bool,
    /// The static agent, plain, to be put into the guest through its backdoor; `None`: the guest is
    /// left as it is.
    pub agent: Option<Arc<[u8]>>,
    /// How long the script may take to start QEMU.
    pub connects_within: Duration,
}

/// A container by a start script, as the NixOS test driver runs them. All its paths are absolute.
#[derive(Debug, Clone)]
pub struct ContainerScriptConfig {
    /// A program with arguments, for `sh -c`.
    pub command: String,
    /// A directory that becomes its root.
    pub state: PathBuf,
    /// An existing directory that the guest sees, too.
    pub shared: PathBuf,
    /// The static agent; a path of the lab, where it is started.
    pub agent: PathBuf,
    /// How long the script may take to start systemd-nspawn.
    pub connects_within: Duration,
}

/// A network card of a virtual machine.
#[derive(Debug)]
pub struct Card {
    /// Locally administered.
    pub mac: [u8; 6],
    /// How fast it is at most, in each direction.
    pub rate: Option<Rate>,
}

impl Card {
    /// Its address in the usual form.
    pub(crate) fn mac(&self) -> String {
        self.mac.map(|byte| format!("{byte:02x}")).join(":")
    }
}

/// A disk.
#[derive(Debug)]
pub struct Disk {
    /// What the guest sees, and writes to.
    pub file: DiskFile,
    /// What lies below a qcow2 overlay, which does not name it itself: the nearest first, each over the
    /// next. They are only read.
    pub below: Vec<DiskFile>,
    /// Whether the guest may write.
    pub read_only: bool,
    /// Shown in the guest as `/dev/disk/by-id/virtio-<serial>`.
    pub serial: String,
    /// How fast it is at most.
    pub rate: Option<Rate>,
}

impl Disk {
    /// Its one file, for a VMM that knows nothing but raw disks.
    pub(crate) fn take_raw(
        &mut self,
        machine: &str,
        vmm: &'static str,
    ) -> Result<(OwnedFd, Use), VmmError> {
        if self.file.format != DiskFormat::Raw || !self.below.is_empty() {
            return Err(VmmError::Unable {
                machine: machine.to_owned(),
                reason: format!(
                    "{vmm} takes raw disks only, and `{}` is in QEMU's qcow2; convert it (`qemu-img convert -O raw`)",
                    self.serial
                ),
            });
        }
        let how = if self.read_only {
            Use::Reads
        } else {
            Use::Writes
        };
        let file = self.file.file.try_clone();
        let file = file.map_err(VmmError::host(machine, "its disk cannot be opened again"))?;
        Ok((file, how))
    }
}

/// How fast a disk or a network card is at most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rate {
    /// Bytes in each second; not 0.
    pub bytes_per_second: Option<u64>,
    /// Reads and writes, or packets, in each second; not 0.
    pub operations_per_second: Option<u64>,
}

/// An open file, or block device, with a disk in it; the VMM needs no name for it.
#[derive(Debug)]
pub struct DiskFile {
    /// Opened for reading only when it is only read, else for both: QEMU takes no other.
    pub file: OwnedFd,
    /// How the file holds the disk.
    pub format: DiskFormat,
}

/// How a file holds a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskFormat {
    /// Byte for byte.
    Raw,
    /// QEMU's own.
    Qcow2,
}

/// Whether Firecracker is put into a jail.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Jailer {
    /// As root, where both programs are static.
    #[default]
    Auto,
    /// Never.
    Never,
    /// Always; refused where it cannot be.
    Require,
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

impl Accelerator {
    /// As on QEMU's command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }
}

impl MachineType {
    /// Every board.
    pub const ALL: [Self; 2] = [Self::Microvm, Self::Q35];

    /// As in the manifest and for QEMU.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Microvm => "microvm",
            Self::Q35 => "q35",
        }
    }
}

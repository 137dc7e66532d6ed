//! Machines and what belongs to them.

use std::path::PathBuf;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Size;
use super::either::text_or_table;

/// A machine of the lab. Its key is its host name, and the name by which the others reach it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Machine {
    /// What it boots: the name of an image of `[images]`, or files. Default: `"bare"`, the built-in
    /// guest: attest's agent, busybox, and the kernel modules that it needs.
    /// Example: `image = "web"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<Image>,
    /// The kernel: `"auto"` takes the host's or fetches one; else a path, relative to the
    /// manifest. Default: `"auto"`. Example: `kernel = "bzImage"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<Kernel>,
    /// How it runs. Default: `"qemu"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<Backend>,
    /// QEMU's board. Default: `"microvm"`, which boots fastest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine_type: Option<MachineType>,
    /// What executes the guest's instructions. Default: `"auto"`: KVM where it really works.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accelerator: Option<Accelerator>,
    /// Memory: whole MiB, 64M–16T. Default: `"256M"`, and `"512M"` for images of `[images]`.
    /// Example: `memory = "1G"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Size>,
    /// Virtual CPUs, 1–255; Firecracker has at most 32. Default: 1. Example: `vcpus = 2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vcpus: Option<u32>,
    /// The networks that it is on, one card each, in this order. Default: every network, in the
    /// manifest's order. Example: `networks = ["lan", { network = "dmz", address = "10.0.0.9" }]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub networks: Option<Vec<MachineNetwork>>,
    /// Environment of every command on this machine. Default: none, or that of `defaults`, to
    /// which it is added. Example: `environment = { LANG = "C.UTF-8" }`.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub environment: IndexMap<String, String>,
    /// Added to the kernel's command line, after those of `defaults`.
    /// Example: `kernel-arguments = ["loglevel=7"]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kernel_arguments: Vec<String>,
    /// Files to put into the machine before a test, by their absolute path there: their text, or
    /// a table with a `source` on the host. Example: `files = { "/etc/motd" = "hello\n" }`.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub files: IndexMap<String, FileEntry>,
    /// Disks, in order: empty ones of a size, or images. What a test writes to them is thrown
    /// away. Example: `disks = [{ size = "1G" }, { source = "data.raw", read-only = true }]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub disks: Vec<Disk>,
    /// Where what is written to its root goes; the image is never changed. Default: `"auto"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copy_on_write: Option<CopyOnWrite>,
    /// Whether Firecracker is put into a jail of its jailer. Default: `"auto"`: as root, where both programs are
    /// static. Example: `jailer = "require"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jailer: Option<Jailer>,
    /// Whether memory can be taken back from the guest while it runs, by a virtio balloon, which also tells how
    /// the guest uses its memory. Default: false. Example: `balloon = true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub balloon: Option<bool>,
    /// The host that it is, for `backend = "ssh"`. Example: `ssh = { host = "box.example" }`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssh: Option<Ssh>,
    /// Whether it never talks to other machines, although it shares a network with them: it can
    /// then run in a lab of its own, beside theirs. Default: false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub independent: bool,
}

/// What every machine has that does not say otherwise: the keys of a machine, but for
/// `networks`, `files`, `disks`, `ssh` and `independent`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Defaults {
    /// What machines boot. Default: `"bare"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<Image>,
    /// The kernel: `"auto"`, or a path relative to the manifest. Default: `"auto"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<Kernel>,
    /// How machines run. Default: `"qemu"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<Backend>,
    /// QEMU's board. Default: `"microvm"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine_type: Option<MachineType>,
    /// What executes the guests' instructions. Default: `"auto"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accelerator: Option<Accelerator>,
    /// Memory of each machine: whole MiB, 64M–16T. Default: `"256M"`, and `"512M"` for images of
    /// `[images]`. Example: `memory = "128M"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Size>,
    /// Virtual CPUs of each machine, 1–255; Firecracker has at most 32. Default: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vcpus: Option<u32>,
    /// Environment of every command on every machine. Default: none.
    /// Example: `environment = { LANG = "C.UTF-8" }`.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub environment: IndexMap<String, String>,
    /// Added to every kernel's command line. Default: none.
    /// Example: `kernel-arguments = ["loglevel=7"]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kernel_arguments: Vec<String>,
    /// Where what machines write to their roots goes. Default: `"auto"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copy_on_write: Option<CopyOnWrite>,
    /// Whether Firecrackers are put into a jail of their jailer. Default: `"auto"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jailer: Option<Jailer>,
    /// Whether machines have a balloon. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub balloon: Option<bool>,
}

/// What a machine boots: the name of an image, or files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Image {
    /// One of `[images]`, or the built-in guest: `"bare"`.
    Name(String),
    /// Files of your own, with attest's agent in the initramfs.
    Files(ImageFiles),
}

text_or_table!(
    Image,
    "the name of an image (\"bare\"), or a table with `kernel` and `initrd`",
    Image::Name,
    Image::Files
);

/// Files to boot from, relative to the manifest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct ImageFiles {
    /// A bzImage, or an uncompressed kernel with a PVH note. Default: that of the machine's
    /// `kernel`. Example: `kernel = "bzImage"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<PathBuf>,
    /// An initramfs that starts attest's agent. Default: that of the bare guest.
    /// Example: `initrd = "initrd.img"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initrd: Option<PathBuf>,
}

/// `"auto"`, or the path of a kernel, relative to the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Kernel(
    /// As written.
    pub String,
);

/// How a machine runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Backend {
    /// A virtual machine under QEMU.
    #[default]
    Qemu,
    /// A microVM under Firecracker. Needs KVM.
    Firecracker,
    /// A virtual machine under Cloud Hypervisor. Needs KVM.
    CloudHypervisor,
    /// A container of systemd-nspawn, on the host's kernel. Needs root.
    Nspawn,
    /// A host that runs already, over OpenSSH.
    Ssh,
    /// A virtual machine by a start script of its own. Only in labs that are made in code.
    #[serde(skip)]
    VmScript,
    /// A container by a start script of its own. Only in labs that are made in code.
    #[serde(skip)]
    ContainerScript,
}

impl Backend {
    /// All, in the order of tables.
    pub const ALL: [Self; 7] = [
        Self::Qemu,
        Self::Firecracker,
        Self::CloudHypervisor,
        Self::Nspawn,
        Self::Ssh,
        Self::VmScript,
        Self::ContainerScript,
    ];

    /// Whether machines are started by scripts of their own.
    pub fn is_script(self) -> bool {
        matches!(self, Self::VmScript | Self::ContainerScript)
    }

    /// Whether machines are virtual ones that attest builds itself.
    pub fn is_virtual(self) -> bool {
        matches!(self, Self::Qemu | Self::Firecracker | Self::CloudHypervisor)
    }

    /// As in the manifest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Qemu => "qemu",
            Self::Firecracker => "firecracker",
            Self::CloudHypervisor => "cloud-hypervisor",
            Self::Nspawn => "nspawn",
            Self::Ssh => "ssh",
            Self::VmScript => "vm-script",
            Self::ContainerScript => "container-script",
        }
    }
}

/// Where what a machine writes to its root goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CopyOnWrite {
    /// The best that image, backend and host allow: memory in containers and for file systems that
    /// are read-only by themselves, as those that attest builds; else a qcow2 overlay.
    #[default]
    Auto,
    /// Into the machine's memory, by an overlay of its own.
    Memory,
    /// To a sparse disk beside the image, by an overlay of its own.
    Disk,
    /// To a qcow2 file over the image.
    Qcow2,
    /// To a copy that shares all blocks with the image, where the file system of the cache can.
    Reflink,
    /// To a snapshot of the image by the host's device mapper.
    DeviceMapper,
}

impl CopyOnWrite {
    /// As in the manifest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Memory => "memory",
            Self::Disk => "disk",
            Self::Qcow2 => "qcow2",
            Self::Reflink => "reflink",
            Self::DeviceMapper => "device-mapper",
        }
    }
}

/// Whether Firecracker is put into a jail: another root, another user, no way to other processes. Other backends
/// have no jailer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Jailer {
    /// As root, where both programs are static.
    #[default]
    Auto,
    /// Never.
    Never,
    /// Always; refused where it cannot be.
    Require,
}

/// How fast a disk or a network card is at most. At least one of both.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Rate {
    /// Bytes in each second; of a card, in each direction. Default: no limit.
    /// Example: `bandwidth = "10M"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<Size>,
    /// Reads and writes of a disk, or packets of a card in each direction, in each second. Default: no limit.
    /// Example: `operations = 1000`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operations: Option<u64>,
}

/// A host that runs already. What OpenSSH's own configuration says of it counts, too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Ssh {
    /// Its name or address, or its alias in `~/.ssh/config`. Example: `host = "box.example"`.
    pub host: String,
    /// Default: 22, or as OpenSSH is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Default: root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// A private key, relative to the manifest. Default: those that OpenSSH finds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<PathBuf>,
    /// More options, as for `ssh -o`. Example: `options = ["StrictHostKeyChecking=accept-new"]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

/// QEMU's boards.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MachineType {
    /// virtio-mmio only; boots fastest.
    #[default]
    Microvm,
    /// A PC with PCI Express.
    Q35,
}

/// What executes the guest's instructions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Accelerator {
    /// KVM where it really works, else TCG.
    #[default]
    Auto,
    /// The host's processor.
    Kvm,
    /// QEMU's own translator.
    Tcg,
}

/// A network that a machine is on: its name, or a table with more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum MachineNetwork {
    /// The network's name.
    Name(String),
    /// With settings of its card.
    Settings(MachineNetworkSettings),
}

text_or_table!(
    MachineNetwork,
    "the name of a network, or a table with `network` and `address`, `mac` or `rate`",
    MachineNetwork::Name,
    MachineNetwork::Settings
);

impl MachineNetwork {
    /// The network's name.
    pub fn network(&self) -> &str {
        match self {
            Self::Name(name) => name,
            Self::Settings(settings) => &settings.network,
        }
    }
}

/// A network card of a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct MachineNetworkSettings {
    /// The network's name. Example: `network = "lan"`.
    pub network: String,
    /// IPv4 address, in the network's subnet, or `"none"`. Default: the machine's number in the subnet.
    /// Example: `address = "192.168.1.10"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// IPv6 address, in the network's `subnet6`, or `"none"`. Default: the machine's number in it.
    /// Example: `address6 = "fd00:1::10"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address6: Option<String>,
    /// MAC address of the card; not a multicast one. Default: derived from network and machine.
    /// Example: `mac = "02:00:00:00:00:01"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// What the card is called in the machine, at most 15 bytes. Default: as its kernel calls it, `eth0` and so on.
    /// Example: `interface = "wan"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// How fast it is at most. Default: as fast as it can be.
    /// Example: `rate = { bandwidth = "10M", operations = 1000 }`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
}

/// A file to put into a machine: its text, or a table with its source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum FileEntry {
    /// The contents; the mode is 0644.
    Text(String),
    /// A file or directory of the host, or text with a mode.
    Table(FileSource),
}

text_or_table!(
    FileEntry,
    "the text of a file, or a table with `source` or `text`, and `mode`",
    FileEntry::Text,
    FileEntry::Table
);

/// Where a file comes from. Exactly one of `source` and `text`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct FileSource {
    /// A file or directory of the host, relative to the manifest. Example: `source = "./app"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<PathBuf>,
    /// The contents. Example: `text = "hello\n"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Permissions in octal, as text. Default: those of the source; 0644 for text.
    /// Example: `mode = "0755"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
}

/// A disk of a machine. Exactly one of `size` and `source`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Disk {
    /// An empty disk of this size, a multiple of 512 bytes. Example: `size = "1G"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
    /// A raw or qcow2 image of the host, relative to the manifest. It is never written to: what the
    /// guest writes is gone with the machine. Example: `source = "data.raw"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<PathBuf>,
    /// Whether the guest is kept from writing. Default: false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
    /// How fast it is at most. Default: as fast as it can be.
    /// Example: `rate = { bandwidth = "10M", operations = 1000 }`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
}

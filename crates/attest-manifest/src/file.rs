//! The manifest as it is written. Field documentation becomes the JSON Schema.

use std::net::IpAddr;
use std::path::PathBuf;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::{Accelerator, Backend, Mac, MachineType, Mode, Size, Time};

/// A lab and its tests.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ManifestFile {
    /// Name of the lab. Default: the name of the manifest's directory.
    pub name: Option<String>,
    /// What machines have that do not say otherwise.
    pub defaults: Machine,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// Ethernet segments, by name.
    pub networks: IndexMap<String, Network>,
    /// Machines, by name, which is also their host name. Machine number n has host number n on
    /// every network.
    pub machines: IndexMap<String, Machine>,
    /// Tests, by name. Those with steps run one after the other, on one lab.
    pub tests: IndexMap<String, Test>,
}

/// How long things may take.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Timeouts {
    /// From a machine's start until it is ready. Default: 60s.
    pub boot: Option<Time>,
    /// A command, or a wait. Default: 15m.
    pub command: Option<Time>,
    /// A test, without the boot of its lab. Default: 5m.
    pub test: Option<Time>,
    /// A whole run. Default: 30m.
    pub run: Option<Time>,
    /// A guest's own shutdown, when it is asked for one. Default: 10s.
    pub shutdown: Option<Time>,
}

/// An Ethernet segment. There is no route to the outside.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Network {
    /// IPv4 subnet. Default: 192.168.N.0/24 for network number N.
    #[schemars(example = "192.168.1.0/24")]
    pub subnet: Option<String>,
    /// IPv6 subnet. Default: fd00:a77e:57:N::/64 for network number N.
    #[schemars(example = "fd00:1::/64")]
    pub subnet6: Option<String>,
    /// Bytes of the largest packet, 1280–65521. Default: 1500.
    pub mtu: Option<u32>,
}

/// A machine.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Machine {
    /// What it boots. Default: `bare`, the built-in guest.
    pub image: Option<Image>,
    /// How it runs. Default: `qemu`.
    pub backend: Option<Backend>,
    /// QEMU's board. Default: `microvm`.
    pub machine_type: Option<MachineType>,
    /// What executes its instructions. Default: `auto`.
    pub accelerator: Option<Accelerator>,
    /// Memory, a multiple of 1M, at least 64M. Default: 128M.
    pub memory: Option<Size>,
    /// Virtual CPUs, 1–255. Default: 1.
    pub vcpus: Option<u32>,
    /// Networks it is on, by name or with an address of its own. Default: all.
    pub networks: Option<Vec<Card>>,
    /// Files put into it before any test, by their absolute path.
    pub files: IndexMap<String, FileEntry>,
    /// Variables that every command sees.
    pub environment: IndexMap<String, String>,
    /// Added to the kernel's command line.
    pub kernel_arguments: Vec<String>,
    /// Disks beside what it boots from: /dev/vda, /dev/vdb, ….
    pub disks: Vec<Disk>,
}

/// What a machine boots.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Image {
    /// `bare`: the built-in guest.
    Name(String),
    /// The built-in guest with a kernel of its own.
    Kernel {
        /// bzImage or vmlinux, relative to the manifest.
        kernel: PathBuf,
    },
}

/// A machine's place on a network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Card {
    /// With the addresses that follow from the machine's number.
    Network(String),
    /// With what is given.
    Full {
        /// The network.
        network: String,
        /// IPv4 or IPv6 address on its subnet.
        address: Option<IpAddr>,
        /// The card's address.
        mac: Option<Mac>,
    },
}

/// A file of a machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum FileEntry {
    /// Its contents.
    Text(String),
    /// A file or directory of the host.
    Source {
        /// Relative to the manifest.
        source: PathBuf,
        /// Of a single file. Default: as on the host.
        mode: Option<Mode>,
    },
}

/// A disk.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Disk {
    /// An empty disk of this size, which ends with the machine.
    pub size: Option<Size>,
    /// A raw image of the host, relative to the manifest.
    pub source: Option<PathBuf>,
    /// For `source`. Default: true; the image is written to when false.
    pub read_only: Option<bool>,
}

/// A test: steps, or a Rust test binary.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Test {
    /// Default: `timeouts.test`.
    pub timeout: Option<Time>,
    /// One after the other; the first that fails ends the test.
    pub steps: Option<Vec<Step>>,
    /// `#[attest::test]` functions; each brings its own lab.
    pub rust: Option<RustTest>,
}

/// A Rust test binary.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct RustTest {
    /// The binary, relative to the manifest.
    pub binary: Option<PathBuf>,
    /// The package whose test cargo builds.
    pub package: Option<String>,
    /// The name of that test target.
    pub test: Option<String>,
    /// Only tests whose name contains this.
    pub filter: Option<String>,
}

/// One step: where, and exactly one action.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Step {
    /// The machine or machines. May be left out when the lab has one.
    pub on: Option<OneOrMany>,
    /// Action: a shell command, as by `bash -c 'set -euo pipefail; …'`.
    pub run: Option<String>,
    /// Action: a program and its arguments, without a shell.
    pub argv: Option<Vec<String>>,
    /// Action: wait for something.
    pub wait: Option<Wait>,
    /// Action: copy from the host into the machine.
    pub upload: Option<Copy>,
    /// Action: copy from the machine into the run's artifacts.
    pub download: Option<Copy>,
    /// Action: boot the machine again.
    pub reboot: Option<bool>,
    /// Action: these steps at once.
    pub parallel: Option<Vec<Step>>,
    /// For commands: the exit code that is right. Default: 0.
    pub status: Option<i32>,
    /// For commands: any exit code but 0 is right.
    pub fails: Option<bool>,
    /// For commands: stdout must be exactly this.
    pub stdout: Option<String>,
    /// For commands: stdout must contain this.
    pub stdout_contains: Option<String>,
    /// For commands: stdout must have a match of this regular expression.
    pub stdout_matches: Option<String>,
    /// For commands: stderr must contain this.
    pub stderr_contains: Option<String>,
    /// For commands: fed to stdin. Default: nothing.
    pub stdin: Option<String>,
    /// For commands: the user. Default: root.
    pub user: Option<String>,
    /// For commands: the working directory. Default: the user's home.
    pub directory: Option<String>,
    /// For commands: added to the environment.
    pub environment: IndexMap<String, String>,
    /// For commands and waits. Default: `timeouts.command`.
    pub timeout: Option<Time>,
}

/// A name, or several.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum OneOrMany {
    /// One machine.
    One(String),
    /// Several, all at once.
    Many(Vec<String>),
}

/// From where to where.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Copy {
    /// On the host: relative to the manifest. In the machine: absolute.
    pub from: PathBuf,
    /// In the machine: absolute. On the host: below the run's `artifacts/MACHINE/`.
    pub to: PathBuf,
}

/// What to wait for: exactly one of port, file, socket, succeeds, fails, process, console.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Wait {
    /// A TCP port that accepts connections.
    pub port: Option<u16>,
    /// For `port`: where, as seen from the machine. Default: `localhost`.
    pub host: Option<String>,
    /// For `port`: it must refuse connections instead.
    pub closed: Option<bool>,
    /// A path that exists.
    pub file: Option<String>,
    /// For `file`: its text must have a match of this regular expression.
    pub matches: Option<String>,
    /// For `file` and `process`: it must be gone instead.
    pub vanished: Option<bool>,
    /// A Unix socket that accepts connections.
    pub socket: Option<String>,
    /// A shell command that ends with exit code 0.
    pub succeeds: Option<String>,
    /// A shell command that ends with another exit code.
    pub fails: Option<String>,
    /// A process whose command line has a match of this regular expression.
    pub process: Option<String>,
    /// Text on the console that matches this regular expression; it may span lines.
    pub console: Option<String>,
}

/// The JSON Schema of the manifest.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(ManifestFile).to_value()
}

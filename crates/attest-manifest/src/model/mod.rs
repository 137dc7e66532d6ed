//! What a manifest says, as plain values: the same from TOML, JSON and code.

mod either;
mod image;
mod machine;
mod scalar;
mod setup;
mod test;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use image::{Debian, ImageDefinition, Profile, RootFormat, Units, User};
pub use machine::{
    Accelerator, Backend, CopyOnWrite, Defaults, Disk, FileEntry, FileSource, Image, ImageFiles,
    Jailer, Kernel, Machine, MachineNetwork, MachineNetworkSettings, MachineType, Rate, Ssh,
};
pub use scalar::{Size, SizeError, TimeSpan, TimeSpanError};
pub use setup::{Isolation, Setup};
pub use test::{Copy, OneOrMany, RustTest, Step, Test, UnitAction, Wait};

/// A lab and its tests: the machines and networks, and what to try on them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
#[schemars(title = "attest manifest")]
pub struct ManifestFile {
    /// Where an editor finds the JSON Schema of this file. attest does not read it.
    #[serde(rename = "$schema", skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// A name for the lab, shown in reports. Default: the name of the manifest's directory.
    /// Example: `name = "web"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What every machine has that does not say otherwise.
    /// Example: `[defaults]` with `memory = "128M"`.
    #[serde(skip_serializing_if = "is_default")]
    pub defaults: Defaults,
    /// How long things may take.
    #[serde(skip_serializing_if = "is_default")]
    pub timeouts: Timeouts,
    /// The networks by name; each is an Ethernet segment with no way out. A lab without this
    /// table has none. Example: `[networks.lan]`.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub networks: IndexMap<String, Network>,
    /// The images that machines boot, by name, beside the built-in `bare`.
    /// Example: `[images.web]` with `debian = { packages = ["nginx"] }`.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub images: IndexMap<String, ImageDefinition>,
    /// The machines by host name, in order: the first has number 1. Example: `[machines.server]`.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub machines: IndexMap<String, Machine>,
    /// What tests share of the lab: `"auto"`: each has a fork of the lab as its set-up left it,
    /// where every machine can be saved (virtual ones can), else one that was freshly booted and set
    /// up; `"fork"`: a fork, and it is an error where that cannot be; `"boot"`: always a fresh
    /// boot; `"shared"`: all run on one lab, each as the one before left it. Default: `"auto"`.
    /// Example: `isolation = "shared"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub isolation: Option<Isolation>,
    /// What brings the lab to the states that tests begin with, by name.
    /// Example: `[setups.installed]`.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub setups: IndexMap<String, Setup>,
    /// The tests by name, run in order. Example: `[tests.answers]`.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub tests: IndexMap<String, Test>,
}

/// How long things may take.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Timeouts {
    /// From the start of a machine until its agent answers. Default: `"60s"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot: Option<TimeSpan>,
    /// One test, without the boot of its lab. Default: `"5m"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<TimeSpan>,
    /// All tests of this manifest together, boots included. Default: `"30m"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<TimeSpan>,
    /// An orderly power-off of a machine, before the plug is pulled. Default: `"10s"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shutdown: Option<TimeSpan>,
    /// One command or wait that gives none of its own. Default: `"15m"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<TimeSpan>,
}

/// An Ethernet segment that joins machines. No traffic leaves it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Network {
    /// The IPv4 subnet; machine number n gets its n-th address. Default: `192.168.N.0/24` for
    /// the N-th network, or the next that is free. Example: `subnet = "10.1.0.0/16"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subnet: Option<String>,
    /// The IPv6 subnet; machine number n gets its n-th address. Default:
    /// `fd61:7474:6573:N::/64` for the N-th network. Example: `subnet6 = "fd00:1::/64"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subnet6: Option<String>,
    /// The largest packet, in bytes, 1280–65521. Default: 1500. Example: `mtu = 9000`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

//! Labs and what is in them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::first_lab;

/// Boot the lab of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenLab {
    /// The manifest's file, or a directory with an `attest.toml`.
    pub manifest: PathBuf,
    /// Instead of the manifest's backends: `qemu`, `firecracker`, `cloud-hypervisor`, `nspawn` or `ssh`.
    #[serde(default)]
    pub backend: Option<String>,
    /// Where consoles go; a fresh directory when absent.
    #[serde(default)]
    pub output: Option<PathBuf>,
    /// Whether to start all machines, and wait until they are ready.
    #[serde(default = "yes")]
    pub start: bool,
    /// Whether machines that are started go on from where an equal lab had booted: `auto`, `needed`, `never` or
    /// `rebuild`; as `ATTEST_SNAPSHOTS` says when absent.
    #[serde(default)]
    pub snapshots: Option<String>,
}

fn yes() -> bool {
    true
}

/// A lab by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LabRef {
    /// As [`LabInfo::id`].
    #[serde(default = "first_lab")]
    pub lab: u32,
}

/// The environment of start scripts that start from now on.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetEnvironment {
    /// As [`LabInfo::id`].
    #[serde(default = "first_lab")]
    pub lab: u32,
    /// All of it; sockets of VLANs, and what belongs to each machine, are added to it.
    pub environment: BTreeMap<String, String>,
}

/// One more machine, of a start script.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateMachine {
    /// As [`LabInfo::id`].
    #[serde(default = "first_lab")]
    pub lab: u32,
    /// Run by a shell.
    pub start_command: String,
    /// Its name; taken from the command when absent.
    #[serde(default)]
    pub name: Option<String>,
    /// Whether what an earlier run left in its state directory stays.
    #[serde(default)]
    pub keep_state: bool,
}

/// A lab.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LabInfo {
    /// Its number in this session, from 1.
    pub id: u32,
    /// Where its consoles are.
    pub output: PathBuf,
    /// Its machines.
    pub machines: Vec<MachineInfo>,
    /// Its networks.
    pub networks: Vec<NetworkInfo>,
    /// Its VLANs, when start scripts run in it.
    pub vlans: Vec<VlanInfo>,
}

/// A network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct NetworkInfo {
    /// As in the manifest.
    pub name: String,
}

/// A VLAN of start scripts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct VlanInfo {
    /// Its number.
    pub nr: u32,
    /// Where its switch listens.
    pub socket_dir: PathBuf,
    /// The switch's process.
    pub pid: u32,
}

/// A machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct MachineInfo {
    /// Its lab's number.
    pub lab: u32,
    /// Its name.
    pub name: String,
    /// `qemu`, `firecracker`, `cloud-hypervisor`, `nspawn`, `ssh`, or `vm-script` and `container-script`, which start scripts run.
    pub kind: String,
    /// What starts it, when that is a script.
    pub start_command: Option<String>,
    /// Where its state is, when a script runs it.
    pub state_dir: Option<PathBuf>,
    /// What it shares with others, when a script runs it.
    pub shared_dir: Option<PathBuf>,
    /// Whether it runs.
    pub booted: bool,
}

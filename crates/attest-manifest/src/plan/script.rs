//! Machines by start scripts of their own. No manifest declares them.

use std::path::PathBuf;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::{ImagePlan, MachinePlan};
use crate::model::{Accelerator, Backend, CopyOnWrite, Jailer, MachineType};

/// A machine by a start script of its own. All paths are absolute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScriptPlan {
    /// A program with its arguments, for `sh -c`.
    pub command: String,
    /// For its sockets and what it writes.
    pub state: PathBuf,
    /// What the host and all such machines share.
    pub shared: PathBuf,
    /// Whether attest's agent is put into the guest where that is possible.
    pub pushes_agent: bool,
}

impl MachinePlan {
    /// A machine by a start script, of which nothing else is decided here.
    pub fn of_script(name: &str, number: u32, backend: Backend, script: ScriptPlan) -> Self {
        Self {
            name: name.to_owned(),
            number,
            backend,
            image: ImagePlan::default(),
            machine_type: MachineType::default(),
            accelerator: Accelerator::default(),
            memory: 0,
            vcpus: 0,
            cards: Vec::new(),
            files: Vec::new(),
            disks: Vec::new(),
            environment: IndexMap::new(),
            kernel_arguments: Vec::new(),
            copy_on_write: CopyOnWrite::default(),
            jailer: Jailer::default(),
            balloon: false,
            ssh: None,
            script: Some(script),
            independent: false,
        }
    }
}

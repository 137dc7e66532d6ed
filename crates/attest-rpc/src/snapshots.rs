//! What a client has saved.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::error::RpcError;
use attest::{MachineSnapshot, Snapshot};

/// A saved lab or machine. Whoever works with one holds it, also when the client lets it go.
#[derive(Debug, Clone)]
pub(crate) enum Kept {
    Lab(Arc<Snapshot>),
    Machine(Arc<MachineSnapshot>),
}

/// The snapshots of a session, by number.
#[derive(Debug, Default)]
pub(crate) struct Snapshots {
    kept: Mutex<Numbered>,
}

#[derive(Debug, Default)]
struct Numbered {
    last: u32,
    snapshots: BTreeMap<u32, Kept>,
}

impl Snapshots {
    /// Keep one: its number, which no other one of the session ever has.
    pub(crate) fn keep(&self, snapshot: Kept) -> u32 {
        let mut kept = self.kept.lock().expect("not poisoned");
        kept.last += 1;
        let number = kept.last;
        kept.snapshots.insert(number, snapshot);
        number
    }

    pub(crate) fn lab(&self, number: u32) -> Result<Arc<Snapshot>, RpcError> {
        match self.get(number)? {
            Kept::Lab(snapshot) => Ok(snapshot),
            Kept::Machine(_) => Err(RpcError::usage(format!(
                "snapshot {number} is one of a machine; it is put back with `machine.restore`"
            ))),
        }
    }

    pub(crate) fn machine(&self, number: u32) -> Result<Arc<MachineSnapshot>, RpcError> {
        match self.get(number)? {
            Kept::Machine(snapshot) => Ok(snapshot),
            Kept::Lab(_) => Err(RpcError::usage(format!(
                "snapshot {number} is one of a lab; it is put back with `lab.restore`"
            ))),
        }
    }

    /// Let it go.
    pub(crate) fn take(&self, number: u32) -> Result<Kept, RpcError> {
        let mut kept = self.kept.lock().expect("not poisoned");
        kept.snapshots.remove(&number).ok_or_else(|| none(number))
    }

    /// Let all go.
    pub(crate) fn clear(&self) {
        let mut kept = self.kept.lock().expect("not poisoned");
        kept.snapshots.clear();
    }

    fn get(&self, number: u32) -> Result<Kept, RpcError> {
        let kept = self.kept.lock().expect("not poisoned");
        let found = kept.snapshots.get(&number).cloned();
        found.ok_or_else(|| none(number))
    }
}

fn none(number: u32) -> RpcError {
    RpcError::usage(format!("there is no snapshot {number} in this session"))
}

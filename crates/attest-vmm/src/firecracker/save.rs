//! Machines that are saved, and that go on.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;

use nix::sys::memfd::{MFdFlags, memfd_create};

use super::calls::{
    MemoryBackend, MemoryBackendType, SnapshotCreate, SnapshotLoad, SnapshotType, State, VmState,
};
use super::plan::{DEVICES, SAVED, overrides};
use super::running::Machine;
use crate::microvm::given::{Given, MEMORY};
use crate::microvm::place::Use;
use crate::{BoxFuture, Pause, Program, Ram, Saved, Saves, VirtualConfig, VmmError};

/// Every Linux has a file system in memory there.
const IN_MEMORY: &str = "/dev/shm";

/// The files of a machine's memory, before it runs.
pub(super) struct Memory {
    /// What it goes on with.
    before: Option<OwnedFd>,
    /// What it is saved in.
    saved: File,
    /// Whether that holds all that is not touched: it is empty, or what the machine goes on with.
    is_base: bool,
}

impl Memory {
    pub(super) fn prepare(machine: &mut VirtualConfig, is_jailed: bool) -> io::Result<Self> {
        let fresh = || memory_file(is_jailed);
        let (before, saved, is_base) = match (std::mem::take(&mut machine.ram), machine.waits) {
            (Ram::Shared(file), false) => (None, file.into(), true),
            (Ram::Shared(file), true) => (Some(file.try_clone()?), file.into(), true),
            (Ram::Private(file), _) => (Some(file), fresh()?, false),
            (Ram::Own, _) => (None, fresh()?, true),
        };
        Ok(Self {
            before,
            saved,
            is_base,
        })
    }

    /// Let Firecracker find them.
    pub(super) async fn give(
        mut self,
        given: &Given<'_>,
        program: &mut Program,
    ) -> Result<Self, VmmError> {
        let failed = || VmmError::host(given.name, "its memory cannot be opened again");
        if let Some(before) = self.before.take() {
            given.file(MEMORY, before, Use::Reads, program).await?;
        }
        let saved = self.saved.try_clone().map_err(failed())?;
        given
            .file(SAVED, saved.into(), Use::Writes, program)
            .await?;
        Ok(self)
    }

    /// For when it is saved. What was touched is known to Firecracker, or not; the rest is right only over the base.
    pub(super) fn saved(self, knows_touched: bool) -> SavedMemory {
        SavedMemory {
            file: self.saved,
            kind: if knows_touched && self.is_base {
                SnapshotType::Diff
            } else {
                SnapshotType::Full
            },
        }
    }
}

/// The file that a machine's memory is saved in, and how.
#[derive(Debug)]
pub(super) struct SavedMemory {
    file: File,
    kind: SnapshotType,
}

/// A file in memory; one that is shown in a jail must be one of a file system.
fn memory_file(is_jailed: bool) -> io::Result<File> {
    if is_jailed {
        return File::options()
            .read(true)
            .write(true)
            .custom_flags(nix::libc::O_TMPFILE)
            .mode(0o600)
            .open(IN_MEMORY);
    }
    let file = memfd_create(c"attest-firecracker", MFdFlags::MFD_CLOEXEC)?;
    Ok(file.into())
}

impl Machine {
    /// Why it may not be paused, as an error.
    fn pauses(&self) -> Result<(), VmmError> {
        match &self.cannot_pause {
            Some(reason) => Err(VmmError::unable(&self.control.name)(reason.clone())),
            None => Ok(()),
        }
    }

    async fn become_state(&self, state: State, what: &'static str) -> Result<(), VmmError> {
        let api = &self.control.api;
        let changed = api.patch("/vm", &VmState { state }).await;
        changed.map_err(self.control.refused(what))
    }
}

impl Pause for Machine {
    fn pause(&self) -> BoxFuture<'_, Result<(), VmmError>> {
        Box::pin(async move {
            self.pauses()?;
            self.become_state(State::Paused, "pause the guest").await
        })
    }

    fn resume(&self) -> BoxFuture<'_, Result<(), VmmError>> {
        Box::pin(self.become_state(State::Resumed, "let the guest go on"))
    }
}

impl Saves for Machine {
    fn memory(&self) -> Option<io::Result<File>> {
        Some(self.memory.file.try_clone())
    }

    fn save(&self, to: OwnedFd, _: Saved) -> BoxFuture<'_, Result<(), VmmError>> {
        Box::pin(async move {
            self.pauses()?;
            let create = SnapshotCreate {
                snapshot_type: self.memory.kind,
                snapshot_path: DEVICES,
                mem_file_path: SAVED,
            };
            let name = &self.control.name;
            let created = self.control.api.put_long("/snapshot/create", &create).await;
            created.map_err(self.control.refused("save the guest"))?;
            // Some tens of KB.
            let copied = || {
                let mut from = File::open(self.place.entry(DEVICES))?;
                io::copy(&mut from, &mut File::from(to))
            };
            copied()
                .map(drop)
                .map_err(VmmError::host(name, "its devices cannot be saved"))
        })
    }

    fn load(&self, from: OwnedFd, _: Saved) -> BoxFuture<'_, Result<(), VmmError>> {
        Box::pin(async move {
            self.pauses()?;
            let name = &self.control.name;
            let placed = || {
                let mut devices = Vec::new();
                io::Read::read_to_end(&mut File::from(from), &mut devices)?;
                self.place.write(DEVICES, &devices)
            };
            placed().map_err(VmmError::host(name, "its devices cannot be loaded"))?;
            let load = SnapshotLoad {
                snapshot_path: DEVICES,
                mem_backend: MemoryBackend {
                    backend_type: MemoryBackendType::File,
                    backend_path: MEMORY,
                },
                resume_vm: false,
                network_overrides: overrides(&self.taps),
            };
            let loaded = self.control.api.put_long("/snapshot/load", &load).await;
            loaded.map_err(self.control.refused("load what was saved"))
        })
    }
}

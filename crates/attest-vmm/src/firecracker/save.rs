//! Machines that are saved, and that go on.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, Ordering};

use super::calls::{
    MemoryBackend, MemoryBackendType, SnapshotCreate, SnapshotLoad, SnapshotType, State, VmState,
};
use super::plan::{DEVICES, SAVED, overrides};
use super::running::Machine;
use crate::microvm::given::{Given, MEMORY};
use crate::microvm::place::Use;
use crate::{BoxFuture, Pause, Program, Ram, Saved, Saves, VirtualConfig, VmmError};

/// The files of a machine's memory, before it runs.
pub(super) struct Memory {
    /// What it goes on with.
    before: Option<OwnedFd>,
    /// What it is saved in first, where it was given that: it is empty, or holds what the machine goes on with.
    saved: Option<OwnedFd>,
}

impl Memory {
    pub(super) fn of(machine: &mut VirtualConfig) -> io::Result<Self> {
        let (before, saved) = match (std::mem::take(&mut machine.ram), machine.waits) {
            (Ram::Shared(file), false) => (None, Some(file)),
            (Ram::Shared(file), true) => (Some(file.try_clone()?), Some(file)),
            (Ram::Private(file), _) => (Some(file), None),
            (Ram::Own, _) => (None, None),
        };
        Ok(Self { before, saved })
    }

    /// Let Firecracker find them.
    pub(super) async fn give(
        self,
        given: &Given<'_>,
        program: &mut Program,
    ) -> Result<SavedMemory, VmmError> {
        let saves = SavedMemory {
            is_given: self.saved.is_some(),
            has_booted: self.before.is_none(),
            saves: AtomicU32::new(0),
        };
        if let Some(before) = self.before {
            given.file(MEMORY, before, Use::Reads, program).await?;
        }
        if let Some(saved) = self.saved {
            given.file(SAVED, saved, Use::Writes, program).await?;
        }
        Ok(saves)
    }
}

/// Where a machine's memory is saved, and how.
#[derive(Debug)]
pub(super) struct SavedMemory {
    /// Whether there is a file for it, for the first time.
    is_given: bool,
    /// Whether all of it was touched under this Firecracker, if it was at all.
    has_booted: bool,
    /// How often it was saved.
    saves: AtomicU32,
}

/// One time.
struct Target {
    /// Its name in the place.
    name: String,
    /// Whether it was given.
    is_given: bool,
    kind: SnapshotType,
}

impl SavedMemory {
    /// Of the next time. What was touched is all that there is, or all that differs from what the file holds.
    fn next(&self, knows_touched: bool) -> Target {
        let number = self.saves.fetch_add(1, Ordering::Relaxed);
        let is_given = self.is_given && number == 0;
        Target {
            name: if is_given {
                SAVED.to_owned()
            } else {
                format!("{SAVED}.{number}")
            },
            is_given,
            kind: if knows_touched && (self.has_booted || is_given) {
                SnapshotType::Diff
            } else {
                SnapshotType::Full
            },
        }
    }
}

impl Machine {
    /// Why it may not be paused, as an error.
    fn pauses(&self) -> Result<(), VmmError> {
        match &self.own.cannot_pause {
            Some(reason) => Err(VmmError::unable(&self.own.control.name)(reason.clone())),
            None => Ok(()),
        }
    }

    async fn become_state(&self, state: State, what: &'static str) -> Result<(), VmmError> {
        let api = &self.own.control.api;
        let changed = api.patch("/vm", &VmState { state }).await;
        changed.map_err(self.own.control.refused(what))
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
        // Whatever follows may be the guest's doing.
        self.ran.store(true, Ordering::SeqCst);
        Box::pin(self.become_state(State::Resumed, "let the guest go on"))
    }
}

impl Saves for Machine {
    fn goes_on(&self) -> bool {
        true
    }

    fn save(&self, to: OwnedFd, _: Saved) -> BoxFuture<'_, Result<Option<File>, VmmError>> {
        Box::pin(async move {
            self.pauses()?;
            let target = self.own.memory.next(self.own.knows_touched);
            let create = SnapshotCreate {
                snapshot_type: target.kind,
                snapshot_path: DEVICES,
                mem_file_path: &target.name,
            };
            let name = &self.own.control.name;
            let created = self
                .own
                .control
                .api
                .put_long("/snapshot/create", &create)
                .await;
            created.map_err(self.own.control.refused("save the guest"))?;
            let taken = || {
                // Some tens of KB.
                io::copy(&mut self.own.place.open_made(DEVICES)?, &mut File::from(to))?;
                if target.is_given {
                    return Ok(None);
                }
                let memory = self.own.place.open_made(&target.name)?;
                // Whoever has it keeps it.
                fs::remove_file(self.own.place.entry(&target.name))?;
                Ok(Some(memory))
            };
            taken().map_err(VmmError::host(name, "what was saved cannot be taken"))
        })
    }

    fn load(&self, from: OwnedFd, _: Saved) -> BoxFuture<'_, Result<(), VmmError>> {
        Box::pin(async move {
            self.pauses()?;
            let name = &self.own.control.name;
            let placed = || {
                let mut devices = Vec::new();
                io::Read::read_to_end(&mut File::from(from), &mut devices)?;
                self.own.place.write(DEVICES, &devices)
            };
            placed().map_err(VmmError::host(name, "its devices cannot be loaded"))?;
            let load = SnapshotLoad {
                snapshot_path: DEVICES,
                mem_backend: MemoryBackend {
                    backend_type: MemoryBackendType::File,
                    backend_path: MEMORY,
                },
                resume_vm: false,
                network_overrides: overrides(&self.own.taps),
            };
            let loaded = self.own.control.api.put_long("/snapshot/load", &load).await;
            loaded.map_err(self.own.control.refused("load what was saved"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(is_given: bool, has_booted: bool, knows_touched: bool) -> [(String, SnapshotType); 2] {
        let memory = SavedMemory {
            is_given,
            has_booted,
            saves: AtomicU32::new(0),
        };
        [0, 1].map(|_| {
            let target = memory.next(knows_touched);
            (target.name, target.kind)
        })
    }

    #[test]
    fn a_diff_is_written_only_where_it_is_whole() {
        use SnapshotType::{Diff, Full};
        let named = |first: &str, kinds: [SnapshotType; 2]| {
            [
                (first.to_owned(), kinds[0]),
                ("saved.1".to_owned(), kinds[1]),
            ]
        };
        // All that was touched since the boot is all that there is, however often it is saved.
        assert_eq!(kinds(true, true, true), named("saved", [Diff, Diff]));
        assert_eq!(kinds(false, true, true), named("saved.0", [Diff, Diff]));
        // What goes on differs from what it came from: which is in the file that it was given, and in no other.
        assert_eq!(kinds(true, false, true), named("saved", [Diff, Full]));
        assert_eq!(kinds(false, false, true), named("saved.0", [Full, Full]));
        // Nobody knows what was touched.
        assert_eq!(kinds(true, true, false), named("saved", [Full, Full]));
    }
}

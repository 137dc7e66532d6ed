//! Machines that are saved, and that go on.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;

use attest_lab::LastingTap;

use super::calls::{Restore, Snapshot};
use super::running::Machine;
use super::saved::{Here, SavedDevices};
use crate::{BoxFuture, Saved, Saves, VmmError};

/// The directory of a snapshot, in the place.
const SNAPSHOT: &str = "snapshot";
/// The files of a snapshot. The last is not there where the memory is in a file that has a name.
const CONFIG: &str = "config.json";
const STATE: &str = "state.json";
const MEMORY: &str = "memory-ranges";

impl Machine {
    /// The directory, new and empty.
    fn snapshot(&self) -> io::Result<()> {
        let directory = self.own.place.entry(SNAPSHOT);
        match fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => fs::create_dir(&directory),
        }
    }

    fn part(&self, name: &str) -> std::path::PathBuf {
        self.own.place.entry(&format!("{SNAPSHOT}/{name}"))
    }

    /// Take what Cloud Hypervisor has saved: the memory, where it has written that, and into this file the rest.
    fn keep(&self, to: OwnedFd) -> io::Result<Option<File>> {
        let parse =
            |name| -> io::Result<_> { Ok(serde_json::from_slice(&fs::read(self.part(name))?)?) };
        let mut saved = SavedDevices {
            config: parse(CONFIG)?,
            state: parse(STATE)?,
        };
        saved.without_memory()?;
        saved.write(to.into())?;
        // A given file without a name was copied for nothing.
        let memory = if self.own.memory.is_given() {
            None
        } else {
            let mut options = File::options();
            Some(options.read(true).write(true).open(self.part(MEMORY))?)
        };
        // Whoever has the memory keeps it.
        fs::remove_dir_all(self.own.place.entry(SNAPSHOT))?;
        Ok(memory)
    }

    /// Give Cloud Hypervisor what another has saved.
    fn bring(&self, from: OwnedFd) -> io::Result<()> {
        let mut saved = SavedDevices::read(from.into())?;
        let own = &self.own;
        saved.move_to(&Here {
            taps: own.taps.iter().map(LastingTap::name).collect(),
            memory: own.memory.zone(),
            confinement: &own.confinement,
        })?;
        self.snapshot()?;
        fs::write(self.part(CONFIG), saved.config.to_string())?;
        fs::write(self.part(STATE), saved.state.to_string())
    }

    async fn become_what_is_brought(&self, from: OwnedFd) -> Result<(), VmmError> {
        let control = &self.own.control;
        let brought = self.bring(from);
        brought.map_err(VmmError::host(
            &control.name,
            "its devices cannot be loaded",
        ))?;
        let restore = Restore {
            source_url: format!("file://{SNAPSHOT}"),
        };
        let restored = control.api.put_long("/vm.restore", &restore).await;
        restored.map_err(control.refused("load what was saved"))
    }
}

impl Saves for Machine {
    /// What it would write goes to the file that is saved.
    fn goes_on(&self) -> bool {
        !self.own.memory.is_given()
    }

    fn save(&self, to: OwnedFd, _: Saved) -> BoxFuture<'_, Result<Option<File>, VmmError>> {
        Box::pin(async move {
            let control = &self.own.control;
            let failed = || VmmError::host(&control.name, "its devices cannot be saved");
            self.snapshot().map_err(failed())?;
            let snapshot = Snapshot {
                destination_url: format!("file://{SNAPSHOT}"),
            };
            let saved = control.api.put_long("/vm.snapshot", &snapshot).await;
            saved.map_err(control.refused("save the guest"))?;
            self.keep(to).map_err(failed())
        })
    }

    /// One that did not become what was saved would wait for ever; it is ended, as it is nothing.
    fn load(&self, from: OwnedFd, _: Saved) -> BoxFuture<'_, Result<(), VmmError>> {
        Box::pin(async move {
            let loaded = self.become_what_is_brought(from).await;
            if loaded.is_err() {
                self.alive.kill().await;
            }
            loaded
        })
    }
}

//! Saving machines, all at one instant.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use attest_events::EventKind;
use attest_protocol::message::{Request, Response};
use attest_vmm::{Ability, Ram, Saved};
use nix::sys::memfd::{MFdFlags, memfd_create};
use tokio::sync::OwnedMutexGuard;

use super::SavedMachine;
use super::files::memory_in;
use super::go_on::{Until, Waiting, begun, go};
use crate::boot::{self, Live, Origin, open_again};
use crate::error::{Error, Result};
use crate::lab::Shared;
use crate::machine::Machine;
use crate::runtime::wait_all;
use crate::session::State;

/// Save these machines at one instant. They go on themselves, as the first of those that go on from it: what was
/// under way has ended. Those that are off stay so, and are not saved. Memory that is in no file comes into one in this
/// directory, or into one of the host's memory.
///
/// # Errors
/// One cannot be saved, or has ended. Then all go on as they were.
pub(super) async fn save(
    machines: &[Machine],
    lab: &Arc<Shared>,
    directory: Option<&Path>,
) -> Result<Vec<SavedMachine>> {
    let preparing = machines
        .iter()
        .map(|machine| Saving::prepare(machine, lab, directory));
    let (prepared, mut refused) = begun(wait_all(preparing.collect::<Vec<_>>()).await);
    // Those that are off are not saved.
    let mut saving: Vec<_> = prepared.into_iter().flatten().collect();
    if refused.is_none() {
        refused = write_all(&mut saving).await.err();
    }
    if let Some(error) = refused {
        let given_up = saving.into_iter().map(Saving::give_up);
        wait_all(given_up.collect::<Vec<_>>()).await;
        return Err(error);
    }
    let (mut saved, mut waiting, mut retired) = (Vec::new(), Vec::new(), Vec::new());
    for saving in saving {
        let (machine, next, was) = saving.let_go();
        saved.push(machine);
        waiting.push(next);
        retired.push(was);
    }
    go(waiting, saved.iter(), lab, retired, Until::Answers).await?;
    Ok(saved)
}

/// From here on, until all are saved, none of them runs.
async fn write_all(saving: &mut [Saving]) -> Result<()> {
    all(saving.iter().map(Saving::quiesce).collect()).await?;
    all(saving.iter().map(Saving::pause).collect()).await?;
    all(saving.iter_mut().map(Saving::write).collect()).await
}

/// Wait for all; the first error, if any.
pub(super) async fn all(doing: Vec<impl Future<Output = Result<()>>>) -> Result<()> {
    wait_all(doing).await.into_iter().collect()
}

/// A machine that is being saved.
struct Saving {
    machine: Machine,
    /// Nobody starts or ends it meanwhile.
    live: OwnedMutexGuard<Option<Live>>,
    saved: SavedMachine,
    /// Started ahead, so that the pause is short.
    next: boot::Launched,
    /// Where its memory is not in a file: one that takes it over, so that it comes to be in one.
    carrier: Option<boot::Launched>,
}

impl Saving {
    /// `None` when it is off.
    async fn prepare(
        machine: &Machine,
        lab: &Arc<Shared>,
        directory: Option<&Path>,
    ) -> Result<Option<Self>> {
        machine.needs(Ability::Snapshots)?;
        let live = Arc::clone(&machine.inner.live).lock_owned().await;
        let Some(now) = live.as_ref() else {
            return Ok(None);
        };
        // Also tells of one that has ended.
        machine.ready().await?;
        if now.written.iter().any(boot::WrittenDisk::is_device) {
            return Err(Error::Unsavable {
                machine: machine.name().to_owned(),
                reason: "what it writes goes to a device of the host's kernel, which ends with it; write \
                         `copy-on-write = \"qcow2\"`",
            });
        }
        // Some VMMs have a file for it themselves.
        let own = machine.saves(&*now.running)?.memory();
        let own = own.transpose().map_err(unreadable(machine))?;
        let is_in_file = now.memory.is_some() || own.is_some();
        let memory = match (&now.memory, own, directory) {
            (Some(memory), ..) => open_again(memory)?,
            (None, Some(own), _) => own,
            (None, None, Some(directory)) => memory_in(directory, machine)?,
            (None, None, None) => memory_file(machine, machine.plan().memory)?,
        };
        let disks = now.written.iter().map(|disk| disk.again(false));
        let saved = SavedMachine {
            name: machine.name().to_owned(),
            memory,
            devices: memory_file(machine, 0)?,
            disks: disks.collect::<Result<_>>()?,
            console: Vec::new(),
        };
        let inner = &machine.inner;
        let carrier = if is_in_file {
            None
        } else {
            let ram = Ram::Shared(open_again(&saved.memory)?.into());
            Some(boot::launch(inner, lab, Origin::Saved(&saved.disks, ram)).await?)
        };
        let ram = Ram::Private(open_again(&saved.memory)?.into());
        let next = boot::launch(inner, lab, Origin::Saved(&saved.disks, ram)).await?;
        Ok(Some(Self {
            machine: machine.clone(),
            live,
            saved,
            next,
            carrier,
        }))
    }

    fn live(&self) -> &Live {
        self.live.as_ref().expect("only those that run are saved")
    }

    async fn quiesce(&self) -> Result<()> {
        let session = self.machine.session();
        let Response::Quiesced(refused) = session.call(&Request::Quiesce).await? else {
            return Err(session.unexpected("quiesce"));
        };
        for refused in refused {
            self.machine.record(EventKind::Warning {
                message: format!(
                    "{refused}; its disk is saved with the memory of this instant, and is whole together with it"
                ),
            });
        }
        Ok(())
    }

    async fn pause(&self) -> Result<()> {
        Ok(self.machine.pauses(&*self.live().running)?.pause().await?)
    }

    async fn write(&mut self) -> Result<()> {
        let state = |file: &File| Ok::<OwnedFd, Error>(open_again(file)?.into());
        let own = self.machine.saves(&*self.live().running)?;
        let Some(carrier) = &self.carrier else {
            let devices = state(&self.saved.devices)?;
            return Ok(own.save(devices, Saved::Devices).await?);
        };
        let all = memory_file(&self.machine, 0)?;
        own.save(state(&all)?, Saved::All).await?;
        let carrier = carrier.running();
        let saves = self.machine.saves(carrier)?;
        saves.load(state(&all)?, Saved::All).await?;
        let devices = state(&self.saved.devices)?;
        saves.save(devices, Saved::Devices).await?;
        carrier.kill().await;
        Ok(())
    }

    /// It is saved: what was started ahead takes the place of what ran it. Nothing is waited for, for it does not run
    /// just now.
    fn let_go(mut self) -> (SavedMachine, Waiting, Retired) {
        let was = self.live.take().expect("only those that run are saved");
        let retired = self.machine.replace(was);
        self.saved.console = self.machine.console().text();
        let waiting = Waiting {
            machine: self.machine,
            live: self.live,
            launched: self.next,
            memory: None,
        };
        (self.saved, waiting, retired)
    }

    /// It goes on as it was.
    async fn give_up(self) {
        for started in [Some(&self.next), self.carrier.as_ref()]
            .into_iter()
            .flatten()
        {
            started.running().kill().await;
        }
        if let Some(pause) = self.live().running.pause() {
            // It may never have been paused, or have ended; who needs it next finds out.
            let _ = pause.resume().await;
        }
        let _ = self.machine.session().call(&Request::Thaw).await;
    }
}

/// What ran a machine that something else runs now.
pub(super) struct Retired {
    machine: Machine,
    was: Live,
}

impl Machine {
    /// What runs it is to end, for something else takes its place; what is under way ends now.
    pub(super) fn replace(&self, mut was: Live) -> Retired {
        self.set_observer(None);
        was.expect_end();
        let session = self.session();
        let before = session
            .state
            .send_replace(State::Booting(tokio::time::Instant::now()));
        if let State::Ready(ready) = before {
            ready.link.supersede();
        }
        Retired {
            machine: self.clone(),
            was,
        }
    }
}

impl Retired {
    /// End it, and hear it to its end.
    pub(super) async fn end(self) {
        self.was.running.kill().await;
        self.machine.console().drained().await;
        self.was.unfollow().await;
    }
}

/// What a VMM has for its machine's memory cannot be had.
fn unreadable(machine: &Machine) -> impl FnOnce(std::io::Error) -> Error {
    Error::io(format!(
        "{}: the file of its memory cannot be opened again",
        machine.name()
    ))
}

/// A file of the host's memory, for what a machine is.
pub(super) fn memory_file(machine: &Machine, bytes: u64) -> Result<File> {
    let failed = || {
        let name = machine.name();
        Error::io(format!("{name}: there is no memory to save it in"))
    };
    let file = memfd_create(c"attest-snapshot", MFdFlags::MFD_CLOEXEC);
    let file = File::from(file.map_err(std::io::Error::from).map_err(failed())?);
    file.set_len(bytes).map_err(failed())?;
    Ok(file)
}

//! Saving machines, all at one instant.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use attest_events::EventKind;
use attest_protocol::message::{Request, Response};
use attest_vmm::{Ability, Ram, Saved};
use nix::sys::memfd::{MFdFlags, memfd_create};
use tokio::sync::OwnedMutexGuard;

use super::SavedMachine;
use super::files::memory_in;
use super::go_on::{Until, Waiting, begun, go};
use crate::boot::{self, Live, Origin, WrittenDisk, open_again};
use crate::error::{Error, Result};
use crate::lab::Shared;
use crate::machine::Machine;
use crate::runtime::{blocking, wait_all};
use crate::session::State;
use crate::systemd::observe;

/// What becomes of machines once they are saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Afterwards {
    /// They go on, as the first of those that go on from it.
    GoOn,
    /// Nothing, for their lab is ended next: they may stay paused.
    End,
}

/// Save these machines at one instant: what was under way has ended. Those that are off stay so, and are not saved.
/// Memory that is in no file comes into one in this directory, or into one of the host's memory.
///
/// # Errors
/// One cannot be saved, or has ended. Then all go on as they were.
pub(super) async fn save(
    machines: &[Machine],
    lab: &Arc<Shared>,
    directory: Option<&Path>,
    afterwards: Afterwards,
) -> Result<Vec<SavedMachine>> {
    let preparing = machines
        .iter()
        .map(|machine| Saving::prepare(machine, lab, directory, afterwards));
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
    let mut after = After::default();
    for saving in saving {
        saving.let_go(&mut after);
    }
    let After {
        saved,
        waiting,
        retired,
        staying,
    } = after;
    let of = |waiting: &Waiting| {
        saved
            .iter()
            .find(|saved| saved.name == waiting.machine.name())
    };
    let states: Vec<_> = waiting.iter().filter_map(of).collect();
    let staying = staying.into_iter().map(Staying::go_on);
    let (gone_on, stayed) = tokio::join!(
        go(waiting, states.into_iter(), lab, retired, Until::Answers),
        all(staying.collect())
    );
    gone_on.and(stayed)?;
    Ok(saved)
}

/// What becomes of machines that were saved.
#[derive(Default)]
struct After {
    saved: Vec<SavedMachine>,
    /// What takes their places.
    waiting: Vec<Waiting>,
    /// What ran them.
    retired: Vec<Retired>,
    /// Those that go on by themselves.
    staying: Vec<Staying>,
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
    lab: Arc<Shared>,
    /// Nobody starts or ends it meanwhile.
    live: OwnedMutexGuard<Option<Live>>,
    /// What its memory is in; `None` until its VMM has made that.
    memory: Option<File>,
    devices: File,
    disks: Vec<WrittenDisk>,
    then: Then,
}

/// What goes on in its place.
enum Then {
    /// It does so itself.
    Same,
    /// Nothing does.
    Nothing,
    /// Another.
    Next {
        /// Started ahead, so that the pause is short.
        next: Box<boot::Launched>,
        /// Where its memory is not in a file: one that takes it over, so that it comes to be in one.
        carrier: Option<Box<boot::Launched>>,
    },
}

impl Saving {
    /// `None` when it is off.
    async fn prepare(
        machine: &Machine,
        lab: &Arc<Shared>,
        directory: Option<&Path>,
        afterwards: Afterwards,
    ) -> Result<Option<Self>> {
        machine.needs(Ability::Snapshots)?;
        let live = Arc::clone(&machine.inner.live).lock_owned().await;
        let Some(now) = live.as_ref() else {
            return Ok(None);
        };
        // Also tells of one that has ended.
        machine.ready().await?;
        if now.written.iter().any(WrittenDisk::is_device) {
            return Err(Error::Unsavable {
                machine: machine.name().to_owned(),
                reason: "what it writes goes to a device of the host's kernel, which ends with it; leave                          `copy-on-write` to attest",
            });
        }
        let (memory, disks, then) = if machine.saves(&*now.running)?.goes_on() {
            let memory = now.memory.as_ref().map(open_again).transpose()?;
            // Those it goes on writing to.
            (memory, Vec::new(), Then::Same)
        } else if let (Afterwards::End, Some(memory)) = (afterwards, &now.memory) {
            (
                Some(open_again(memory)?),
                again(&now.written)?,
                Then::Nothing,
            )
        } else {
            let (memory, disks, then) = replaced(machine, lab, now, directory).await?;
            (Some(memory), disks, then)
        };
        Ok(Some(Self {
            machine: machine.clone(),
            lab: Arc::clone(lab),
            memory,
            devices: memory_file(machine, 0)?,
            disks,
            then,
            live,
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
        let now = self.live.as_mut().expect("only those that run are saved");
        let own = self.machine.saves(&*now.running)?;
        let devices = state(&self.devices)?;
        let carrier = match &self.then {
            Then::Same => {
                if let Some(memory) = own.save(devices, Saved::Devices).await? {
                    self.memory = Some(memory);
                }
                // It is another's from now on.
                now.memory = None;
                self.disks = apart(&now.written, &self.lab).await?;
                return Ok(());
            }
            Then::Nothing => return Ok(own.save(devices, Saved::Devices).await.map(drop)?),
            Then::Next {
                carrier: None,
                next,
            } => {
                own.save(devices, Saved::Devices).await?;
                return next.refresh(&self.disks);
            }
            Then::Next {
                carrier: Some(carrier),
                ..
            } => carrier.running(),
        };
        let all = memory_file(&self.machine, 0)?;
        own.save(state(&all)?, Saved::All).await?;
        let saves = self.machine.saves(carrier)?;
        saves.load(state(&all)?, Saved::All).await?;
        saves.save(devices, Saved::Devices).await?;
        carrier.kill().await;
        Ok(())
    }

    /// It is saved: it goes on, or what was started ahead takes the place of what ran it. Nothing is waited for, for it
    /// does not run just now.
    fn let_go(mut self, after: &mut After) {
        after.saved.push(SavedMachine {
            name: self.machine.name().to_owned(),
            memory: self
                .memory
                .expect("its VMM has made it, or it was there before"),
            devices: self.devices,
            disks: self.disks,
            console: self.machine.console().text(),
        });
        match self.then {
            Then::Same => after.staying.push(Staying {
                machine: self.machine,
                live: self.live,
            }),
            Then::Nothing => {}
            Then::Next { next, .. } => {
                let was = self.live.take().expect("only those that run are saved");
                after.retired.push(self.machine.replace(was));
                after.waiting.push(Waiting {
                    machine: self.machine,
                    live: self.live,
                    launched: *next,
                    memory: None,
                });
            }
        }
    }

    /// It goes on as it was.
    async fn give_up(self) {
        if let Then::Next { next, carrier } = &self.then {
            for started in [Some(next), carrier.as_ref()].into_iter().flatten() {
                started.running().kill().await;
            }
        }
        if let Some(pause) = self.live().running.pause() {
            // It may never have been paused, or have ended; who needs it next finds out.
            let _ = pause.resume().await;
        }
        let _ = self.machine.session().call(&Request::Thaw).await;
    }
}

/// What is on disks of a machine that does not run.
async fn apart(written: &[WrittenDisk], lab: &Arc<Shared>) -> Result<Vec<WrittenDisk>> {
    let written = again(written)?;
    if written.is_empty() {
        return Ok(written);
    }
    let lab = Arc::clone(lab);
    blocking(move || written.iter().map(|disk| disk.apart(&lab)).collect()).await
}

/// The same disks, opened once more.
fn again(written: &[WrittenDisk]) -> Result<Vec<WrittenDisk>> {
    written.iter().map(|disk| disk.again(false)).collect()
}

/// Where the memory of a machine is, what it wrote, and what takes its place.
async fn replaced(
    machine: &Machine,
    lab: &Arc<Shared>,
    now: &Live,
    directory: Option<&Path>,
) -> Result<(File, Vec<WrittenDisk>, Then)> {
    // Some VMMs have a file for it themselves.
    let own = machine.saves(&*now.running)?.memory().transpose();
    let own = own.map_err(Error::io(format!(
        "{}: the file of its memory cannot be opened again",
        machine.name()
    )))?;
    let is_in_file = now.memory.is_some() || own.is_some();
    let memory = match (&now.memory, own, directory) {
        (Some(memory), ..) => open_again(memory)?,
        (None, Some(own), _) => own,
        (None, None, Some(directory)) => memory_in(directory, machine)?,
        (None, None, None) => memory_file(machine, machine.plan().memory)?,
    };
    let disks = again(&now.written)?;
    let inner = &machine.inner;
    let carrier = if is_in_file {
        None
    } else {
        let ram = Ram::Shared(open_again(&memory)?.into());
        let carrier = boot::launch(inner, lab, Origin::Saved(&disks, ram)).await?;
        Some(Box::new(carrier))
    };
    let ram = Ram::Private(open_again(&memory)?.into());
    let next = boot::launch(inner, lab, Origin::Saved(&disks, ram)).await?;
    let then = Then::Next {
        next: Box::new(next),
        carrier,
    };
    Ok((memory, disks, then))
}

/// A machine that was saved and goes on by itself.
struct Staying {
    machine: Machine,
    live: OwnedMutexGuard<Option<Live>>,
}

impl Staying {
    async fn go_on(self) -> Result<()> {
        let Self { machine, live } = self;
        machine.set_observer(None);
        let session = machine.session();
        session.goes_on.store(true, Ordering::SeqCst);
        machine.supersede();
        let running = &live
            .as_ref()
            .expect("only those that run are saved")
            .running;
        machine.pauses(&**running)?.resume().await?;
        drop(live);
        machine.set_observer(observe(&machine.inner));
        machine.ready().await
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
        self.supersede();
        Retired {
            machine: self.clone(),
            was,
        }
    }

    /// What is under way ends now.
    fn supersede(&self) {
        let booting = State::Booting(tokio::time::Instant::now());
        let before = self.session().state.send_replace(booting);
        if let State::Ready(ready) = before {
            ready.link.supersede();
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

//! Machines that go on from where they, or others, were saved.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use attest_events::Part;
use attest_image::sparse;
use attest_vmm::{Ram, Saved, VmmError};
use tokio::sync::OwnedMutexGuard;

use super::SavedMachine;
use super::save::{Retired, all, memory_file};
use crate::boot::{self, Begin, Live, Origin, open_again};
use crate::error::{Error, Result};
use crate::lab::Shared;
use crate::machine::Machine;
use crate::runtime::{blocking, wait_all};
use crate::session::State;
use crate::systemd::observe;

/// Every Linux has a file system in memory there.
const IN_MEMORY: &str = "/dev/shm";

/// What becomes of what a machine writes to its memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MemoryUse {
    /// It is its VMM's own; all else is shared with all that go on from the same.
    Private,
    /// It has a copy of all of it in a file: so it is saved again without a copy.
    Copied,
}

/// How far machines that go on are waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// They run; whatever is asked of one waits until it answers.
    Runs,
    /// They answer.
    Answers,
}

/// A machine whose VMM waits for what it is to be.
pub(super) struct Waiting {
    pub(super) machine: Machine,
    /// Nobody starts or ends it meanwhile.
    pub(super) live: OwnedMutexGuard<Option<Live>>,
    pub(super) launched: boot::Launched,
    /// The file that its memory is in, where that is its own.
    pub(super) memory: Option<File>,
}

/// Let these machines go on from where they were saved; whatever runs them now ends.
pub(super) async fn go_on(
    machines: &[(Machine, &SavedMachine)],
    lab: &Arc<Shared>,
    memory: MemoryUse,
    until: Until,
) -> Result<()> {
    let launched = machines
        .iter()
        .map(|(machine, saved)| launch(machine, saved, lab, memory));
    let (waiting, refused) = begun(wait_all(launched.collect::<Vec<_>>()).await);
    if let Some(error) = refused {
        give_up(&waiting).await;
        return Err(error);
    }
    let saved = machines.iter().map(|(_, saved)| *saved);
    go(waiting, saved, lab, Vec::new(), until).await
}

/// Let all become what was saved and run, as far as possible at once; what ran them before ends meanwhile.
pub(super) async fn go<'a>(
    waiting: Vec<Waiting>,
    saved: impl Iterator<Item = &'a SavedMachine>,
    lab: &Arc<Shared>,
    retired: Vec<Retired>,
    until: Until,
) -> Result<()> {
    let loading = waiting.iter().zip(saved);
    let loading = loading.map(|(waiting, saved)| waiting.load(saved));
    let mut gone_on = all(loading.collect()).await;
    if gone_on.is_ok() {
        gone_on = all(waiting.iter().map(Waiting::resume).collect()).await;
    }
    let ended = retired.into_iter().map(Retired::end);
    wait_all(ended.collect::<Vec<_>>()).await;
    if let Err(error) = gone_on {
        give_up(&waiting).await;
        return Err(error);
    }
    let following = waiting
        .into_iter()
        .map(|waiting| waiting.follow(lab, until));
    all(following.collect()).await
}

/// None of them goes on, for one cannot.
async fn give_up(waiting: &[Waiting]) {
    wait_all(waiting.iter().map(Waiting::give_up).collect::<Vec<_>>()).await;
}

/// What could be begun, and the first error, if any.
pub(super) fn begun<T>(results: Vec<Result<T>>) -> (Vec<T>, Option<Error>) {
    let (mut begun, mut refused) = (Vec::new(), None);
    for result in results {
        match result {
            Ok(one) => begun.push(one),
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    (begun, refused)
}

async fn launch(
    machine: &Machine,
    saved: &SavedMachine,
    lab: &Arc<Shared>,
    memory: MemoryUse,
) -> Result<Waiting> {
    let mut live = Arc::clone(&machine.inner.live).lock_owned().await;
    let retired = live.take().map(|was| machine.replace(was));
    machine
        .session()
        .state
        .send_replace(State::Booting(tokio::time::Instant::now()));
    // What ran it ends meanwhile: neither has anything of the other.
    let ended = async {
        if let Some(retired) = retired {
            retired.end().await;
        }
    };
    let (launched, ()) = tokio::join!(launch_saved(machine, saved, lab, memory), ended);
    let (launched, memory) = launched.inspect_err(|_| {
        machine.session().state.send_replace(State::Off);
    })?;
    Ok(Waiting {
        machine: machine.clone(),
        live,
        launched,
        memory,
    })
}

/// A VMM that waits for what its machine was, and the file with its memory, where that is its own.
async fn launch_saved(
    machine: &Machine,
    saved: &SavedMachine,
    lab: &Arc<Shared>,
    memory: MemoryUse,
) -> Result<(boot::Launched, Option<File>)> {
    let own = match memory {
        MemoryUse::Private => None,
        MemoryUse::Copied => Some(copied(machine, saved).await?),
    };
    let ram = match &own {
        Some(own) => Ram::Shared(open_again(own)?.into()),
        None => Ram::Private(shared(machine, saved, lab).await?.into()),
    };
    let launched = boot::launch(&machine.inner, lab, Origin::Saved(&saved.disks, ram)).await?;
    Ok((launched, own))
}

/// The memory that a machine shares with all that go on from the same. The kernel shows a file that has no name in one
/// jail, and never again: there it is copied.
async fn shared(machine: &Machine, saved: &SavedMachine, lab: &Arc<Shared>) -> Result<File> {
    let memory = open_again(&saved.memory)?;
    let failed = || Error::io(format!("{}: its memory cannot be copied", machine.name()));
    let has_name = memory.metadata().map_err(failed())?.nlink() > 0;
    if has_name || lab.backends.jailed_as(machine.plan())?.is_none() {
        return Ok(memory);
    }
    let copied = blocking(move || {
        let copy = tempfile::tempfile_in(IN_MEMORY)?;
        copy.set_len(memory.metadata()?.len())?;
        sparse::copy(&memory, &copy)?;
        Ok(copy)
    });
    copied.await.map_err(failed())
}

/// Where the memory of its next start is to be, with what it was when it was saved.
async fn copied(machine: &Machine, saved: &SavedMachine) -> Result<File> {
    let place = machine.inner.memory.lock().expect("not poisoned").take();
    let to = match place {
        Some(place) => place,
        None => memory_file(machine, machine.plan().memory)?,
    };
    let from = open_again(&saved.memory)?;
    let copied = blocking(move || sparse::copy(&from, &to).map(|()| to)).await;
    let name = machine.name();
    copied.map_err(Error::io(format!("{name}: its memory cannot be copied")))
}

impl Waiting {
    async fn load(&self, saved: &SavedMachine) -> Result<()> {
        let recorder = &self.machine.inner.recorder;
        recorder.machine_part(self.machine.name(), Part::Load);
        let running = self.launched.running();
        let loads = self.machine.saves(running)?;
        let devices = open_again(&saved.devices)?;
        let loaded = loads.load(devices.into(), Saved::Devices).await;
        match loaded {
            Ok(()) => Ok(()),
            Err(error) => Err(self.why_not(error).await),
        }
    }

    /// A QEMU that cannot become what was saved says so, and ends.
    async fn why_not(&self, error: VmmError) -> Error {
        let ended = self.launched.running().ended().await;
        Error::GoOn {
            machine: self.machine.name().to_owned(),
            words: ended.detail,
            source: Box::new(error),
        }
    }

    /// It is off, for others of its lab did not go on.
    async fn give_up(&self) {
        self.machine.session().state.send_replace(State::Off);
        self.launched.running().kill().await;
    }

    async fn resume(&self) -> Result<()> {
        Ok(self
            .machine
            .pauses(self.launched.running())?
            .resume()
            .await?)
    }

    async fn follow(mut self, lab: &Arc<Shared>, until: Until) -> Result<()> {
        let inner = &self.machine.inner;
        let live = boot::follow(inner, lab, self.launched, Begin::GoesOn, self.memory).await?;
        *self.live = Some(live);
        drop(self.live);
        self.machine.set_observer(observe(inner));
        match until {
            Until::Runs => Ok(()),
            Until::Answers => self.machine.ready().await,
        }
    }
}

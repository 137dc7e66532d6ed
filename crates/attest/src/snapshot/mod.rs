//! Snapshots: machines as they were at one instant, and what goes on from there any number of times.

mod failed;
mod fields;
mod files;
mod go_on;
mod kept;
mod save;

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

pub(crate) use self::failed::FailedLabs;
pub use self::fields::setups_of;
pub(crate) use self::fields::{Fields, SetupKey};
pub(crate) use self::files::memory_in;
pub(crate) use self::go_on::{MemoryUse, Until};
pub(crate) use self::kept::{Keeper, Kept, Making, SNAPSHOTS_VARIABLE, Wanted, booted};
pub use self::kept::{SnapshotUse, SnapshotUseError};
pub(crate) use self::save::Afterwards;
use attest_events::{Part, Phase};
use attest_image::Lease;
use attest_manifest::LabPlan;

use crate::boot::{Prepared, WrittenDisk};
use crate::error::{Error, Result};
use crate::lab::{Lab, LabContext, Shared};
use crate::machine::Machine;

/// A machine as it was.
#[derive(Debug)]
pub(crate) struct SavedMachine {
    pub(crate) name: String,
    /// As long as its memory. Nothing changes it.
    pub(crate) memory: File,
    /// Processors and devices, as its VMM writes them.
    pub(crate) devices: File,
    pub(crate) disks: Vec<WrittenDisk>,
    /// What its console printed, so far as it was kept.
    pub(crate) console: Vec<u8>,
}

/// A whole lab as it was at one instant: the memory, the devices and the disks of all machines that ran. Clones are
/// the same one; it is gone with the last of them, and of the labs that go on from it.
#[derive(Debug, Clone)]
pub struct Snapshot {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shared: Origin,
    machines: Vec<SavedMachine>,
    /// Forks so far.
    forks: AtomicU64,
    /// Where it is kept, once it is.
    lease: OnceLock<Lease>,
}

impl Inner {
    fn new(
        plan: &LabPlan,
        prepared: &Prepared,
        context: LabContext,
        machines: Vec<SavedMachine>,
    ) -> Self {
        Self {
            shared: Origin {
                plan: plan.clone(),
                prepared: prepared.clone(),
                context,
            },
            machines,
            forks: AtomicU64::new(0),
            lease: OnceLock::new(),
        }
    }
}

/// What labs that go on from a snapshot share with the one that was saved.
#[derive(Debug)]
struct Origin {
    plan: LabPlan,
    prepared: Prepared,
    context: LabContext,
}

/// One machine as it was at one instant. Clones are the same.
#[derive(Debug, Clone)]
pub struct MachineSnapshot {
    saved: Arc<Vec<SavedMachine>>,
}

impl Lab {
    /// Save all machines of the lab at one instant. The lab goes on, as the first of those that go on from there;
    /// machines that are off are off in the others, too.
    ///
    /// All that is under way ends: commands, waits, copies and forwards with [`Error::Superseded`] here, and in the
    /// guests by a signal. Connections between the machines of the lab stay. What runs in the background of a guest
    /// goes on everywhere.
    ///
    /// # Errors
    /// A machine's backend has no snapshots, or a machine has ended; then the lab goes on as it was.
    pub async fn snapshot(&self) -> Result<Snapshot> {
        let _aside = self.recorder().aside();
        self.snapshot_in(None, Afterwards::GoOn).await
    }

    /// The same; memory that is in no file comes into one of its machine's name in this directory.
    pub(crate) async fn snapshot_in(
        &self,
        directory: Option<&Path>,
        afterwards: Afterwards,
    ) -> Result<Snapshot> {
        self.recorder().part(Part::Save);
        let machines = save::save(self.machines(), &self.shared, directory, afterwards).await?;
        Ok(self.snapshot_of(machines))
    }

    fn snapshot_of(&self, machines: Vec<SavedMachine>) -> Snapshot {
        let shared = &self.shared;
        let context = LabContext {
            recorder: shared.recorder.clone(),
            output: shared.output.clone(),
            cache: None,
            snapshots: SnapshotUse::default(),
        };
        let inner = Inner::new(&shared.plan, &shared.prepared(), context, machines);
        Snapshot {
            inner: Arc::new(inner),
        }
    }

    /// Put the lab back to what it was: all machines go on from there, whatever they are now. What is under way
    /// ends, as for [`Lab::snapshot`].
    ///
    /// # Errors
    /// It is a snapshot of a lab with other machines; or a machine cannot go on, and is off then.
    pub async fn restore(&self, snapshot: &Snapshot) -> Result<()> {
        let _aside = self.recorder().aside();
        self.recorder().part(Part::Load);
        self.go_on(&snapshot.inner.machines, MemoryUse::Private, Until::Answers)
            .await
    }

    /// A snapshot of now, and a lab that goes on from it beside this one. See [`Snapshot::fork`].
    ///
    /// # Errors
    /// As of [`Lab::snapshot`] and [`Snapshot::fork`].
    pub async fn fork(&self) -> Result<Self> {
        self.snapshot().await?.fork().await
    }

    async fn go_on(&self, saved: &[SavedMachine], memory: MemoryUse, until: Until) -> Result<()> {
        let mut machines = Vec::with_capacity(saved.len());
        for saved in saved {
            machines.push((self.machine(&saved.name)?, saved));
        }
        for machine in self.machines() {
            if !saved.iter().any(|saved| saved.name == machine.name()) {
                machine.kill().await;
            }
        }
        go_on::go_on(&machines, &self.shared, memory, until).await
    }
}

impl Machine {
    /// Save this machine alone, as [`Lab::snapshot`] saves all.
    ///
    /// # Errors
    /// As there; or it is off.
    pub async fn snapshot(&self) -> Result<MachineSnapshot> {
        let lab = self.lab()?;
        let _aside = lab.recorder.aside();
        lab.recorder.part(Part::Save);
        let this = std::slice::from_ref(self);
        let saved = save::save(this, &lab, None, Afterwards::GoOn).await?;
        if saved.is_empty() {
            return Err(self.off());
        }
        Ok(MachineSnapshot {
            saved: Arc::new(saved),
        })
    }

    /// Put this machine alone back to what it was. Connections with others are as broken as by a long pause.
    ///
    /// # Errors
    /// It is a snapshot of another machine; or it cannot go on, and is off then.
    pub async fn restore(&self, snapshot: &MachineSnapshot) -> Result<()> {
        let lab = self.lab()?;
        let saved = &snapshot.saved[0];
        if saved.name != self.name() {
            return Err(Error::UnknownMachine {
                name: saved.name.clone(),
                known: vec![self.name().to_owned()],
            });
        }
        let machine = [(self.clone(), saved)];
        let _aside = lab.recorder.aside();
        lab.recorder.part(Part::Load);
        go_on::go_on(&machine, &lab, MemoryUse::Private, Until::Answers).await
    }

    fn lab(&self) -> Result<Arc<Shared>> {
        self.inner.lab.upgrade().ok_or_else(|| self.off())
    }
}

impl Snapshot {
    /// A lab that goes on from here, beside all others: with the same names and addresses, and nothing in common
    /// with them. Its events go where those of the saved lab go, its files into a directory below that of the other.
    ///
    /// # Errors
    /// The lab process or a VMM cannot be started, or a machine does not go on.
    pub async fn fork(&self) -> Result<Lab> {
        self.fork_until(Until::Answers).await
    }

    /// The same, as soon as its machines run: what is asked of one waits until it answers.
    ///
    /// # Errors
    /// As of [`Self::fork`]; that a machine does not answer is told by what is asked of it.
    pub async fn fork_running(&self) -> Result<Lab> {
        self.fork_until(Until::Runs).await
    }

    async fn fork_until(&self, until: Until) -> Result<Lab> {
        let context = &self.inner.shared.context;
        let _aside = context.recorder.aside();
        let number = self.inner.forks.fetch_add(1, Ordering::Relaxed);
        let context = LabContext {
            output: context.output.join(format!("fork-{number}")),
            ..context.clone()
        };
        std::fs::create_dir_all(&context.output)
            .map_err(Error::io("the directory of a fork cannot be made"))?;
        self.fork_in(context, MemoryUse::Private, None, until).await
    }

    /// The same with a place of its own for events and files, and memory that is used like this; with `kept`, each
    /// machine's is in a file of its name there.
    pub(crate) async fn fork_in(
        &self,
        context: LabContext,
        memory: MemoryUse,
        kept: Option<&Path>,
        until: Until,
    ) -> Result<Lab> {
        let Origin { plan, prepared, .. } = &self.inner.shared;
        let lab =
            Lab::create_prepared(plan.clone(), context, prepared.clone(), Phase::Restore).await?;
        if let Some(directory) = kept {
            lab.keep_memory(directory)?;
        }
        for saved in &self.inner.machines {
            lab.machine(&saved.name)?.console().remember(&saved.console);
        }
        *lab.shared.kept.lock().expect("not poisoned") = Some(Kept::of(self));
        let gone_on = lab.go_on(&self.inner.machines, memory, until).await;
        lab.unless_failed(gone_on).await
    }
}

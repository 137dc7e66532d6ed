//! Snapshots that are kept: a lab boots once, and later ones go on from there.

use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use attest_events::{EventKind, Part, Phase, nanoseconds};
use attest_image::store::{SnapshotError, SnapshotStore};
use attest_image::{Lease, Unfinished, Wanted as WantedEntry};
use attest_manifest::LabPlan;
use attest_vmm::Ability;
use serde_json::Value;
use tokio::task::JoinHandle;

use super::files::{self, Title};
use super::{Afterwards, Fields, Inner, MemoryUse, Snapshot, Until};
use crate::boot::{self, Prepared};
use crate::error::{Error, Result};
use crate::lab::{Lab, LabContext};
use crate::recorder::Recorder;
use crate::runtime::{blocking, wait_all};
use crate::systemd::Whose;

/// Names in the environment what is done with snapshots where nothing else says so: `auto`, `needed`, `never` or `rebuild`.
pub(crate) const SNAPSHOTS_VARIABLE: &str = "ATTEST_SNAPSHOTS";

/// Whether labs go on from where equal ones had booted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotUse {
    /// Where there is a snapshot; else it is made, once the lab has booted.
    Auto,
    /// As [`SnapshotUse::Auto`], but one is made only where the run itself goes on from it: for who throws away what
    /// is kept.
    Needed,
    /// Every lab boots, and none is saved.
    Never,
    /// As [`SnapshotUse::Auto`], but what is there is made anew.
    Rebuild,
}

impl Default for SnapshotUse {
    /// As `$ATTEST_SNAPSHOTS` says: `needed`, `never`, `rebuild`, or else [`SnapshotUse::Auto`].
    fn default() -> Self {
        let said = std::env::var(SNAPSHOTS_VARIABLE).ok();
        let said = said.and_then(|said| said.parse().ok());
        said.unwrap_or(Self::Auto)
    }
}

/// A word that says nothing about the use of snapshots.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no use of snapshots; write `auto`, `needed`, `never` or `rebuild`")]
pub struct SnapshotUseError(String);

impl SnapshotUse {
    /// As one writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Needed => "needed",
            Self::Never => "never",
            Self::Rebuild => "rebuild",
        }
    }
}

impl FromStr for SnapshotUse {
    type Err = SnapshotUseError;

    fn from_str(text: &str) -> Result<Self, SnapshotUseError> {
        let all = [Self::Auto, Self::Needed, Self::Never, Self::Rebuild];
        let named = all.into_iter().find(|each| each.name() == text);
        named.ok_or_else(|| SnapshotUseError(text.to_owned()))
    }
}

/// A lab with all machines ready: one that goes on from where an equal one had booted, whose agents may not have answered
/// again, or one that boots, and is saved for the next.
pub(crate) async fn booted(plan: LabPlan, context: LabContext) -> Result<Lab> {
    let recorder = context.recorder.clone();
    recorder.lab_started(plan.machines.iter().map(|machine| &machine.name));
    let prepared = boot::prepare(&plan, &recorder, context.cache.as_deref()).await?;
    let wanted = match Keeper::open(&plan, &prepared, &context).await {
        Some(keeper) => {
            let fields = Fields::of(&plan, &prepared).await?;
            keeper.want(&plan, &prepared, &fields, &context).await
        }
        None => Wanted::None,
    };
    let making = match wanted {
        Wanted::Ready(snapshot, _) => {
            return snapshot
                .fork_in(context, MemoryUse::Private, None, Until::Runs)
                .await;
        }
        Wanted::Make(making) => Some(making),
        Wanted::None => None,
    };
    let lab = Lab::create_prepared(plan, context, prepared, Phase::Spawn).await?;
    let booted = match making {
        Some(making) => {
            let directory = Some(making.directory());
            let saved = lab.boot_and_save(directory, Afterwards::GoOn).await;
            saved.map(|snapshot| making.keep(&lab, &snapshot, "ready", Value::Null))
        }
        None => lab.start_all().await,
    };
    lab.unless_failed(booted).await
}

/// Whether every machine of the lab can be saved.
pub(crate) fn can_be_saved(plan: &LabPlan, prepared: &Prepared) -> bool {
    let can = |machine: &attest_manifest::MachinePlan| {
        let backend = prepared.backends.of(machine.backend);
        backend.lacks(Ability::Snapshots).is_none() && !prepared.images.writes_to_device(machine)
    };
    !plan.machines.is_empty() && plan.machines.iter().all(can)
}

/// Keeps snapshots, and finds them again.
#[derive(Debug, Clone)]
pub(crate) struct Keeper {
    store: Arc<SnapshotStore>,
    snapshots: SnapshotUse,
}

/// What becomes of a lab that is wanted.
pub(crate) enum Wanted {
    /// It goes on from here, where this was returned by the last set-up.
    Ready(Snapshot, Value),
    /// It is to be made, and kept.
    Make(Making),
    /// It cannot be kept.
    None,
}

impl Keeper {
    /// `None` where snapshots are not wanted, not possible, or have no place; that is told.
    pub(crate) async fn open(
        plan: &LabPlan,
        prepared: &Prepared,
        context: &LabContext,
    ) -> Option<Self> {
        if context.snapshots == SnapshotUse::Never || !can_be_saved(plan, prepared) {
            return None;
        }
        let cache = context.cache.clone();
        let opened = blocking(move || crate::images::snapshots(cache.as_deref())).await;
        match opened {
            Ok(store) => Some(Self {
                store: Arc::new(store),
                snapshots: context.snapshots,
            }),
            Err(error) => {
                warn(&context.recorder, &error);
                None
            }
        }
    }

    /// The snapshot of what has these fields, or the making of it. Waits while another makes it.
    pub(crate) async fn want(
        &self,
        plan: &LabPlan,
        prepared: &Prepared,
        fields: &Fields,
        context: &LabContext,
    ) -> Wanted {
        let recorder = &context.recorder;
        recorder.part(Part::Lookup);
        let wanted = self.entry(plan, fields, recorder).await;
        let (wanted, reason) = match wanted {
            Ok(wanted) => wanted,
            Err(error) => {
                warn(recorder, &error);
                return Wanted::None;
            }
        };
        let (choice, reason, found) = match wanted {
            WantedEntry::Ready(lease) => {
                let directory = lease.entry().to_owned();
                let read = blocking(move || files::read(&directory)).await;
                match read {
                    Ok((machines, value)) => {
                        let inner = Inner::new(plan, prepared, context.clone(), machines);
                        inner.hold(lease);
                        let snapshot = Snapshot {
                            inner: Arc::new(inner),
                        };
                        ("go on", reason, Wanted::Ready(snapshot, value))
                    }
                    Err(error) => {
                        let message = format!(
                            "the snapshot {} cannot be read: {error}; it is not used",
                            lease.entry().display()
                        );
                        recorder.record(EventKind::Warning { message });
                        return Wanted::None;
                    }
                }
            }
            WantedEntry::Make(_) if self.snapshots == SnapshotUse::Needed => {
                let why = self.why_none(plan, fields).await;
                let reason = format!("{why}; none is made, for nothing else would go on from it");
                ("boot", reason, Wanted::None)
            }
            WantedEntry::Make(unfinished) => {
                let why = self.why_none(plan, fields).await;
                let reason = format!("{why}; it is made {reason}");
                let making = Making {
                    unfinished,
                    store: Arc::clone(&self.store),
                    fields: fields.clone(),
                    recorder: recorder.clone(),
                    began: Instant::now(),
                };
                let choice = if fields.has_setups() { "make" } else { "boot" };
                (choice, reason, Wanted::Make(making))
            }
        };
        recorder.record(EventKind::Chosen {
            what: "snapshot".to_owned(),
            choice: choice.to_owned(),
            reason,
        });
        found
    }

    async fn entry(
        &self,
        plan: &LabPlan,
        fields: &Fields,
        recorder: &Recorder,
    ) -> Result<(WantedEntry, String), SnapshotError> {
        let (store, key) = (Arc::clone(&self.store), fields.key());
        let snapshots = self.snapshots;
        let expected = plan.machines.iter().map(|machine| machine.memory).sum();
        let recorder = recorder.clone();
        blocking(move || {
            if snapshots == SnapshotUse::Rebuild {
                // One that is in use stays, and is used.
                let _ = store.discard(key);
            }
            let mut progress = boot::progress(&recorder);
            let wanted = store.want(key, expected, &mut |step| {
                if step.is_wait {
                    recorder.part(Part::Turn);
                }
                progress(step);
            })?;
            recorder.part(Part::Lookup);
            for broken in wanted.broken {
                let message = broken.to_string();
                recorder.record(EventKind::Warning { message });
            }
            Ok((wanted.wanted, wanted.reason))
        })
        .await
    }

    /// Why there is no snapshot: what is other than in the last one of the same lab.
    async fn why_none(&self, plan: &LabPlan, fields: &Fields) -> String {
        if self.snapshots == SnapshotUse::Rebuild {
            return "it is to be made anew".to_owned();
        }
        let (store, key, lab) = (Arc::clone(&self.store), fields.key(), plan.name.clone());
        let fields = fields.clone();
        let last = blocking(move || {
            let mut others = store.nearest(&lab, key).ok()?;
            // Those of other set-ups of the lab, or of some of its machines, differ in more than a value.
            let (_, about) = others.next()?;
            fields.difference(&about["fields"])
        });
        match last.await {
            Some(difference) => format!("the last one differs: {difference}"),
            None => "there is none yet".to_owned(),
        }
    }
}

pub(super) fn warn(recorder: &Recorder, error: &SnapshotError) {
    let message = crate::chain(error);
    recorder.record(EventKind::Warning { message });
}

/// A snapshot that is being made, to be kept.
#[derive(Debug)]
pub(crate) struct Making {
    pub(super) unfinished: Unfinished,
    pub(super) store: Arc<SnapshotStore>,
    pub(super) fields: Fields,
    pub(super) recorder: Recorder,
    pub(super) began: Instant,
}

impl Making {
    /// Where memory is to be written by the machines themselves.
    pub(crate) fn directory(&self) -> &Path {
        self.unfinished.directory()
    }

    /// Write what is missing, beside the lab, which goes on.
    pub(crate) fn keep(self, lab: &Lab, snapshot: &Snapshot, point: &str, value: Value) {
        let inner = Arc::clone(&snapshot.inner);
        let (lab_name, point) = (lab.shared.plan.name.clone(), point.to_owned());
        let recorder = self.recorder.clone();
        let duration_ns = nanoseconds(self.began.elapsed());
        let writing = tokio::task::spawn_blocking(move || {
            match self.write(&inner, &lab_name, &point, &value) {
                Ok(()) => recorder.record(EventKind::LabSaved {
                    lab: lab_name,
                    point,
                    duration_ns,
                }),
                Err(error) => warn(&recorder, &error),
            }
        });
        let kept = Kept {
            writing: Some(writing),
            _snapshot: snapshot.clone(),
        };
        *lab.shared.kept.lock().expect("not poisoned") = Some(kept);
    }

    pub(super) fn write(
        self,
        inner: &Inner,
        lab: &str,
        point: &str,
        value: &Value,
    ) -> Result<(), SnapshotError> {
        let plans = &inner.shared.plan.machines;
        let title = Title {
            lab,
            point,
            fields: &self.fields,
            value,
            vcpus: &|name| {
                let plan = plans.iter().find(|plan| plan.name == name);
                plan.map_or(0, |plan| plan.vcpus)
            },
        };
        let directory = self.unfinished.directory().to_owned();
        files::write(&directory, &inner.machines, &title).map_err(|source| {
            SnapshotError::from(attest_image::ImageError::file(
                &directory,
                "it cannot be written",
            )(source))
        })?;
        let about = format!("{lab}, {point}");
        let kept = self.store.finish(self.unfinished, &about, &mut |_| {})?;
        if let Some(over) = kept.over {
            let message = over.to_string();
            self.recorder.record(EventKind::Warning { message });
        }
        inner.hold(kept.lease);
        Ok(())
    }
}

/// What a lab holds of snapshots.
#[derive(Debug)]
pub(crate) struct Kept {
    /// Until it is written.
    writing: Option<JoinHandle<()>>,
    /// In use as long as the lab.
    _snapshot: Snapshot,
}

impl Kept {
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        Self {
            writing: None,
            _snapshot: snapshot.clone(),
        }
    }

    /// Wait until it is there for others.
    pub(crate) async fn written(self) {
        if let Some(writing) = self.writing {
            // It has told what went wrong itself.
            let _ = writing.await;
        }
    }
}

impl Lab {
    /// Boot a lab whose machines are off, wait until their systems are up, and save it; what is in their memory is in
    /// this directory then.
    pub(crate) async fn boot_and_save(
        &self,
        directory: Option<&Path>,
        afterwards: Afterwards,
    ) -> Result<Snapshot> {
        if let Some(directory) = directory {
            self.keep_memory(directory)?;
        }
        for machine in self.machines() {
            machine.inner.is_being_made.store(true, Ordering::Relaxed);
        }
        self.start_all().await?;
        self.recorder().part(Part::System);
        systems_up(self).await;
        self.recorder().enter(Phase::Snapshot);
        self.snapshot_in(None, afterwards).await
    }
}

/// How long systems may take from a machine that answers to one that is up, before they are saved as they are.
const UP: Duration = Duration::from_mins(1);

/// Wait until systems have done what they do at their start: else each that goes on would do it again.
async fn systems_up(lab: &Lab) {
    let machines = lab.machines().iter();
    let systems = machines.filter(|machine| machine.plan().image.system.is_some());
    let up = systems.map(|machine| async {
        let manager = machine.inner.managers.get(machine, &Whose::System);
        // One without systemd, or that never ends to start, is saved as it is.
        let _ = tokio::time::timeout(UP, manager.wait_for_startup()).await;
    });
    wait_all(up.collect::<Vec<_>>()).await;
}

impl Inner {
    /// It stays where it is kept as long as this.
    pub(super) fn hold(&self, lease: Lease) {
        // There is one at most.
        let _ = self.lease.set(lease);
    }
}

impl From<SnapshotError> for Error {
    fn from(error: SnapshotError) -> Self {
        Self::Snapshots(Box::new(error))
    }
}

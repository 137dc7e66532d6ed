//! The states that tests begin from, as a tree: the lab that has booted, and one more for each set-up. Each is made
//! once, saved, and gone on from any number of times, by this run and by later ones.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use attest_events::{BootsBecause, EventKind, Part, Phase};
use attest_manifest::{Isolation, LabPlan};
use attest_vmm::BoxFuture;
use serde_json::Value;
use tokio::sync::OnceCell;

use super::labs::{Labs, not_up};
use super::rust_function::RustSetup;
use super::stage::{Stage, StageKind, StageSetup};
use crate::boot::{self, Ahead, Prepared};
use crate::error::Result;
use crate::lab::{Lab, LabContext};
use crate::snapshot::{
    Afterwards, Fields, Keeper, Making, MemoryUse, SetupKey, Snapshot, SnapshotUse, Until, Wanted,
};

/// What all labs of a plan share.
#[derive(Debug)]
pub(super) struct Ground {
    pub(super) prepared: Prepared,
    fields: Fields,
    /// `None` where every lab boots.
    pub(super) keeper: Option<Keeper>,
}

/// A state that a lab came to.
#[derive(Debug)]
pub(super) struct Level {
    pub(super) snapshot: Snapshot,
    /// What the last set-up returned.
    pub(super) value: Value,
}

/// All that were wanted in this run.
#[derive(Debug, Default)]
pub(super) struct Levels {
    grounds: Known<Arc<LabPlan>, Cell<Ground>>,
    made: Known<Stage, Cell<Level>>,
    ahead: Known<Arc<LabPlan>, Ahead>,
}

/// One for each key.
#[derive(Debug)]
struct Known<K, T>(Mutex<Vec<(K, Arc<T>)>>);

/// What is made once.
#[derive(Debug)]
struct Cell<V> {
    made: OnceCell<Arc<V>>,
    /// Somebody makes it, or has tried.
    is_begun: AtomicBool,
}

impl<V> Default for Cell<V> {
    fn default() -> Self {
        Self {
            made: OnceCell::new(),
            is_begun: AtomicBool::new(false),
        }
    }
}

impl<K, T> Default for Known<K, T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: PartialEq, T: Default> Known<K, T> {
    fn of(&self, key: K) -> Arc<T> {
        let mut known = self.0.lock().expect("not poisoned");
        if let Some((_, one)) = known.iter().find(|(known, _)| *known == key) {
            return Arc::clone(one);
        }
        let one = Arc::<T>::default();
        known.push((key, Arc::clone(&one)));
        one
    }
}

impl Ground {
    fn fields_after(&self, setups: &[StageSetup]) -> Fields {
        setups.iter().fold(self.fields.clone(), |fields, setup| {
            fields.after(&key(setup))
        })
    }
}

impl Levels {
    /// What starts the processes of a plan's labs.
    pub(super) fn ahead(&self, plan: &Arc<LabPlan>) -> Arc<Ahead> {
        self.ahead.of(Arc::clone(plan))
    }

    /// No more labs are made.
    pub(super) async fn end(&self) {
        let known = std::mem::take(&mut *self.ahead.0.lock().expect("not poisoned"));
        for (_, ahead) in known {
            ahead.end().await;
        }
    }

    /// The images of a plan, and whether its labs are saved.
    pub(super) async fn ground(
        &self,
        plan: &Arc<LabPlan>,
        context: &LabContext,
    ) -> Result<Arc<Ground>> {
        let recorder = &context.recorder;
        let cell = self.grounds.of(Arc::clone(plan));
        let ground = cell.made.get_or_try_init(|| async {
            let prepared = boot::prepare(plan, recorder, context.cache.as_deref()).await?;
            let prepared = Prepared {
                ahead: self.ahead(plan),
                ..prepared
            };
            recorder.part(Part::Lookup);
            let forks = match plan.isolation {
                Isolation::Auto | Isolation::Fork | Isolation::Shared => context.snapshots,
                Isolation::Boot => SnapshotUse::Never,
            };
            let asked = context.snapshots;
            let context = LabContext {
                snapshots: forks,
                ..context.clone()
            };
            let keeper = Keeper::open(plan, &prepared, &context).await;
            let fields = if keeper.is_some() {
                Fields::of(plan, &prepared).await?
            } else {
                let why = why_always(plan, asked);
                recorder.record(EventKind::AlwaysBoots { why });
                Fields::default()
            };
            Ok(Arc::new(Ground {
                prepared,
                fields,
                keeper,
            }))
        });
        ground.await.cloned()
    }
}

/// Why no lab of a plan is saved.
fn why_always(plan: &LabPlan, asked: SnapshotUse) -> BootsBecause {
    if asked == SnapshotUse::Never {
        BootsBecause::Asked
    } else if plan.isolation == Isolation::Boot {
        BootsBecause::Isolation
    } else {
        BootsBecause::Backend
    }
}

/// The state after all set-ups of a stage, where that is kept already.
pub(super) async fn found(ground: &Ground, stage: &Stage, context: &LabContext) -> Option<Level> {
    let keeper = ground.keeper.as_ref()?;
    let fields = ground.fields_after(&stage.setups);
    let wanted = keeper.want(&stage.plan, &ground.prepared, &fields, context);
    match wanted.await {
        Wanted::Ready(snapshot, value) => Some(Level { snapshot, value }),
        Wanted::Make(_) | Wanted::None => None,
    }
}

/// The state after so many set-ups of a stage. Who makes it also gets the lab that was saved, of which this becomes
/// afterwards.
pub(super) fn level<'a>(
    labs: &'a Labs,
    stage: &'a Stage,
    depth: usize,
    context: &'a LabContext,
    afterwards: Afterwards,
    made: &'a mut Option<Lab>,
) -> BoxFuture<'a, Result<Arc<Level>>> {
    Box::pin(async move {
        let key = Stage {
            plan: Arc::clone(&stage.plan),
            setups: stage.setups[..depth].to_vec(),
        };
        let cell = labs.levels().made.of(key);
        let is_begun = cell.is_begun.swap(true, Ordering::Relaxed);
        if is_begun && !cell.made.initialized() {
            // Another test makes it, and this one waits for that.
            context.recorder.enter(Phase::Snapshot);
            context.recorder.part(Part::Turn);
        }
        let level = cell.made.get_or_try_init(|| async {
            let maker = Maker {
                labs,
                stage,
                depth,
                context,
                afterwards,
            };
            Ok(Arc::new(maker.make(made).await?))
        });
        level.await.cloned()
    })
}

struct Maker<'a> {
    labs: &'a Labs,
    stage: &'a Stage,
    depth: usize,
    context: &'a LabContext,
    afterwards: Afterwards,
}

impl Maker<'_> {
    async fn make(&self, made: &mut Option<Lab>) -> Result<Level> {
        let plan = &self.stage.plan;
        let ground = self.labs.levels().ground(plan, self.context).await;
        let ground = ground.map_err(not_up)?;
        let setups = &self.stage.setups[..self.depth];
        let fields = ground.fields_after(setups);
        let keeper = ground
            .keeper
            .as_ref()
            .expect("only asked where there is one");
        let wanted = keeper.want(plan, &ground.prepared, &fields, self.context);
        let wanted = async { Ok(wanted.await) };
        match self.labs.unless_interrupted(wanted).await? {
            Wanted::Ready(snapshot, value) => Ok(Level { snapshot, value }),
            Wanted::Make(making) => {
                self.expect_one_more(&ground);
                let (lab, level) = self.lab(&ground, Some(&making)).await?;
                let point = setups
                    .last()
                    .map_or_else(|| "ready".to_owned(), ToString::to_string);
                making.keep(&lab, &level.snapshot, &point, level.value.clone());
                *made = Some(lab);
                Ok(level)
            }
            Wanted::None => {
                self.expect_one_more(&ground);
                let (lab, level) = self.lab(&ground, None).await?;
                *made = Some(lab);
                Ok(level)
            }
        }
    }

    /// The last that is made is a test's own; before that, there is one for each state on the way.
    fn expect_one_more(&self, ground: &Ground) {
        if self.afterwards == Afterwards::End {
            ground.prepared.ahead.expect(1);
        }
    }

    /// A lab that comes to this state, and is saved there.
    async fn lab(&self, ground: &Ground, making: Option<&Making>) -> Result<(Lab, Level)> {
        let labs = self.labs;
        let Some(last) = self.depth.checked_sub(1) else {
            return self.booted(ground, making).await;
        };
        let mut before = None;
        labs.expect(&self.stage.setups[last]);
        // Its memory is its own; one that is to be saved has it in a file.
        let then = Afterwards::End;
        let level = level(labs, self.stage, last, self.context, then, &mut before).await?;
        if let Some(before) = before {
            before.end().await;
        }
        let recorder = &self.context.recorder;
        let directory = making.map(Making::directory);
        let fork = level.snapshot.fork_in(
            self.context.clone(),
            MemoryUse::Copied,
            directory,
            Until::Runs,
        );
        let lab = labs.unless_interrupted(fork).await.map_err(not_up)?;
        lab.start_ahead();
        recorder.enter(Phase::Test);
        let setup = &self.stage.setups[last];
        let done = async {
            let value = labs.run(&lab, setup, level.value.clone()).await?;
            recorder.enter(Phase::Snapshot);
            let saved = lab.snapshot_in(None, self.afterwards);
            let snapshot = labs.unless_interrupted(saved).await?;
            Ok(Level { snapshot, value })
        };
        match done.await {
            Ok(level) => Ok((lab, level)),
            Err(error) => Err(labs.broken(&lab, self.stage, Some(last), error).await),
        }
    }

    async fn booted(&self, ground: &Ground, making: Option<&Making>) -> Result<(Lab, Level)> {
        let plan = (*self.stage.plan).clone();
        let prepared = ground.prepared.clone();
        let created = Lab::create_prepared(plan, self.context.clone(), prepared, Phase::Spawn);
        let lab = self
            .labs
            .unless_interrupted(created)
            .await
            .map_err(not_up)?;
        lab.start_ahead();
        let directory = making.map(Making::directory);
        let booted = self
            .labs
            .unless_interrupted(lab.boot_and_save(directory, self.afterwards));
        match booted.await {
            Ok(snapshot) => {
                let value = Value::Null;
                Ok((lab, Level { snapshot, value }))
            }
            Err(error) => Err(self.labs.broken(&lab, self.stage, None, error).await),
        }
    }
}

fn key(setup: &StageSetup) -> SetupKey {
    match &setup.kind {
        StageKind::Steps(steps) => SetupKey::of_steps(&setup.name, steps),
        StageKind::Script(script) => SetupKey::of_file(&setup.name, script),
        StageKind::Rust(_) => RustSetup::key(&setup.name),
        StageKind::Function { key, .. } => SetupKey {
            name: setup.name.clone(),
            code: key.clone(),
        },
    }
}

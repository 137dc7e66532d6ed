//! Where labs come from: nothing else of a run boots any.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use attest_events::{EventKind, FailureDetail, Part, Phase, ProcessKind};
use serde_json::Value;
use tokio::sync::watch;

use super::judge::detail_on;
use super::levels::{self, Level, Levels};
use super::options::Keep;
use super::script_test::{self, ScriptPart, ScriptRunner};
use super::stage::{Stage, StageKind, StageSetup};
use super::usage::Count;
use super::{steps, usage};
use crate::error::{Error, Result};
use crate::lab::{Lab, LabContext};
use crate::limit::Limit;
use crate::schedule::Usage;
use crate::snapshot::{Afterwards, FailedLabs, MemoryUse, SnapshotUse, Until};

/// Makes labs for tests.
#[derive(Debug)]
pub struct Labs {
    /// What runs set-ups that are scripts.
    pub(super) scripts: Option<Arc<dyn ScriptRunner>>,
    /// Becomes true when the user wants an orderly stop.
    pub(super) interrupted: watch::Receiver<bool>,
    levels: Levels,
    /// Keeps labs of failed tests, where that is wanted.
    failed: Option<FailedLabs>,
}

/// A lab in the state that a test begins from.
#[derive(Debug)]
pub struct Provided {
    /// All its machines are ready.
    pub lab: Lab,
    /// What its last set-up returned; null when there is none, or it returned nothing.
    pub value: Value,
}

impl Labs {
    /// `interrupted` becomes true when the user wants an orderly stop.
    pub fn new(scripts: Option<Arc<dyn ScriptRunner>>, interrupted: watch::Receiver<bool>) -> Self {
        Self {
            scripts,
            interrupted,
            levels: Levels::default(),
            failed: None,
        }
    }

    /// The same, and labs of failed tests are kept.
    pub(crate) fn keeping(self, failed: FailedLabs) -> Self {
        Self {
            failed: Some(failed),
            ..self
        }
    }

    /// A lab for one test: one that goes on from where such a lab was saved, or one that boots.
    ///
    /// # Errors
    /// [`Error::Stage`]: it did not come up, or a set-up failed; [`Error::Interrupted`]. The lab is
    /// gone then.
    pub async fn provide(&self, stage: &Stage, context: LabContext) -> Result<Provided> {
        context.recorder.part(Part::Images);
        let machines = stage.plan.machines.iter();
        context
            .recorder
            .lab_started(machines.map(|machine| &machine.name));
        let ground = self.levels.ground(&stage.plan, &context);
        let ground = self.unless_interrupted(ground).await;
        let ground = ground.map_err(not_up)?;
        if context.snapshots == SnapshotUse::Needed {
            let found = async { Ok(levels::found(&ground, stage, &context).await) };
            if let Some(level) = self.unless_interrupted(found).await? {
                return self.fork(&level, context).await;
            }
        } else if ground.keeper.is_some() {
            return self.forked(stage, context).await;
        }
        let plan = (*stage.plan).clone();
        let making = Lab::create_prepared(plan, context, ground.prepared.clone(), Phase::Spawn);
        let lab = self.unless_interrupted(making).await.map_err(not_up)?;
        match self.boot_and_set_up(&lab, stage).await {
            Ok(value) => Ok(Provided { lab, value }),
            Err((set_ups, error)) => Err(self.broken(&lab, stage, set_ups, error).await),
        }
    }

    /// A lab that came to a set-up, or to none, and not further, ends.
    pub(super) async fn broken(
        &self,
        lab: &Lab,
        stage: &Stage,
        set_ups: Option<usize>,
        error: Error,
    ) -> Error {
        if matches!(error, Error::Stage { .. }) {
            return error;
        }
        let detail = match set_ups {
            // What never came up cannot be saved, either.
            None => detail_on(lab, &error).await,
            Some(_) => self.detail_on(lab, &error).await,
        };
        end(lab).await;
        let setup = set_ups.map(|place| &stage.setups[place]);
        failed(named(detail, setup), &error, set_ups)
    }

    /// What is known of an error that happened on a lab which was up. It is kept first, where that is wanted: what is
    /// asked of its machines then would change them.
    pub(crate) async fn detail_on(&self, lab: &Lab, error: &Error) -> FailureDetail {
        let kept = match &self.failed {
            Some(failed) => failed.keep(lab, error).await,
            None => None,
        };
        lab.recorder().part(Part::Findings);
        let detail = detail_on(lab, error).await;
        FailureDetail {
            kept: kept.or(detail.kept),
            ..detail
        }
    }

    async fn forked(&self, stage: &Stage, context: LabContext) -> Result<Provided> {
        let mut made = None;
        let level = levels::level(
            self,
            stage,
            stage.setups.len(),
            &context,
            Afterwards::GoOn,
            &mut made,
        )
        .await?;
        match made {
            Some(lab) => Ok(Provided {
                lab,
                value: level.value.clone(),
            }),
            None => self.fork(&level, context).await,
        }
    }

    async fn fork(&self, level: &Level, context: LabContext) -> Result<Provided> {
        let fork = level
            .snapshot
            .fork_in(context, MemoryUse::Private, None, Until::Runs);
        let lab = self.unless_interrupted(fork).await.map_err(not_up)?;
        let value = level.value.clone();
        Ok(Provided { lab, value })
    }

    /// Whether they are kept.
    pub(super) fn keep(&self) -> Keep {
        match self.failed {
            Some(_) => Keep::Failed,
            None => Keep::Never,
        }
    }

    pub(super) fn levels(&self) -> &Levels {
        &self.levels
    }

    /// Boot it, and do all that is to be done; an error comes with the set-up's place.
    async fn boot_and_set_up(
        &self,
        lab: &Lab,
        stage: &Stage,
    ) -> Result<Value, (Option<usize>, Error)> {
        let booted = self.unless_interrupted(lab.start_all()).await;
        booted.map_err(|error| (None, error))?;
        lab.recorder().enter(Phase::Test);
        let mut value = Value::Null;
        for (place, setup) in stage.setups.iter().enumerate() {
            let done = self.run(lab, setup, value).await;
            value = done.map_err(|error| (Some(place), error))?;
        }
        Ok(value)
    }

    /// This set-up is going to be done: what runs it may begin with what needs no lab.
    pub(super) fn expect(&self, setup: &StageSetup) {
        if let (Some(scripts), Some(script)) = (&self.scripts, setup.script()) {
            scripts.expect(script, 1, 1);
        }
    }

    /// Do what a set-up does, with what the one before it returned; gives what it returns itself.
    pub(super) async fn run(&self, lab: &Lab, setup: &StageSetup, value: Value) -> Result<Value> {
        let text = setup.to_string();
        lab.recorder().record(EventKind::Progress { text });
        let artifacts = artifacts_of(lab.output());
        let work = async {
            let part = |value| ScriptPart::Setup {
                name: setup.name.clone(),
                value,
            };
            let scripts = self.scripts.as_deref();
            match &setup.kind {
                StageKind::Steps(steps) => {
                    steps::run(lab, steps, &artifacts).await?;
                    Ok(Value::Null)
                }
                StageKind::Script(script) => {
                    script_test::run_part(scripts, lab, script, &ScriptPart::Whole, &artifacts)
                        .await
                }
                StageKind::Function { script, .. } => {
                    script_test::run_part(scripts, lab, script, &part(value), &artifacts).await
                }
                StageKind::Rust(setup) => setup.run(lab.clone(), value).await,
            }
        };
        let limit = Limit::of_setup(setup.timeout);
        self.unless_interrupted(lab.lend(limit, work)).await?
    }

    pub(super) async fn unless_interrupted<T>(
        &self,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let mut interrupted = self.interrupted.clone();
        tokio::select! {
            done = work => done,
            () = is_true(&mut interrupted) => Err(Error::Interrupted),
        }
    }
}

/// A lab that was never there.
pub(super) fn not_up(error: Error) -> Error {
    match error {
        Error::Interrupted | Error::Stage { .. } => error,
        error => failed(error.detail(), &error, None),
    }
}

/// Where a test's artifacts go, beside its consoles.
pub(super) fn artifacts_of(output: &Path) -> std::path::PathBuf {
    output.join("artifacts")
}

/// Resolves when it is true, and never when nobody can say so any more.
pub(super) async fn is_true(flag: &mut watch::Receiver<bool>) {
    if flag.wait_for(|flag| *flag).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// End a lab, in its phase; gives what it used.
pub(super) async fn end(lab: &Lab) -> Usage {
    lab.recorder().enter(Phase::Shutdown);
    lab.recorder().part(Part::Usage);
    let machines = &lab.shared.plan.machines;
    let are_virtual = machines.iter().all(|machine| machine.backend.is_virtual());
    let count = if are_virtual {
        Count::Whole
    } else {
        Count::Parts
    };
    let (used, cpu) = usage::of_processes(lab.pid(), count);
    lab.recorder()
        .cpu_used(ProcessKind::Machines, cpu, Duration::ZERO);
    lab.shutdown().await;
    used
}

/// The set-up that it happened in goes before what happened.
pub(super) fn named(mut detail: FailureDetail, setup: Option<&StageSetup>) -> FailureDetail {
    if let Some(setup) = setup {
        detail.message = format!("{setup} failed: {}", detail.message);
    }
    detail
}

pub(super) fn failed(detail: FailureDetail, error: &Error, set_ups: Option<usize>) -> Error {
    Error::Stage {
        detail: Box::new(detail),
        verdict: error.verdict(),
        set_ups,
    }
}

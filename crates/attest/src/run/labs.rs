//! Where labs come from: nothing else of a run boots any.

use std::path::Path;
use std::sync::Arc;

use attest_events::{EventKind, FailureDetail, Phase};
use serde_json::Value;
use tokio::sync::watch;

use super::judge::detail_on;
use super::script_test::{self, ScriptPart, ScriptRunner};
use super::stage::{Stage, StageKind, StageSetup};
use super::steps;
use crate::error::{Error, Result};
use crate::lab::{Lab, LabContext};
use crate::limit::Limit;
use crate::schedule::Usage;

/// Makes labs for tests.
#[derive(Debug, Clone)]
pub struct Labs {
    /// What runs set-ups that are scripts.
    pub scripts: Option<Arc<dyn ScriptRunner>>,
    /// Becomes true when the user wants an orderly stop.
    pub interrupted: watch::Receiver<bool>,
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
    /// A lab for one test.
    ///
    /// # Errors
    /// [`Error::Stage`]: it did not come up, or a set-up failed; [`Error::Interrupted`]. The lab is
    /// gone then.
    pub async fn provide(&self, stage: &Stage, context: LabContext) -> Result<Provided> {
        let making = Lab::create((*stage.plan).clone(), context);
        let made = self.unless_interrupted(making).await;
        let lab = made.map_err(|error| match error {
            Error::Interrupted => error,
            error => failed(error.detail(), &error, None),
        })?;
        match self.set_up(&lab, stage).await {
            Ok(value) => Ok(Provided { lab, value }),
            Err((set_ups, error)) => {
                let detail = detail_on(&lab, &error).await;
                end(&lab).await;
                let setup = set_ups.map(|place| &stage.setups[place]);
                Err(failed(named(detail, setup), &error, set_ups))
            }
        }
    }

    /// Boot it, and do all that is to be done; an error comes with the set-up's place.
    async fn set_up(&self, lab: &Lab, stage: &Stage) -> Result<Value, (Option<usize>, Error)> {
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
            }
        };
        let limit = Limit::of_setup(setup.timeout);
        self.unless_interrupted(lab.lend(limit, work)).await?
    }

    async fn unless_interrupted<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let mut interrupted = self.interrupted.clone();
        tokio::select! {
            done = work => done,
            () = is_true(&mut interrupted) => Err(Error::Interrupted),
        }
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

/// End a lab, in its phase; gives what it used. Nobody measures that yet.
pub(super) async fn end(lab: &Lab) -> Usage {
    lab.recorder().enter(Phase::Shutdown);
    lab.shutdown().await;
    Usage::default()
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

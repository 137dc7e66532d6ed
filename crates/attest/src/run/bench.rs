//! Where tests meet their labs: one try of one test.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use attest_events::{Phase, Verdict};
use attest_manifest::TestKind;
use attest_vmm::BoxFuture;
use serde_json::Value;

use super::engine::{Attempt, Bench};
use super::job::Job;
use super::judge::Judged;
use super::labs::{self, Labs, Provided};
use super::script_test::{self, ScriptPart};
use super::select::SelectedTest;
use super::stage::{Stage, StageSetup};
use super::{rust_test, steps};
use crate::error::{Error, Result};
use crate::lab::{Lab, LabContext};
use crate::limit::Limit;
use crate::schedule::Usage;
use crate::snapshot::SnapshotUse;

/// Runs tests on labs.
#[derive(Debug)]
pub(super) struct LabBench {
    labs: Labs,
    cache: Option<PathBuf>,
    /// The run's own: Rust tests make theirs in it.
    output: PathBuf,
    snapshots: SnapshotUse,
    broken: Mutex<Vec<Broken>>,
}

/// A state that no lab comes to.
#[derive(Debug)]
struct Broken {
    stage: Stage,
    /// How many of its set-ups are done when it breaks; `None`: it does not even boot.
    set_ups: Option<usize>,
    /// The test that found out, …
    tried_by: String,
    /// … and which time that was.
    round: u32,
}

/// The lab of a job.
#[derive(Debug)]
pub(super) struct Place {
    lab: Lab,
    /// What was done to it for the tests that share it, each with what it returned.
    done: Vec<(StageSetup, Value)>,
}

impl Place {
    fn new(lab: Lab) -> Self {
        Self {
            lab,
            done: Vec::new(),
        }
    }
}

/// The clock of one try: it starts when its lab is ready.
#[derive(Debug)]
struct Ran {
    timeout: Duration,
    run: Limit,
    began: Option<Instant>,
}

impl Ran {
    fn start(&mut self) -> Limit {
        self.began = Some(Instant::now());
        Limit::of_test(self.timeout).or_before(self.run)
    }

    fn duration(&self) -> Duration {
        self.began.map(|began| began.elapsed()).unwrap_or_default()
    }
}

impl Bench for LabBench {
    type Place = Option<Place>;

    fn attempt<'a>(
        &'a self,
        attempt: &'a Attempt<'a>,
        place: &'a mut Self::Place,
    ) -> BoxFuture<'a, Judged> {
        Box::pin(async move {
            if let Some(skipped) = self.skipped(attempt) {
                return skipped;
            }
            let mut ran = Ran {
                timeout: attempt.case.test.timeout,
                run: attempt.source.limit(),
                began: None,
            };
            match self.run(attempt, place, &mut ran).await {
                Ok(Some(judged)) => judged,
                Ok(None) => Judged::passed(ran.duration()),
                Err(error) => {
                    if let Some(skipped) = self.remember(attempt, &error) {
                        return skipped;
                    }
                    let duration = ran.duration();
                    let lab = place.as_ref().map(|place| &place.lab);
                    let failure = match lab {
                        Some(lab) => self.labs.detail_on(lab, &error).await,
                        None => error.detail(),
                    };
                    Judged::not_passed(&error, failure, duration, lab)
                }
            }
        })
    }

    fn clear<'a>(&'a self, place: &'a mut Self::Place) -> BoxFuture<'a, Usage> {
        Box::pin(async move {
            match place.take() {
                Some(place) => labs::end(&place.lab).await,
                None => Usage::default(),
            }
        })
    }
}

impl LabBench {
    /// These jobs are going to be run: each has a lab of its own, but Rust tests make theirs themselves.
    pub(super) fn expect(&self, jobs: &[Job]) {
        let first = jobs.iter().filter_map(|job| job.cases.first());
        for test in first.map(|case| &case.test) {
            if !matches!(test.kind, TestKind::Rust(_)) {
                self.labs.levels().ahead(&test.stage().plan).expect(1);
            }
        }
    }

    /// Nothing more is run.
    pub(super) async fn end(&self) {
        self.labs.levels().end().await;
    }

    pub(super) fn new(
        labs: Labs,
        cache: Option<PathBuf>,
        output: PathBuf,
        snapshots: SnapshotUse,
    ) -> Self {
        Self {
            labs,
            cache,
            output,
            snapshots,
            broken: Mutex::default(),
        }
    }

    /// A verdict where the test gives one itself.
    async fn run(
        &self,
        attempt: &Attempt<'_>,
        place: &mut Option<Place>,
        ran: &mut Ran,
    ) -> Result<Option<Judged>> {
        if ran.run.is_past() {
            return Err(ran.run.passed(attempt.recorder));
        }
        let test = &attempt.case.test;
        if let TestKind::Rust(_) = &test.kind {
            return self.rust(attempt, ran).await.map(Some);
        }
        let value = self.at_its_stage(attempt, place).await?;
        let lab = &place.as_ref().expect("it is there now").lab;
        lab.start_ahead();
        attempt.recorder.enter(Phase::Test);
        let work = lab.lend(ran.start(), self.on_lab(lab, test, value));
        self.labs.unless_interrupted(work).await??;
        Ok(None)
    }

    fn context(&self, attempt: &Attempt<'_>, output: &Path) -> LabContext {
        LabContext {
            recorder: attempt.recorder.clone(),
            output: output.to_owned(),
            cache: self.cache.clone(),
            snapshots: self.snapshots,
        }
    }

    /// Let the job have a lab where what the test wants was done, and give what the last returned.
    async fn at_its_stage(
        &self,
        attempt: &Attempt<'_>,
        place: &mut Option<Place>,
    ) -> Result<Value> {
        let stage = attempt.case.test.stage();
        if !stage.plan.shares_lab() {
            let Provided { lab, value } = self.provide(attempt, stage).await?;
            *place = Some(Place::new(lab));
            return Ok(value);
        }
        if place.is_none() {
            // Another test of this lab may want less to be done.
            let booted = Stage {
                plan: Arc::clone(&stage.plan),
                setups: Vec::new(),
            };
            let Provided { lab, .. } = self.provide(attempt, &booted).await?;
            *place = Some(Place::new(lab));
        }
        let Place { lab, done } = place.as_mut().expect("it is there now");
        attempt.recorder.enter(Phase::Test);
        let mut value = Value::Null;
        for (number, setup) in stage.setups.iter().enumerate() {
            if let Some((_, returned)) = done.iter().find(|(done, _)| done == setup) {
                value = returned.clone();
                continue;
            }
            let ran = self.labs.run(lab, setup, value).await;
            value = ran.map_err(|error| {
                let detail = labs::named(error.detail(), Some(setup));
                labs::failed(detail, &error, Some(number))
            })?;
            done.push((setup.clone(), value.clone()));
        }
        Ok(value)
    }

    async fn provide(&self, attempt: &Attempt<'_>, stage: &Stage) -> Result<Provided> {
        let output = attempt.output;
        std::fs::create_dir_all(output).map_err(Error::io(format!(
            "the test's output directory {} cannot be made",
            output.display()
        )))?;
        let context = self.context(attempt, output);
        self.labs.provide(stage, context).await
    }

    async fn on_lab(&self, lab: &Lab, test: &SelectedTest, value: Value) -> Result<()> {
        let artifacts = labs::artifacts_of(lab.output());
        match &test.kind {
            TestKind::Steps(steps) => steps::run(lab, steps, &artifacts).await,
            TestKind::Script(script) => {
                let part = match test.function() {
                    None => ScriptPart::Whole,
                    Some(name) => ScriptPart::Test {
                        name: name.to_owned(),
                        value,
                    },
                };
                let scripts = self.labs.scripts.as_deref();
                script_test::run_part(scripts, lab, script, &part, &artifacts)
                    .await
                    .map(drop)
            }
            TestKind::Rust(_) => unreachable!("it has a lab of its own"),
        }
    }

    async fn rust(&self, attempt: &Attempt<'_>, ran: &mut Ran) -> Result<Judged> {
        let test = &attempt.case.test;
        let timeouts = &attempt.source.plan.timeouts;
        let longest = timeouts.boot + test.timeout.max(timeouts.test) + timeouts.shutdown;
        ran.start();
        let limit = ran.run;
        let context = self.context(attempt, &self.output);
        let work = rust_test::run(test, context, self.labs.keep(), longest);
        let work = async {
            let done = tokio::time::timeout_at(limit.at, work).await;
            done.map_err(|_| limit.passed(attempt.recorder))?
        };
        self.labs.unless_interrupted(work).await
    }

    /// A lab that did not come up for one test does not for the next.
    fn skipped(&self, attempt: &Attempt<'_>) -> Option<Judged> {
        skipped(&self.broken.lock().expect("not poisoned"), attempt)
    }

    /// For the next test that wants the same. Where one that ran beside it was first, its failure is
    /// the one that is told.
    fn remember(&self, attempt: &Attempt<'_>, error: &Error) -> Option<Judged> {
        let Error::Stage {
            set_ups, verdict, ..
        } = error
        else {
            return None;
        };
        // Another try may do better.
        if *verdict == Verdict::Interrupted || !attempt.is_last {
            return None;
        }
        let mut broken = self.broken.lock().expect("not poisoned");
        let skipped = skipped(&broken, attempt);
        if skipped.is_none() {
            broken.push(Broken {
                stage: attempt.case.test.stage().clone(),
                set_ups: *set_ups,
                tried_by: attempt.case.name.clone(),
                round: attempt.case.round,
            });
        }
        skipped
    }
}

fn skipped(broken: &[Broken], attempt: &Attempt<'_>) -> Option<Judged> {
    let test = &attempt.case.test;
    let broken = broken.iter().find(|broken| {
        let reach = broken.set_ups.map_or(0, |set_ups| set_ups + 1);
        // Whoever repeats tests wants to know whether it is so every time.
        broken.round == attempt.case.round && test.stage().begins_with(&broken.stage, reach)
    })?;
    let what = match broken.set_ups {
        None => "its lab did not come up".to_owned(),
        Some(place) => format!("its {} failed", broken.stage.setups[place]),
    };
    let message = format!("{what}: see `{}`", broken.tried_by);
    Some(Judged::not_begun(Verdict::Skipped, message))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use attest_events::FailureDetail;
    use tokio::sync::watch;

    use super::super::job::{Case, Source};
    use super::super::stage::StageKind;
    use super::*;
    use crate::recorder::Recorder;

    /// A test that wants these set-ups, at this time.
    fn case(name: &str, setups: &[&str], round: u32) -> Case {
        let plan = Arc::new(crate::Lab::builder().machine("a").plan().unwrap());
        let setup = |name: &&str| StageSetup {
            name: (*name).to_owned(),
            timeout: Duration::from_secs(1),
            kind: StageKind::Steps(Vec::new()),
        };
        let setups = setups.iter().map(setup).collect();
        Case {
            name: name.to_owned(),
            output: PathBuf::from("/out"),
            test: SelectedTest::of_steps(name, &plan).with_setups(setups),
            round,
        }
    }

    /// Tests find out, one after the other; gives what is told of each.
    fn told(failures: &[(Case, Option<usize>, bool)]) -> Vec<Option<String>> {
        let labs = Labs::new(None, watch::channel(false).1);
        let bench = LabBench::new(labs, None, PathBuf::from("/out"), SnapshotUse::Never);
        let recorder = Recorder::silent();
        let each = failures.iter().map(|(case, set_ups, is_last)| {
            let source = Source::new(Arc::clone(&case.test.stage().plan));
            let attempt = Attempt {
                source: &source,
                case,
                recorder: &recorder,
                output: Path::new("/out"),
                is_last: *is_last,
            };
            let error = Error::Stage {
                detail: Box::new(FailureDetail::default()),
                verdict: Verdict::Failed,
                set_ups: *set_ups,
            };
            let skipped = bench.skipped(&attempt);
            let skipped = skipped.or_else(|| bench.remember(&attempt, &error));
            skipped.map(|skipped| skipped.failure.unwrap().message)
        });
        each.collect()
    }

    #[test]
    fn a_state_that_cannot_be_is_tried_once() {
        let told = told(&[
            (case("one", &["base", "broken"], 0), Some(1), true),
            (case("other", &["base", "broken", "more"], 0), Some(1), true),
            (case("before", &["base"], 0), Some(0), false),
            (case("later", &["base", "broken"], 1), Some(1), true),
            (case("dark", &["base"], 1), None, true),
            (case("any", &[], 1), None, true),
        ]);
        let expected = [
            None,
            Some("its set-up `broken` failed: see `one`"),
            None,
            None,
            None,
            Some("its lab did not come up: see `dark`"),
        ];
        assert_eq!(told, expected.map(|told| told.map(str::to_owned)));
    }
}

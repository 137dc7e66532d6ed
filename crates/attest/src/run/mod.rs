//! A run: the tests of some manifests, each on its lab, with verdicts and a breakdown.

mod bench;
mod engine;
mod job;
mod judge;
mod labs;
mod levels;
mod options;
mod output;
mod program;
mod rust_function;
mod rust_test;
mod script_test;
mod select;
mod split;
mod stage;
mod steps;
mod usage;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use attest_events::{EventKind, ExitCode, Part, Summary, Verdict};
use attest_manifest::TestKind;
use tokio::sync::watch;

use crate::recorder::Recorder;
use crate::schedule::{Budget, History, Measured, Order, Usage, spare_memory};
use crate::snapshot::{FailedLabs, SnapshotUse};
use bench::LabBench;
use engine::{Ended, Engine};
use job::{Job, Jobs};

pub(crate) use judge::Judged;
pub use labs::{Labs, Provided};
pub use options::{Keep, Options, Repeat};
pub use output::{OUTPUT_VARIABLE, OutputDirectory, file_name, timestamp};
pub(crate) use rust_function::guarded;
pub use rust_function::{AnyError, RustSetup, SetupFunction};
pub use script_test::{
    ScriptOutline, ScriptPart, ScriptRunner, ScriptSetup, ScriptTest, ScriptVerdict,
};
pub use select::{LabRun, Overrides, SelectedTest, Selection};
pub use split::{SelectedJob, UnknownJob, UnknownTest};
pub use stage::{Stage, StageKind, StageSetup};

/// Names the pipe to which a Rust test writes its events, for the run that started it.
pub const EVENTS_VARIABLE: &str = "ATTEST_EVENTS";

/// Says which labs are kept after their tests, as [`Keep`] is written.
pub const KEEP_VARIABLE: &str = "ATTEST_KEEP";

/// Gives a Rust test its time, in milliseconds, without the boot of its lab.
pub const TIMEOUT_VARIABLE: &str = "ATTEST_TEST_TIMEOUT_MS";

/// A run.
#[derive(Debug)]
pub struct Run {
    /// Takes the events; its clock began with the program.
    pub recorder: Recorder,
    /// Receives consoles, logs and artifacts.
    pub output: OutputDirectory,
    /// The cache directory, when it is not the default.
    pub cache: Option<PathBuf>,
    /// Becomes true when the user wants an orderly stop.
    pub interrupted: watch::Receiver<bool>,
    /// What runs scripts; without it they are refused.
    pub scripts: Option<Arc<dyn ScriptRunner>>,
    /// How the tests are run.
    pub options: Options,
}

impl Run {
    /// Run the selected tests. The events end with [`EventKind::RunEnded`].
    pub async fn run(self, selection: Selection) -> ExitCode {
        let options = &self.options;
        let order = options.order();
        let mut jobs = Jobs::new(
            &selection.labs,
            self.output.path(),
            &options.history,
            options.repeat,
        );
        let rounds = options.repeat.rounds_from(0);
        let mut next = rounds.end;
        let mut planned: Vec<Job> = rounds.flat_map(|round| jobs.round(round)).collect();
        self.started(&planned, order, &selection.parts);
        let mut engine = self.engine(jobs.is_single());
        let mut summary = Summary::default();
        let mut took = History::default();
        while !planned.is_empty() {
            // Another order for every round, where the order is any.
            round_order(order, next).sort(&mut planned, |job| job.expected);
            let named = planned.iter().map(names).collect::<Vec<_>>();
            self.expect_scripts(&planned);
            engine.bench.expect(&planned);
            for ended in engine.run(planned, &mut summary).await {
                learn(&mut took, &named, &ended);
            }
            let rounds = options.repeat.rounds_from(next);
            if engine.stops_at_failure && summary.is_bad() || *self.interrupted.borrow() {
                break;
            }
            next = rounds.end;
            planned = rounds.flat_map(|round| jobs.round(round)).collect();
        }
        self.recorder.part(Part::End);
        engine.bench.end().await;
        // What was broken off distorts what ran beside it.
        if summary.interrupted == 0 && took != History::default() {
            self.remember(&took);
        }
        self.recorder.own_cpu_used();
        self.recorder.end(summary)
    }

    fn started(&self, jobs: &[Job], order: Order, before: &[(Part, Instant)]) {
        let cases = jobs.iter().flat_map(|job| &job.cases);
        let started = EventKind::RunStarted {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            time: timestamp(SystemTime::now()),
            tests: cases.map(|case| case.name.clone()).collect(),
            jobs: self.options.jobs,
            output: self.output.path().display().to_string(),
        };
        self.recorder.run_started(started, before);
        if let Order::Random { .. } = order {
            self.recorder.record(EventKind::Chosen {
                what: "order".to_owned(),
                choice: order.to_string(),
                reason: format!("the same again with --order {order}"),
            });
        }
    }

    /// Let what runs scripts begin with what needs no lab.
    fn expect_scripts(&self, jobs: &[Job]) {
        let Some(scripts) = &self.scripts else { return };
        let mut parts: BTreeMap<&Path, usize> = BTreeMap::new();
        let never_saved = self.options.snapshots == SnapshotUse::Never;
        for case in jobs.iter().flat_map(|job| &job.cases) {
            let stage = case.test.stage();
            if never_saved || stage.always_boots() {
                // Its set-ups are done for it alone.
                for script in stage.setups.iter().filter_map(StageSetup::script) {
                    *parts.entry(script).or_default() += 1;
                }
            }
            if let TestKind::Script(script) = &case.test.kind {
                *parts.entry(script).or_default() += 1;
            }
        }
        let at_once = usize::try_from(self.options.jobs)
            .unwrap_or(1)
            .min(jobs.len());
        for (script, parts) in parts {
            scripts.expect(script, parts, at_once);
        }
    }

    fn engine(&self, is_single: bool) -> Engine<LabBench> {
        let labs = Labs::new(self.scripts.clone(), self.interrupted.clone());
        let labs = match self.options.keep {
            Keep::Never => labs,
            Keep::Failed => labs.keeping(FailedLabs::new(self.cache.clone())),
        };
        let output = self.output.path().to_owned();
        let snapshots = match self.options.snapshots {
            SnapshotUse::Needed if !is_single => SnapshotUse::Auto,
            snapshots => snapshots,
        };
        let bench = LabBench::new(labs, self.cache.clone(), output, snapshots);
        Engine {
            bench: Arc::new(bench),
            recorder: self.recorder.clone(),
            interrupted: self.interrupted.clone(),
            budget: Budget {
                jobs: self.options.jobs,
                memory: spare_memory(),
            },
            spare: spare_memory,
            retries: self.options.retries,
            stops_at_failure: self.options.stops_at_failure(),
        }
    }

    /// For the schedules of later runs.
    fn remember(&self, took: &History) {
        let default = crate::images::default_place();
        let Some(cache) = self.cache.clone().or(default) else {
            return;
        };
        if let Err(error) = took.add_to(&cache) {
            let message = crate::chain(&error);
            self.recorder.record(EventKind::Warning { message });
        }
    }
}

fn round_order(order: Order, next: u32) -> Order {
    match order {
        Order::Random { seed: Some(seed) } => Order::Random {
            seed: Some(seed.wrapping_add(u64::from(next) - 1)),
        },
        order => order,
    }
}

/// The lab of a job, and its tests, as the history knows them.
fn names(job: &Job) -> (String, Vec<String>) {
    let tests = job.cases.iter().map(|case| case.test.name.clone());
    (job.source.plan.name.clone(), tests.collect())
}

/// What was not run took no time, and what broke off did not use all that it would have.
fn learn(took: &mut History, named: &[(String, Vec<String>)], ended: &Ended) {
    let usage = match ended.verdict {
        Verdict::Interrupted | Verdict::Skipped => return,
        Verdict::Passed => ended.usage,
        _ => Usage::default(),
    };
    let (lab, tests) = &named[ended.job];
    let measured = Measured::of(ended.took, usage);
    took.set(lab, &tests[ended.case], measured);
}

//! A run: the tests of some manifests, each on its lab, with verdicts and a breakdown.

mod output;
mod rust_test;
mod script_test;
mod select;
mod steps;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use attest_events::{
    ConsoleTail, EventKind, ExitCode, FailureDetail, Phase, Summary, Verdict, nanoseconds,
};
use attest_manifest::TestKind;
use tokio::sync::watch;

use crate::error::{Error, Result};
use crate::lab::{Lab, LabContext};
use crate::limit::Limit;
use crate::recorder::Recorder;
use crate::systemd::journal_tails;

pub use output::{OUTPUT_VARIABLE, OutputDirectory, timestamp};
pub use script_test::{
    ScriptOutline, ScriptPart, ScriptRunner, ScriptSetup, ScriptTest, ScriptVerdict,
};
pub use select::{LabRun, Overrides, SelectedTest, Selection};

/// Names the pipe to which a Rust test writes its events, for the run that started it.
pub const EVENTS_VARIABLE: &str = "ATTEST_EVENTS";

/// Gives a Rust test its time, in milliseconds, without the boot of its lab.
pub const TIMEOUT_VARIABLE: &str = "ATTEST_TEST_TIMEOUT_MS";

/// Lines of each console that a failure shows.
const TAIL: usize = 20;

/// How a run is run.
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
}

impl Run {
    /// Run the selected tests, manifest by manifest. The events end with
    /// [`EventKind::RunEnded`].
    pub async fn run(mut self, selection: Selection) -> ExitCode {
        self.recorder.record(EventKind::RunStarted {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            time: timestamp(SystemTime::now()),
            tests: selection.names(),
            output: self.output.path().display().to_string(),
        });
        let mut summary = Summary::default();
        for lab in selection.labs {
            self.run_lab(lab, &mut summary).await;
        }
        self.recorder.end(summary)
    }

    /// The steps and scripts of one manifest share one lab; each Rust test brings its own.
    async fn run_lab(&mut self, lab: LabRun, summary: &mut Summary) {
        let limit = Limit::of_run(lab.plan.timeouts.run);
        let directory = self.output.path().to_owned();
        let mut shared: Option<Lab> = None;
        let mut down = None;
        for test in &lab.tests {
            self.recorder.set_test(Some(&test.name));
            self.recorder.record(EventKind::TestStarted);
            let ran = Ran::new(test.timeout, limit);
            let judged = match &test.kind {
                TestKind::Steps(_) | TestKind::Script(_) if down.is_some() => {
                    skipped(down.as_deref())
                }
                kind @ (TestKind::Steps(_) | TestKind::Script(_)) => {
                    let outcome = self.on_lab(&lab, &mut shared, kind, &ran).await;
                    let judged = judge(outcome, shared.as_ref(), ran.duration()).await;
                    if judged.verdict == Verdict::Infrastructure && !ran.has_begun() {
                        down = Some(test.name.clone());
                    }
                    judged
                }
                TestKind::Rust(_) => {
                    let outcome = self.rust(&lab, test, directory.clone(), &ran).await;
                    match outcome {
                        Ok(judged) => judged,
                        Err(error) => judge(Err(error), None, ran.duration()).await,
                    }
                }
            };
            let verdict = judged.verdict;
            summary.count(verdict);
            self.recorder.record(EventKind::TestEnded {
                verdict,
                duration_ns: nanoseconds(judged.duration),
                failure: judged.failure,
            });
            self.recorder.set_test(None);
            if verdict != Verdict::Passed {
                // The next test must not suffer from what this one left.
                self.end(shared.take()).await;
            }
        }
        self.end(shared).await;
    }

    async fn end(&self, lab: Option<Lab>) {
        if let Some(lab) = lab {
            self.recorder.enter(Phase::Shutdown);
            lab.shutdown().await;
        }
    }

    /// A test that comes too late is not begun.
    fn may_begin(&self, ran: &Ran) -> Result<()> {
        if *self.interrupted.borrow() {
            return Err(Error::Interrupted);
        }
        if ran.run.is_past() {
            return Err(ran.run.passed(&self.recorder));
        }
        Ok(())
    }

    async fn on_lab(
        &mut self,
        run: &LabRun,
        shared: &mut Option<Lab>,
        kind: &TestKind,
        ran: &Ran,
    ) -> Result<()> {
        self.may_begin(ran)?;
        let mut interrupted = self.interrupted.clone();
        let artifacts = self.output.path().join("artifacts");
        let work = async {
            if shared.is_none() {
                let context = LabContext {
                    recorder: self.recorder.clone(),
                    output: self.output.path().to_owned(),
                    cache: self.cache.clone(),
                };
                let lab = shared.insert(Lab::create(run.plan.clone(), context).await?);
                lab.start_all().await?;
            }
            let lab = shared.as_ref().expect("booted above");
            self.recorder.enter(Phase::Test);
            match kind {
                TestKind::Script(script) => {
                    let test = script_test::run(self.scripts.as_deref(), lab, script, &artifacts);
                    lab.lend(ran.start(), test).await?
                }
                TestKind::Steps(steps) => {
                    lab.lend(ran.start(), steps::run(lab, steps, &artifacts))
                        .await?
                }
                TestKind::Rust(_) => unreachable!("it has a lab of its own"),
            }
        };
        tokio::select! {
            outcome = work => outcome,
            _ = interrupted.wait_for(|interrupted| *interrupted) => Err(Error::Interrupted),
        }
    }

    async fn rust(
        &mut self,
        run: &LabRun,
        test: &SelectedTest,
        output: PathBuf,
        ran: &Ran,
    ) -> Result<Judged> {
        self.may_begin(ran)?;
        let mut interrupted = self.interrupted.clone();
        // It keeps its time itself. This ends one that does not.
        let timeouts = &run.plan.timeouts;
        let longest = timeouts.boot + test.timeout + timeouts.shutdown;
        ran.start();
        let limit = Limit::of_test(longest).or_before(ran.run);
        let work = rust_test::run(test, output, self.recorder.clone());
        tokio::select! {
            outcome = tokio::time::timeout_at(limit.at, work) => {
                outcome.map_err(|_| limit.passed(&self.recorder))?
            }
            _ = interrupted.wait_for(|interrupted| *interrupted) => Err(Error::Interrupted),
        }
    }
}

/// The clock of one test: it starts when its lab is ready.
#[derive(Debug)]
struct Ran {
    timeout: Duration,
    run: Limit,
    began: std::cell::Cell<Option<Instant>>,
}

impl Ran {
    fn new(timeout: Duration, run: Limit) -> Self {
        Self {
            timeout,
            run,
            began: std::cell::Cell::new(None),
        }
    }

    fn start(&self) -> Limit {
        self.began.set(Some(Instant::now()));
        Limit::of_test(self.timeout).or_before(self.run)
    }

    /// Whether it had its lab.
    fn has_begun(&self) -> bool {
        self.began.get().is_some()
    }

    fn duration(&self) -> Duration {
        let began = self.began.get();
        began.map(|began| began.elapsed()).unwrap_or_default()
    }
}

/// How a test ended, and what of its time was its own.
#[derive(Debug)]
struct Judged {
    verdict: Verdict,
    failure: Option<FailureDetail>,
    duration: Duration,
}

/// A lab that did not come up for one test does not for the next.
fn skipped(tried_by: Option<&str>) -> Judged {
    let tried_by = tried_by.unwrap_or_default();
    Judged {
        verdict: Verdict::Skipped,
        failure: Some(FailureDetail {
            message: format!("its lab did not come up: see `{tried_by}`"),
            ..FailureDetail::default()
        }),
        duration: Duration::ZERO,
    }
}

async fn judge(outcome: Result<()>, lab: Option<&Lab>, duration: Duration) -> Judged {
    let Err(error) = outcome else {
        return Judged {
            verdict: Verdict::Passed,
            failure: None,
            duration,
        };
    };
    let mut detail = error.detail();
    if let Some(lab) = lab {
        if matches!(error, Error::Interrupted) {
            // Whoever interrupts a run does not want to wait for guests.
            detail.consoles = console_tails(lab, None);
        } else {
            add_tails(&mut detail, lab).await;
        }
    }
    Judged {
        verdict: error.verdict(),
        failure: Some(detail),
        duration,
    }
}

/// Add what the machines said last.
pub(crate) async fn add_tails(detail: &mut FailureDetail, lab: &Lab) {
    detail.consoles = console_tails(lab, detail.machine.as_deref());
    let journals = journal_tails(lab, &detail.journals).await;
    detail.journals.extend(journals);
}

/// The ends of the consoles that matter: the machine's own, or all when it is nobody's.
fn console_tails(lab: &Lab, machine: Option<&str>) -> Vec<ConsoleTail> {
    let concerned = lab
        .machines()
        .iter()
        .filter(|each| machine.is_none_or(|name| name == each.name()));
    // One that never started has printed nothing, and has no file.
    concerned
        .map(|machine| (machine, machine.console().tail()))
        .filter(|(_, lines)| !lines.is_empty())
        .map(|(machine, lines)| ConsoleTail {
            machine: machine.name().to_owned(),
            lines: lines[lines.len().saturating_sub(TAIL)..].to_vec(),
            file: machine.console_file().display().to_string(),
        })
        .collect()
}

//! A run: the tests of some manifests, each on its lab, with verdicts and a breakdown.

mod output;
mod rust_test;
mod select;
mod steps;

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use attest_events::{
    ConsoleTail, EventKind, ExitCode, FailureDetail, Phase, Summary, Verdict, nanoseconds,
};
use attest_manifest::TestKind;
use tokio::sync::watch;

use crate::error::{Error, Result};
use crate::lab::{Lab, LabContext};
use crate::recorder::Recorder;

pub use output::{OUTPUT_VARIABLE, OutputDirectory, timestamp};
pub use select::{LabRun, Overrides, SelectedTest, Selection};

/// Names the pipe to which a Rust test writes its events, for the run that started it.
pub const EVENTS_VARIABLE: &str = "ATTEST_EVENTS";

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
        let deadline = selection
            .run_timeout()
            .map(|timeout| tokio::time::Instant::now() + timeout);
        for lab in selection.labs {
            self.run_lab(lab, deadline, &mut summary).await;
        }
        let exit_code = summary.exit_code();
        let breakdown = self.recorder.breakdown();
        self.recorder.record(EventKind::RunEnded {
            exit_code,
            summary,
            breakdown,
        });
        exit_code
    }

    /// The declarative tests of one manifest share one lab; each Rust test brings its own.
    async fn run_lab(
        &mut self,
        lab: LabRun,
        deadline: Option<tokio::time::Instant>,
        summary: &mut Summary,
    ) {
        let directory = self.output.path().to_owned();
        let mut shared: Option<Lab> = None;
        for test in &lab.tests {
            self.recorder.set_test(Some(&test.name));
            self.recorder.record(EventKind::TestStarted);
            let ran = Ran::begin(test.timeout, deadline);
            let (verdict, failure) = match &test.kind {
                TestKind::Steps(steps) => {
                    let outcome = self.steps(&lab, &mut shared, steps, &ran).await;
                    judge(outcome, shared.as_ref())
                }
                TestKind::Rust(_) => {
                    let outcome = self.rust(test, directory.clone(), &ran).await;
                    outcome.unwrap_or_else(|error| (error.verdict(), Some(error.detail())))
                }
            };
            summary.count(verdict);
            let duration_ns = nanoseconds(ran.duration());
            self.recorder.record(EventKind::TestEnded {
                verdict,
                duration_ns,
                failure,
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

    async fn steps(
        &mut self,
        run: &LabRun,
        shared: &mut Option<Lab>,
        steps: &[attest_manifest::StepPlan],
        ran: &Ran,
    ) -> Result<()> {
        let mut interrupted = self.interrupted.clone();
        if *interrupted.borrow() {
            return Err(Error::Interrupted);
        }
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
            ran.start();
            let test = tokio::time::timeout_at(ran.deadline(), steps::run(lab, steps, &artifacts));
            tokio::select! {
                outcome = test => outcome.map_err(|_| ran.timed_out())?,
                ended = lab.ended() => Err(ended),
            }
        };
        tokio::select! {
            outcome = work => outcome,
            _ = interrupted.wait_for(|interrupted| *interrupted) => Err(Error::Interrupted),
        }
    }

    async fn rust(
        &mut self,
        test: &SelectedTest,
        output: PathBuf,
        ran: &Ran,
    ) -> Result<(Verdict, Option<FailureDetail>)> {
        let mut interrupted = self.interrupted.clone();
        if *interrupted.borrow() {
            return Err(Error::Interrupted);
        }
        let (binary, name) = test.rust_test();
        ran.start();
        let work = rust_test::run(binary, name, output, self.recorder.clone());
        tokio::select! {
            outcome = tokio::time::timeout_at(ran.deadline(), work) => outcome.map_err(|_| ran.timed_out())?,
            _ = interrupted.wait_for(|interrupted| *interrupted) => Err(Error::Interrupted),
        }
    }
}

/// The clock of one test: it starts when its lab is ready.
#[derive(Debug)]
struct Ran {
    timeout: Duration,
    run_deadline: Option<tokio::time::Instant>,
    began: std::cell::Cell<Option<Instant>>,
}

impl Ran {
    fn begin(timeout: Duration, run_deadline: Option<tokio::time::Instant>) -> Self {
        Self {
            timeout,
            run_deadline,
            began: std::cell::Cell::new(None),
        }
    }

    fn start(&self) {
        self.began.set(Some(Instant::now()));
    }

    fn duration(&self) -> Duration {
        self.began
            .get()
            .map(|began| began.elapsed())
            .unwrap_or_default()
    }

    fn deadline(&self) -> tokio::time::Instant {
        let own = tokio::time::Instant::now() + self.timeout;
        self.run_deadline.map_or(own, |run| own.min(run))
    }

    fn timed_out(&self) -> Error {
        let (what, limit) = match self.run_deadline {
            Some(deadline) if tokio::time::Instant::now() >= deadline => ("the run", None),
            _ => ("the test", Some(self.timeout)),
        };
        Error::TestTimedOut { what, limit }
    }
}

fn judge(outcome: Result<()>, lab: Option<&Lab>) -> (Verdict, Option<FailureDetail>) {
    let Err(error) = outcome else {
        return (Verdict::Passed, None);
    };
    let mut detail = error.detail();
    if let Some(lab) = lab {
        detail.consoles = console_tails(lab, error.machine());
    }
    (error.verdict(), Some(detail))
}

/// The ends of the consoles that matter: the machine's own, or all when it is nobody's.
pub(crate) fn console_tails(lab: &Lab, machine: Option<&str>) -> Vec<ConsoleTail> {
    let concerned = lab
        .machines()
        .iter()
        .filter(|each| machine.is_none_or(|name| name == each.name()));
    concerned
        .map(|machine| {
            let lines = machine.console().tail();
            ConsoleTail {
                machine: machine.name().to_owned(),
                lines: lines[lines.len().saturating_sub(TAIL)..].to_vec(),
                file: machine.console_file().display().to_string(),
            }
        })
        .collect()
}

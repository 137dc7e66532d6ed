//! What `#[attest::test]` expands to: a lab around a test function.

use std::any::Any;
use std::error::Error as StdError;
use std::io::Write;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use attest_events::{EventKind, FailureDetail, Phase, Verdict, nanoseconds};
use attest_manifest::{LabPlan, Manifest};
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;

use crate::error::{Error, Result};
use crate::lab::{Lab, LabBuilder, LabContext};
use crate::limit::Limit;
use crate::recorder::{EventStream, Recorder};
use crate::run::{EVENTS_VARIABLE, OutputDirectory, TIMEOUT_VARIABLE, add_tails};
use crate::runtime::Run;
use crate::snapshot::SnapshotUse;

/// Where a test's lab comes from.
#[derive(Debug)]
pub enum Source {
    /// A manifest's file.
    Manifest(PathBuf),
    /// Code.
    Builder(Box<LabBuilder>),
}

impl Source {
    fn plan(&self) -> Result<LabPlan> {
        match self {
            Self::Manifest(path) => Ok(Manifest::load(path)?.plan()?),
            Self::Builder(builder) => builder.plan(),
        }
    }
}

/// What a test function may return.
pub trait Outcome {
    /// As a result with any error.
    fn outcome(self) -> Result<(), Box<dyn StdError + Send + Sync>>;
}

impl Outcome for () {
    fn outcome(self) -> Result<(), Box<dyn StdError + Send + Sync>> {
        Ok(())
    }
}

impl<E: Into<Box<dyn StdError + Send + Sync>>> Outcome for std::result::Result<(), E> {
    fn outcome(self) -> Result<(), Box<dyn StdError + Send + Sync>> {
        self.map_err(Into::into)
    }
}

/// Run a test function that is not `async`, on a thread where [`Run::run`] works.
pub async fn blocking<T: Send + 'static>(test: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(test).await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// The result of a test function.
pub type TestResult = std::result::Result<(), Box<dyn StdError + Send + Sync>>;

/// Boot the lab, run the test on it, shut the lab down, and panic when the test did not pass.
///
/// # Panics
/// When the test did not pass; that is how a Rust test fails.
pub fn run(
    name: &str,
    source: Source,
    test: impl FnOnce(Lab) -> LocalBoxFuture<'static, TestResult>,
) {
    let verdict = run_async(name, source, test).run();
    if let Err(failure) = verdict {
        panic!("{}", failure.message);
    }
}

async fn run_async(
    name: &str,
    source: Source,
    test: impl FnOnce(Lab) -> LocalBoxFuture<'static, TestResult>,
) -> std::result::Result<(), FailureDetail> {
    let (recorder, events) = Recorder::new(Instant::now());
    let writing = tokio::spawn(write_events(events));
    recorder.enter(Phase::Plan);
    let mut took = Duration::ZERO;
    let outcome = in_lab(name, source, test, &recorder, &mut took).await;
    let (verdict, failure) = match outcome {
        Ok(()) => (Verdict::Passed, None),
        Err((verdict, detail)) => (verdict, Some(detail)),
    };
    recorder.record(EventKind::TestEnded {
        verdict,
        duration_ns: nanoseconds(took),
        failure: failure.clone(),
        tries: 1,
    });
    drop(recorder);
    let _ = writing.await;
    if let Some(detail) = failure {
        show(&detail);
        return Err(detail);
    }
    Ok(())
}

type Judged = std::result::Result<(), (Verdict, FailureDetail)>;

async fn in_lab(
    name: &str,
    source: Source,
    test: impl FnOnce(Lab) -> LocalBoxFuture<'static, TestResult>,
    recorder: &Recorder,
    took: &mut Duration,
) -> Judged {
    let judge = |error: Error| (error.verdict(), error.detail());
    let plan = source.plan().map_err(judge)?;
    let timeout = timeout_of_run().unwrap_or(plan.timeouts.test);
    let output = OutputDirectory::create_for_test(name).map_err(judge)?;
    let context = LabContext {
        recorder: recorder.clone(),
        output: output.path().to_owned(),
        cache: None,
        snapshots: SnapshotUse::default(),
    };
    let lab = Lab::create(plan, context).await.map_err(judge)?;
    let booted = lab.start_all().await;
    recorder.enter(Phase::Test);
    let outcome = match booted {
        Ok(()) => {
            let guarded = AssertUnwindSafe(test(lab.clone())).catch_unwind();
            let began = Instant::now();
            let outcome = lab.lend(Limit::of_test(timeout), guarded).await;
            *took = began.elapsed();
            match outcome {
                Ok(Ok(outcome)) => outcome.map_err(judge_any),
                Ok(Err(panic)) => Err((Verdict::Failed, panicked(&*panic))),
                Err(error) => Err(judge(error)),
            }
        }
        Err(error) => Err(judge(error)),
    };
    let outcome = match outcome {
        Ok(()) => Ok(()),
        Err((verdict, mut detail)) => {
            add_tails(&mut detail, &lab).await;
            Err((verdict, detail))
        }
    };
    recorder.enter(Phase::Shutdown);
    lab.shutdown().await;
    if outcome.is_ok() {
        output.remove();
    }
    outcome
}

/// The time that the run which started this test gives it.
fn timeout_of_run() -> Option<Duration> {
    let milliseconds = std::env::var(TIMEOUT_VARIABLE).ok()?.parse().ok()?;
    Some(Duration::from_millis(milliseconds))
}

fn judge_any(error: Box<dyn StdError + Send + Sync>) -> (Verdict, FailureDetail) {
    match error.downcast::<Error>() {
        Ok(error) => (error.verdict(), error.detail()),
        Err(other) => (
            Verdict::Failed,
            FailureDetail {
                message: other.to_string(),
                ..FailureDetail::default()
            },
        ),
    }
}

fn panicked(panic: &(dyn Any + Send)) -> FailureDetail {
    let message = panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "the test panicked".to_owned());
    FailureDetail {
        message,
        ..FailureDetail::default()
    }
}

/// To the run that started this test, where there is one; nowhere else.
async fn write_events(mut events: EventStream) {
    let mut file = std::env::var_os(EVENTS_VARIABLE)
        .and_then(|path| std::fs::File::options().append(true).open(path).ok());
    while let Some(event) = events.next().await {
        let Some(file) = &mut file else { continue };
        if let Ok(mut line) = serde_json::to_vec(&event) {
            line.push(b'\n');
            let _ = file.write_all(&line);
        }
    }
}

fn show(detail: &FailureDetail) {
    for tail in &detail.journals {
        eprintln!(
            "--- the end of the journal of {} on {}:",
            tail.unit, tail.machine
        );
        for line in &tail.lines {
            eprintln!("    {}", line.escape_debug());
        }
    }
    for tail in &detail.consoles {
        eprintln!("--- the end of {}'s console ({}):", tail.machine, tail.file);
        for line in &tail.lines {
            eprintln!("    {}", line.escape_debug());
        }
    }
    for (what, text) in [("stdout", &detail.stdout), ("stderr", &detail.stderr)] {
        if let Some(text) = text.as_ref().filter(|text| !text.is_empty()) {
            eprintln!("--- the end of its {what}:\n{text}");
        }
    }
}

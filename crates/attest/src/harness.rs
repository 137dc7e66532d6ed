//! What `#[attest::test]` and `#[attest::setup]` expand to: a lab around a test function.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use attest_events::{EventKind, FailureDetail, Part, Phase, Verdict, nanoseconds};
use attest_manifest::{LabPlan, Manifest};
use futures_util::future::LocalBoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::watch;

pub use crate::run::{AnyError, SetupFunction};

use crate::error::{Error, Result};
use crate::lab::{Lab, LabBuilder, LabContext};
use crate::limit::Limit;
use crate::recorder::{EventStream, Recorder};
use crate::run::{
    EVENTS_VARIABLE, Judged, Keep, Labs, OutputDirectory, Overrides, Provided, RustSetup, Stage,
    StageKind, StageSetup, TIMEOUT_VARIABLE, guarded,
};
use crate::runtime::{self, Run};
use crate::snapshot::{FailedLabs, SnapshotUse};

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

    fn snapshots(&self) -> Option<SnapshotUse> {
        match self {
            Self::Manifest(_) => None,
            Self::Builder(builder) => builder.snapshots,
        }
    }
}

/// A lab, and the set-ups that bring it to the state that a test begins from.
#[derive(Debug)]
pub struct Chain {
    source: Source,
    setups: Vec<(&'static str, SetupFunction)>,
}

impl Chain {
    /// The lab as it has booted.
    pub fn of(source: Source) -> Self {
        Self {
            source,
            setups: Vec::new(),
        }
    }

    /// The same after one more set-up, with its name, of which there is no other in the program.
    #[must_use]
    pub fn then(mut self, name: &'static str, function: SetupFunction) -> Self {
        self.setups.push((name, function));
        self
    }

    fn stage(self) -> Result<Stage> {
        let mut plan = self.source.plan()?;
        Overrides::of_run()?.apply(&mut plan);
        let timeout = plan.timeouts.test;
        let setup = |(name, function): (&str, SetupFunction)| StageSetup {
            name: name.to_owned(),
            timeout,
            kind: StageKind::Rust(RustSetup(function)),
        };
        Ok(Stage {
            plan: Arc::new(plan),
            setups: self.setups.into_iter().map(setup).collect(),
        })
    }
}

/// What `#[attest::setup]` makes of a function: a type of the same name, for what begins from there.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no set-up",
    note = "write `#[attest::setup]` on its function"
)]
pub trait Setup {
    /// What it returns.
    type State: Serialize + DeserializeOwned;
    /// As messages name it: the function's path.
    const NAME: &'static str;
    /// How many set-ups lead to this state, itself included: those that go in a circle have no such number, and do
    /// not compile.
    const DEPTH: usize;
    /// Those set-ups.
    fn chain() -> Chain;
}

/// What a test or a set-up may return: nothing, or a result with any error.
#[diagnostic::on_unimplemented(
    message = "a test or a set-up returns `()` or a `Result`, not `{Self}`"
)]
pub trait Outcome {
    /// What it is when all is well.
    type Value;
    /// As a result with any error.
    fn outcome(self) -> Result<Self::Value, AnyError>;
}

impl Outcome for () {
    type Value = ();

    fn outcome(self) -> Result<(), AnyError> {
        Ok(())
    }
}

impl<T, E: Into<AnyError>> Outcome for Result<T, E> {
    type Value = T;

    fn outcome(self) -> Result<T, AnyError> {
        self.map_err(Into::into)
    }
}

/// What a set-up returned, as it is kept.
pub fn kept<T: Serialize>(outcome: impl Outcome<Value = T>) -> Result<Value, AnyError> {
    let state = outcome.outcome()?;
    serde_json::to_value(state)
        .map_err(|error| format!("what it returned cannot be kept as JSON: {error}").into())
}

/// The same for who goes on from there.
pub fn state<S: Setup>(value: Value) -> Result<S::State, AnyError> {
    serde_json::from_value(value).map_err(|error| {
        let name = S::NAME;
        format!("what set-up `{name}` returned is not what its type reads from JSON: {error}")
            .into()
    })
}

/// Run a function that is not `async`, on a thread where [`Run::run`] works.
pub async fn blocking<T: Send + 'static>(test: impl FnOnce() -> T + Send + 'static) -> T {
    runtime::blocking(test).await
}

/// The result of a test function.
pub type TestResult = Result<(), AnyError>;

/// Provide the lab, run the test on it with what the last set-up returned, shut the lab down, and panic when the test
/// did not pass. `snapshots` goes before what the lab's builder says, and that before the environment. With
/// `ATTEST_KEEP=failed`, the lab of a test that did not pass is kept first.
///
/// # Panics
/// When the test did not pass; that is how a Rust test fails.
pub fn run(
    name: &str,
    chain: Chain,
    snapshots: Option<SnapshotUse>,
    test: impl FnOnce(Lab, Value) -> LocalBoxFuture<'static, TestResult>,
) {
    let judged = run_async(name, chain, snapshots, test).run();
    if let Some(failure) = judged.failure {
        show(&failure);
        panic!("{}", failure.message);
    }
}

async fn run_async(
    name: &str,
    chain: Chain,
    snapshots: Option<SnapshotUse>,
    test: impl FnOnce(Lab, Value) -> LocalBoxFuture<'static, TestResult>,
) -> Judged {
    let (recorder, events) = Recorder::new(Instant::now());
    let writing = tokio::spawn(write_events(events));
    recorder.enter(Phase::Plan);
    let judged = match OutputDirectory::create_for_test(name) {
        Ok(output) => {
            let snapshots = snapshots.or(chain.source.snapshots()).unwrap_or_default();
            let context = LabContext {
                recorder: recorder.clone(),
                output: output.path().to_owned(),
                cache: None,
                snapshots,
            };
            let judged = on_lab(chain, context, labs(name), test).await;
            if judged.verdict == Verdict::Passed {
                output.remove();
            }
            judged
        }
        Err(error) => not_begun(&error),
    };
    recorder.part(Part::ClientEnd);
    recorder.own_cpu_used();
    recorder.record(EventKind::TestEnded {
        verdict: judged.verdict,
        duration_ns: nanoseconds(judged.duration),
        failure: judged.failure.clone(),
        tries: 1,
    });
    drop(recorder);
    let _ = writing.await;
    judged
}

/// Where the lab of this test comes from, and is kept.
fn labs(test: &str) -> Labs {
    // A signal ends the whole process.
    let (_, interrupted) = watch::channel(false);
    let labs = Labs::new(None, interrupted);
    match Keep::from_environment() {
        Keep::Never => labs,
        Keep::Failed => labs.keeping(FailedLabs::new(None).of_test(test)),
    }
}

fn not_begun(error: &Error) -> Judged {
    Judged::not_passed(error, error.detail(), Duration::ZERO, None)
}

async fn on_lab(
    chain: Chain,
    context: LabContext,
    labs: Labs,
    test: impl FnOnce(Lab, Value) -> LocalBoxFuture<'static, TestResult>,
) -> Judged {
    let recorder = context.recorder.clone();
    let provided = async {
        let stage = chain.stage()?;
        let timeout = timeout_of_run().unwrap_or(stage.plan.timeouts.test);
        Ok((labs.provide(&stage, context).await?, timeout))
    };
    let (Provided { lab, value }, timeout) = match provided.await {
        Ok(provided) => provided,
        Err(error) => return not_begun(&error),
    };
    recorder.enter(Phase::Test);
    recorder.part(Part::Script);
    let began = Instant::now();
    let work = guarded(test(lab.clone(), value));
    let outcome = lab.lend(Limit::of_test(timeout), work).await;
    let took = began.elapsed();
    let judged = match outcome.flatten() {
        Ok(()) => Judged::passed(took),
        Err(error) => {
            let failure = labs.detail_on(&lab, &error).await;
            Judged::not_passed(&error, failure, took, Some(&lab))
        }
    };
    recorder.enter(Phase::Shutdown);
    lab.shutdown().await;
    judged
}

/// The time that the run which started this test gives it.
fn timeout_of_run() -> Option<Duration> {
    let milliseconds = std::env::var(TIMEOUT_VARIABLE).ok()?.parse().ok()?;
    Some(Duration::from_millis(milliseconds))
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
    if let Some(command) = &detail.kept {
        eprintln!("--- its lab is kept: {command}");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[derive(Debug)]
    enum Database {}

    impl Setup for Database {
        type State = u32;
        const NAME: &'static str = "db::database";
        const DEPTH: usize = 1;

        fn chain() -> Chain {
            let lab = Lab::builder().machine("db");
            Chain::of(Source::Builder(Box::new(lab))).then(Self::NAME, |_, _| {
                Box::pin(async { kept(Ok::<_, AnyError>(7)) })
            })
        }
    }

    #[test]
    fn values_come_back_as_they_were() {
        let value = kept(Ok::<u32, AnyError>(7)).unwrap();
        assert_eq!(state::<Database>(value).unwrap(), 7);
        assert_eq!(kept(()).unwrap(), Value::Null);
    }

    #[test]
    fn values_that_cannot_be_kept_or_read_are_told() {
        let keys_are_no_text = HashMap::from([((1, 2), 3)]);
        let unkept = kept(Ok::<_, AnyError>(keys_are_no_text)).unwrap_err();
        assert_eq!(
            unkept.to_string(),
            "what it returned cannot be kept as JSON: key must be a string"
        );
        let other = state::<Database>("seven".into()).unwrap_err();
        assert_eq!(
            other.to_string(),
            "what set-up `db::database` returned is not what its type reads from JSON: invalid type: string \"seven\", \
             expected u32"
        );
    }

    #[test]
    fn set_ups_are_staged_in_their_order() {
        let chain =
            Database::chain().then("db::indexed", |_, value| Box::pin(async move { Ok(value) }));
        let stage = chain.stage().unwrap();
        let names = stage.setups.iter().map(|setup| setup.name.as_str());
        assert_eq!(names.collect::<Vec<_>>(), ["db::database", "db::indexed"]);
        assert_eq!(stage.setups[0].timeout, stage.plan.timeouts.test);
    }

    #[test]
    fn what_a_builder_says_of_snapshots_is_heard() {
        let lab = Lab::builder().snapshots(SnapshotUse::Never);
        let source = Source::Builder(Box::new(lab));
        assert_eq!(source.snapshots(), Some(SnapshotUse::Never));
        assert_eq!(Source::Manifest(PathBuf::new()).snapshots(), None);
    }
}

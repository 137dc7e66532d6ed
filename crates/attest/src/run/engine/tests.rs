//! The engine, with tests that do what they are told instead of labs.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Instant;

use attest_events::Event;
use tokio::sync::{Barrier, Notify};

use super::*;
use crate::recorder::EventStream;
use crate::run::select::SelectedTest;
use crate::schedule::Need;

use Verdict::{Failed, Infrastructure, Interrupted, Passed, Skipped, TimedOut};

/// What a test does at each of its tries; passes where nothing is said.
enum Does {
    Ends(Verdict),
    /// Waits for the others that do.
    Meets(Arc<Barrier>),
    /// Waits until it may pass.
    Waits(Arc<Notify>),
    /// Interrupts the run, and ends when that is known.
    Interrupts,
}

/// Remembers what it was asked for.
struct Fake {
    tests: HashMap<&'static str, Vec<Does>>,
    interrupt: watch::Sender<bool>,
    log: Mutex<Vec<String>>,
}

impl Bench for Fake {
    type Place = Option<u32>;

    fn attempt<'a>(
        &'a self,
        attempt: &'a Attempt<'a>,
        place: &'a mut Self::Place,
    ) -> BoxFuture<'a, Judged> {
        Box::pin(async move {
            let name = attempt.case.name.as_str();
            let number = place.map_or(1, |number| number + 1);
            *place = Some(number);
            let below = attempt.output.strip_prefix("/out").unwrap().display();
            let last = if attempt.is_last {
                ""
            } else {
                ", not the last try"
            };
            self.say(format!(
                "{name} at {below}, number {number} of its place{last}"
            ));
            let tries = ["try-2", "try-3"];
            let before = tries
                .iter()
                .position(|directory| attempt.output.ends_with(directory))
                .map_or(0, |place| place + 1);
            let verdict = match self.tests.get(name).and_then(|does| does.get(before)) {
                None => Passed,
                Some(Does::Ends(verdict)) => *verdict,
                Some(Does::Meets(barrier)) => {
                    barrier.wait().await;
                    Passed
                }
                Some(Does::Waits(notify)) => {
                    notify.notified().await;
                    Passed
                }
                Some(Does::Interrupts) => {
                    self.interrupt.send_replace(true);
                    Interrupted
                }
            };
            match verdict {
                Passed => Judged::passed(Duration::from_secs(1)),
                verdict => Judged::not_begun(verdict, format!("{name} was told so")),
            }
        })
    }

    fn clear<'a>(&'a self, place: &'a mut Self::Place) -> BoxFuture<'a, Usage> {
        Box::pin(async move {
            if place.take().is_some() {
                self.say("cleared".to_owned());
            }
            Usage::default()
        })
    }
}

impl Fake {
    fn say(&self, text: String) {
        self.log.lock().unwrap().push(text);
    }
}

struct Setting {
    engine: Engine<Fake>,
    events: EventStream,
}

/// What came of it.
struct Outcome {
    log: Vec<String>,
    events: Vec<Event>,
    summary: Summary,
}

fn setting<const N: usize>(jobs: u32, tests: [(&'static str, Vec<Does>); N]) -> Setting {
    let (recorder, events) = Recorder::new(Instant::now());
    let (interrupt, interrupted) = watch::channel(false);
    let bench = Fake {
        tests: tests.into(),
        interrupt,
        log: Mutex::default(),
    };
    let engine = Engine {
        bench: Arc::new(bench),
        recorder,
        interrupted,
        budget: Budget {
            jobs,
            memory: Some(100 * MIB),
        },
        spare: || None,
        retries: 0,
        stops_at_failure: false,
    };
    Setting { engine, events }
}

/// A job with these tests, which needs so many MiB.
fn job(tests: &[&str], memory: u64) -> Job {
    let plan = Arc::new(crate::Lab::builder().machine("a").plan().unwrap());
    let case = |name: &&str| Case {
        name: (*name).to_owned(),
        output: Path::new("/out").join(name),
        test: SelectedTest::of_steps(name, &plan),
        round: 0,
    };
    Job {
        cases: tests.iter().map(case).collect(),
        source: Arc::new(Source::new(plan)),
        need: Need {
            memory: memory * MIB,
            cpu: 0,
        },
        expected: None,
    }
}

fn jobs(tests: &[&str]) -> Vec<Job> {
    tests.iter().map(|test| job(&[test], 10)).collect()
}

impl Setting {
    async fn run(self, jobs: Vec<Job>) -> Outcome {
        self.run_and(jobs, |_| {}).await
    }

    /// Do something about events, as they happen.
    async fn run_and(self, jobs: Vec<Job>, mut about: impl FnMut(&Event)) -> Outcome {
        let Self {
            mut engine,
            events: mut stream,
        } = self;
        let running = async {
            let mut summary = Summary::default();
            let ended = engine.run(jobs, &mut summary).await;
            assert_eq!(ended.len(), summary.total() as usize);
            engine.recorder.end(summary);
            summary
        };
        let watching = async {
            let mut events = Vec::new();
            loop {
                let event = stream.next().await.unwrap();
                if matches!(event.kind, EventKind::RunEnded { .. }) {
                    return events;
                }
                about(&event);
                events.push(event);
            }
        };
        let (summary, events) = tokio::join!(running, watching);
        let log = std::mem::take(&mut *engine.bench.log.lock().unwrap());
        Outcome {
            log,
            events,
            summary,
        }
    }
}

impl Outcome {
    /// The verdict and the message of every test, in the order of their ends.
    fn verdicts(&self) -> Vec<(&str, Verdict, &str)> {
        let ended = self.events.iter().filter_map(|event| {
            let EventKind::TestEnded {
                verdict, failure, ..
            } = &event.kind
            else {
                return None;
            };
            let message = failure.as_ref().map_or("", |why| &why.message);
            Some((event.test.as_deref()?, *verdict, message))
        });
        ended.collect()
    }

    fn progress(&self) -> Vec<&str> {
        let texts = self.events.iter().filter_map(|event| {
            let EventKind::Progress { text } = &event.kind else {
                return None;
            };
            Some(text.as_str())
        });
        texts.collect()
    }

    /// How often tests were tried.
    fn tries(&self) -> Vec<u32> {
        let tries = |event: &Event| match event.kind {
            EventKind::TestEnded { tries, .. } => Some(tries),
            _ => None,
        };
        self.events.iter().filter_map(tries).collect()
    }
}

#[tokio::test]
async fn one_job_at_a_time_is_the_order_given() {
    let outcome = setting(1, []).run(jobs(&["b", "a", "c"])).await;
    let expected = [
        "b at b, number 1 of its place",
        "cleared",
        "a at a, number 1 of its place",
        "cleared",
        "c at c, number 1 of its place",
        "cleared",
    ];
    assert_eq!(outcome.log, expected);
    assert_eq!(outcome.summary.passed, 3);
}

#[tokio::test]
async fn tests_run_side_by_side_and_none_touches_another() {
    let barrier = Arc::new(Barrier::new(3));
    let meets = || Does::Meets(Arc::clone(&barrier));
    let tests = [
        ("a", vec![Does::Ends(Failed)]),
        ("b", vec![meets()]),
        ("c", vec![meets()]),
        ("d", vec![meets()]),
    ];
    let outcome = setting(3, tests).run(jobs(&["a", "b", "c", "d"])).await;
    let summary = outcome.summary;
    assert_eq!((summary.passed, summary.failed, summary.total()), (3, 1, 4));
}

#[tokio::test]
async fn tests_of_one_job_share_a_place_until_one_fails() {
    let tests = [("b", vec![Does::Ends(TimedOut)])];
    let outcome = setting(2, tests).run(vec![job(&["a", "b", "c"], 1)]).await;
    let expected = [
        "a at a, number 1 of its place",
        "b at b, number 2 of its place",
        "cleared",
        "c at c, number 1 of its place",
        "cleared",
    ];
    assert_eq!(outcome.log, expected);
    let of_events = outcome.events.iter().map(|event| event.test.as_deref());
    let names = ["a", "a", "b", "b", "c", "c"].map(Some);
    assert!(of_events.eq(names), "{:?}", outcome.events);
}

#[tokio::test]
async fn after_a_failure_nothing_begins_where_that_is_wanted() {
    let tests = [
        ("a", vec![Does::Ends(Skipped)]),
        ("b", vec![Does::Ends(Failed)]),
    ];
    let mut setting = setting(1, tests);
    setting.engine.stops_at_failure = true;
    let mut all = jobs(&["a", "b", "c"]);
    all.push(job(&["d", "e"], 1));
    let outcome = setting.run(all).await;
    let why = "not begun, for `b` did not pass";
    let expected = [
        ("a", Skipped, "a was told so"),
        ("b", Failed, "b was told so"),
        ("c", Skipped, why),
        ("d", Skipped, why),
        ("e", Skipped, why),
    ];
    assert_eq!(outcome.verdicts(), expected);
    assert_eq!(outcome.summary.exit_code().code(), 1);
}

#[tokio::test]
async fn what_runs_beside_a_failure_runs_to_its_end() {
    let failed = Arc::new(Notify::new());
    let tests = [
        ("a", vec![Does::Waits(Arc::clone(&failed))]),
        ("b", vec![Does::Ends(Failed)]),
    ];
    let mut setting = setting(2, tests);
    setting.engine.stops_at_failure = true;
    let ended_badly = |event: &Event| {
        matches!(
            &event.kind,
            EventKind::TestEnded {
                verdict: Failed,
                ..
            }
        )
    };
    let notify = |event: &Event| {
        if ended_badly(event) {
            failed.notify_one();
        }
    };
    let outcome = setting.run_and(jobs(&["a", "b", "c"]), notify).await;
    let verdict = |test| {
        let verdicts = outcome.verdicts();
        let of_test = verdicts.iter().find(|(name, _, _)| *name == test);
        of_test.map(|(_, verdict, _)| *verdict)
    };
    assert_eq!(verdict("a"), Some(Passed));
    assert_eq!(verdict("b"), Some(Failed));
    assert_eq!(verdict("c"), Some(Skipped));
}

#[tokio::test]
async fn a_test_is_tried_again_as_often_as_is_said() {
    let ends = |verdicts: &[Verdict]| verdicts.iter().copied().map(Does::Ends).collect();
    let tests = [
        ("flaky", ends(&[Failed, Infrastructure, Passed])),
        ("bad", ends(&[Failed, TimedOut, Failed])),
        ("good", ends(&[])),
        ("elsewhere", ends(&[Skipped])),
    ];
    let mut setting = setting(1, tests);
    setting.engine.retries = 2;
    let outcome = setting
        .run(jobs(&["flaky", "bad", "good", "elsewhere"]))
        .await;
    let flaky = [
        "flaky at flaky, number 1 of its place, not the last try",
        "cleared",
        "flaky at flaky/try-2, number 1 of its place, not the last try",
        "cleared",
        "flaky at flaky/try-3, number 1 of its place",
        "cleared",
    ];
    assert_eq!(outcome.log[..6], flaky);
    assert_eq!(outcome.tries(), [3, 3, 1, 1]);
    let verdicts = outcome.verdicts();
    let verdicts: Vec<_> = verdicts.iter().map(|(_, verdict, _)| *verdict).collect();
    assert_eq!(verdicts, [Passed, Failed, Passed, Skipped]);
    assert_eq!((outcome.summary.passed, outcome.summary.flaky), (2, 1));
    let earlier = outcome.events.iter().filter_map(|event| match &event.kind {
        EventKind::TryEnded {
            number,
            of,
            verdict,
            ..
        } => Some((event.test.as_deref()?, *number, *of, *verdict)),
        _ => None,
    });
    let expected = [
        ("flaky", 1, 3, Failed),
        ("flaky", 2, 3, Infrastructure),
        ("bad", 1, 3, Failed),
        ("bad", 2, 3, TimedOut),
    ];
    assert!(earlier.eq(expected));
}

#[tokio::test]
async fn an_interruption_is_the_verdict_of_all_that_did_not_end() {
    let tests = [("b", vec![Does::Interrupts])];
    let mut setting = setting(1, tests);
    setting.engine.retries = 3;
    setting.engine.stops_at_failure = true;
    let outcome = setting.run(jobs(&["a", "b", "c", "d"])).await;
    let expected = [
        ("a", Passed, ""),
        ("b", Interrupted, "b was told so"),
        ("c", Interrupted, "interrupted"),
        ("d", Interrupted, "interrupted"),
    ];
    assert_eq!(outcome.verdicts(), expected);
    assert_eq!(outcome.summary.exit_code().code(), 130);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_memory_says_so_once() {
    let (first, second) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let tests = [
        ("a", vec![Does::Waits(Arc::clone(&first))]),
        ("b", vec![Does::Waits(Arc::clone(&second))]),
        ("big", Vec::new()),
    ];
    let setting = setting(3, tests);
    let all = vec![job(&["a"], 30), job(&["b"], 40), job(&["big"], 80)];
    // Nothing ends before it is said.
    let notify = |event: &Event| {
        if matches!(event.kind, EventKind::Progress { .. }) {
            first.notify_one();
            second.notify_one();
        }
    };
    let outcome = setting.run_and(all, notify).await;
    assert_eq!(outcome.summary.passed, 3);
    let expected = ["big waits: needs 80 MiB, 30 MiB are free of 100 MiB"];
    assert_eq!(outcome.progress(), expected);
}

#[tokio::test]
async fn what_exceeds_all_memory_runs_alone_and_says_so() {
    let all = vec![job(&["a"], 30), job(&["huge"], 20 * 1024)];
    let outcome = setting(2, []).run(all).await;
    assert_eq!(outcome.summary.passed, 2);
    let expected = ["huge runs alone: it needs 20 GiB, and 100 MiB are there for all"];
    assert_eq!(outcome.progress(), expected);
}

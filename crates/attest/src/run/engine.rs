//! Runs jobs: as many at once as the budget admits, each test tried until it passes or may not be
//! tried again.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use attest_events::{EventKind, Summary, Verdict, nanoseconds};
use attest_vmm::BoxFuture;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::job::{Case, Job, Source};
use super::judge::Judged;
use super::labs::is_true;
use crate::recorder::Recorder;
use crate::schedule::{Admission, Budget, MIB, Next, Usage};

/// Who waits for memory for longer than this says so.
const MOMENT: Duration = Duration::from_secs(1);

/// Where tests are tried. The engine is tested with another than labs.
pub(crate) trait Bench: Send + Sync + 'static {
    /// What the tests of one job share.
    type Place: Default + Send;

    /// Try a test once.
    fn attempt<'a>(
        &'a self,
        attempt: &'a Attempt<'a>,
        place: &'a mut Self::Place,
    ) -> BoxFuture<'a, Judged>;

    /// Whatever the next test must not find; gives what was used there.
    fn clear<'a>(&'a self, place: &'a mut Self::Place) -> BoxFuture<'a, Usage>;
}

/// One try of one test.
#[derive(Debug)]
pub(crate) struct Attempt<'a> {
    pub(crate) source: &'a Source,
    pub(crate) case: &'a Case,
    pub(crate) recorder: &'a Recorder,
    /// Its own, not made yet.
    pub(crate) output: &'a Path,
    /// Whether no other try follows, however it ends.
    pub(crate) is_last: bool,
}

/// How jobs are run.
#[derive(Debug)]
pub(crate) struct Engine<B> {
    pub(crate) bench: Arc<B>,
    pub(crate) recorder: Recorder,
    pub(crate) interrupted: watch::Receiver<bool>,
    pub(crate) budget: Budget,
    /// What the host could still give, bytes.
    pub(crate) spare: fn() -> Option<u64>,
    pub(crate) retries: u32,
    /// Begin nothing after a failure.
    pub(crate) stops_at_failure: bool,
}

/// How a test of a job ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) job: usize,
    pub(crate) case: usize,
    pub(crate) verdict: Verdict,
    pub(crate) tries: u32,
    /// Of its last try, with its lab's making and end.
    pub(crate) took: Duration,
    /// What its lab used, until its end.
    pub(crate) usage: Usage,
}

/// What the tasks of a run know of each other.
#[derive(Debug)]
struct Control {
    interrupted: watch::Receiver<bool>,
    stops_at_failure: bool,
    /// The test whose failure ended the run.
    failed: OnceLock<String>,
}

impl Control {
    /// Why no test begins any more.
    fn stopped(&self) -> Option<Judged> {
        if *self.interrupted.borrow() {
            let message = "interrupted".to_owned();
            return Some(Judged::not_begun(Verdict::Interrupted, message));
        }
        let failed = self.failed.get()?;
        let message = format!("not begun, for `{failed}` did not pass");
        Some(Judged::not_begun(Verdict::Skipped, message))
    }

    fn ended(&self, test: &str, verdict: Verdict) {
        if self.stops_at_failure && verdict.is_bad() {
            // Another may have been first.
            let _ = self.failed.set(test.to_owned());
        }
    }
}

impl<B: Bench> Engine<B> {
    /// Run them, in their order; every test of them gets a verdict.
    pub(crate) async fn run(&mut self, jobs: Vec<Job>, summary: &mut Summary) -> Vec<Ended> {
        let jobs: Vec<Arc<Job>> = jobs.into_iter().map(Arc::new).collect();
        let needs = jobs.iter().map(|job| job.need);
        let mut admission = Admission::new(self.budget, needs.enumerate());
        let control = Arc::new(Control {
            interrupted: self.interrupted.clone(),
            stops_at_failure: self.stops_at_failure,
            failed: OnceLock::new(),
        });
        let mut running = JoinSet::new();
        let mut waits = Waits::default();
        let mut ended = Vec::new();
        loop {
            if control.stopped().is_some() {
                for id in admission.give_up() {
                    ended.extend(self.task(id, &jobs[id], &control).run().await);
                }
            }
            let next = admission.next((self.spare)());
            if let Next::Start { id, alone } = next {
                if alone {
                    self.says_alone(&jobs[id], admission.budget());
                }
                let task = self.task(id, &jobs[id], &control);
                running.spawn(async move { (id, task.run().await) });
                continue;
            }
            if running.is_empty() {
                break;
            }
            let told = waits.since(next);
            tokio::select! {
                Some(done) = running.join_next() => {
                    let (id, of_job) = done.unwrap_or_else(|error| {
                        std::panic::resume_unwind(error.into_panic())
                    });
                    admission.ended(id);
                    ended.extend(of_job);
                }
                () = at(told) => waits.tell(&jobs, next, admission.budget(), &self.recorder),
                () = is_true(&mut self.interrupted), if control.stopped().is_none() => {}
            }
        }
        for each in &ended {
            summary.count_tried(each.verdict, each.tries);
        }
        ended
    }

    fn task(&self, id: usize, job: &Arc<Job>, control: &Arc<Control>) -> Task<B> {
        Task {
            id,
            job: Arc::clone(job),
            bench: Arc::clone(&self.bench),
            recorder: self.recorder.for_test(job.name()),
            control: Arc::clone(control),
            retries: self.retries,
        }
    }

    fn says_alone(&self, job: &Job, budget: Budget) {
        let text = format!(
            "{} runs alone: it needs {}, and {} are there for all",
            job.name(),
            bytes(job.need.memory),
            bytes(budget.memory.unwrap_or_default())
        );
        let recorder = self.recorder.for_test(job.name());
        recorder.record(EventKind::Progress { text });
    }
}

/// Who waits for memory, since when, and who has said so.
#[derive(Debug, Default)]
struct Waits {
    now: Option<(usize, Instant)>,
    told: HashSet<usize>,
}

impl Waits {
    /// When it is to be said.
    fn since(&mut self, next: Next) -> Option<Instant> {
        let Next::Wait { id, .. } = next else {
            self.now = None;
            return None;
        };
        let since = match self.now {
            Some((who, since)) if who == id => since,
            _ => Instant::now(),
        };
        self.now = Some((id, since));
        (!self.told.contains(&id)).then(|| since + MOMENT)
    }

    fn tell(&mut self, jobs: &[Arc<Job>], next: Next, budget: Budget, recorder: &Recorder) {
        let Next::Wait { id, need, free } = next else {
            return;
        };
        self.told.insert(id);
        let name = jobs[id].name();
        let of = budget.memory.map(|memory| format!(" of {}", bytes(memory)));
        let text = format!(
            "{name} waits: needs {}, {} are free{}",
            bytes(need),
            bytes(free),
            of.unwrap_or_default()
        );
        let recorder = recorder.for_test(name);
        recorder.record(EventKind::Progress { text });
    }
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant.into()).await,
        None => std::future::pending().await,
    }
}

/// As people write sizes of memory.
fn bytes(bytes: u64) -> String {
    const GIB: u64 = 1024 * MIB;
    if bytes < 10 * GIB {
        return format!("{} MiB", bytes / MIB);
    }
    format!("{} GiB", bytes / GIB)
}

/// How the last try of a test ended.
struct Tried {
    began: Instant,
    judged: Judged,
    tries: u32,
    usage: Usage,
}

impl Tried {
    /// It was not even tried.
    fn not(judged: Judged) -> Self {
        Self {
            began: Instant::now(),
            judged,
            tries: 1,
            usage: Usage::default(),
        }
    }
}

/// The tests of one job, one after the other.
struct Task<B> {
    id: usize,
    job: Arc<Job>,
    bench: Arc<B>,
    recorder: Recorder,
    control: Arc<Control>,
    retries: u32,
}

impl<B: Bench> Task<B> {
    async fn run(self) -> Vec<Ended> {
        let mut place = B::Place::default();
        let mut ended = Vec::new();
        let last = self.job.cases.len() - 1;
        for (number, case) in self.job.cases.iter().enumerate() {
            self.recorder.set_test(Some(&case.name));
            self.recorder.record(EventKind::TestStarted);
            let mut tried = match self.control.stopped() {
                Some(stopped) => Tried::not(stopped),
                None => self.tries(case, &mut place).await,
            };
            if number == last {
                tried.usage = tried.usage.or(self.bench.clear(&mut place).await);
            }
            let Tried { judged, tries, .. } = tried;
            self.control.ended(&case.name, judged.verdict);
            ended.push(Ended {
                job: self.id,
                case: number,
                verdict: judged.verdict,
                tries,
                took: tried.began.elapsed(),
                usage: tried.usage,
            });
            self.recorder.record(EventKind::TestEnded {
                verdict: judged.verdict,
                duration_ns: nanoseconds(judged.duration),
                failure: judged.failure,
                tries,
            });
            self.recorder.set_test(None);
        }
        ended
    }

    /// Try it until it passes, or may not be tried again.
    async fn tries(&self, case: &Case, place: &mut B::Place) -> Tried {
        let of = self.retries.saturating_add(1);
        let mut number = 1;
        loop {
            let began = Instant::now();
            let judged = self.attempt(case, number, place).await;
            let usage = match judged.verdict {
                Verdict::Passed => Usage::default(),
                // The next must not suffer from what this one left.
                _ => self.bench.clear(place).await,
            };
            let again = judged.verdict.is_bad() && judged.verdict != Verdict::Interrupted;
            if !again || number == of {
                return Tried {
                    began,
                    judged,
                    tries: number,
                    usage,
                };
            }
            self.recorder.record(EventKind::TryEnded {
                number,
                of,
                verdict: judged.verdict,
                duration_ns: nanoseconds(judged.duration),
                failure: judged.failure,
            });
            number += 1;
        }
    }

    async fn attempt(&self, case: &Case, number: u32, place: &mut B::Place) -> Judged {
        // What the first try left there is the reason for the second.
        let output: PathBuf = match number {
            1 => case.output.clone(),
            _ => case.output.join(format!("try-{number}")),
        };
        let attempt = Attempt {
            source: &self.job.source,
            case,
            recorder: &self.recorder,
            output: &output,
            is_last: number > self.retries,
        };
        self.bench.attempt(&attempt, place).await
    }
}

#[cfg(test)]
mod tests;

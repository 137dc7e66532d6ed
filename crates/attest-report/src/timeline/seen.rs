//! What the page remembers of a run: bounded, however long the run is.

use attest_events::{
    Breakdown, Event, EventKind, ExitCode, FailureDetail, Marks, Phase, Summary, Verdict,
};

use super::failure;
use super::html::Html;
use super::lane::{Lane, Share, brief};
use super::most::Most;
use crate::failure::gist;

/// Tests that have a row.
const TESTS: usize = 500;
/// Bytes of the page for failures in full: some hundred. Of those beyond, the message is left.
const FAILURES: usize = 1 << 20;
/// Choices and warnings that are shown.
const REMARKS: usize = 30;

/// Everything that the page tells.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) begin: Option<Begin>,
    pub(super) end: Option<End>,
    /// Choices, and warnings, each once.
    pub(super) remarks: Vec<Remark>,
    pub(super) remarks_left_out: usize,
    /// What belongs to no test.
    pub(super) outside: Lane,
    pub(super) tests: Most<Lane>,
    /// Failures of which only the message is shown.
    pub(super) failures_cut: usize,
    open: Vec<Lane>,
    marks: Marks,
    /// The run's own phase, in which tests begin.
    phase: Phase,
    /// Of the latest event.
    now_ns: u64,
    /// Of the last mark: those of several threads may come a little out of order.
    mark_ns: u64,
    /// How many tests there are, as far as it is known.
    count: usize,
    failures_left: usize,
}

/// What the first event said.
#[derive(Debug)]
pub(super) struct Begin {
    pub(super) version: String,
    pub(super) time: String,
    pub(super) tests: usize,
    pub(super) jobs: u32,
    pub(super) output: String,
}

/// What the last event said.
#[derive(Debug)]
pub(super) struct End {
    pub(super) exit_code: ExitCode,
    pub(super) summary: Summary,
}

/// Something that its reader should know.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Remark {
    pub(super) is_warning: bool,
    pub(super) text: String,
}

impl Seen {
    pub(super) fn new() -> Self {
        let mut outside = Lane::new(None, 0, Share::of(1));
        outside.enter(Phase::Plan, 0);
        Self {
            begin: None,
            end: None,
            remarks: Vec::new(),
            remarks_left_out: 0,
            outside,
            tests: Most::new(TESTS),
            failures_cut: 0,
            open: Vec::new(),
            marks: Marks::new(),
            phase: Phase::Plan,
            now_ns: 0,
            mark_ns: 0,
            count: 0,
            failures_left: FAILURES,
        }
    }

    /// The next event. Gives where the time went, when it is the last.
    pub(super) fn event(&mut self, event: &Event) -> Option<Breakdown> {
        let at_ns = event.at_ns;
        self.now_ns = self.now_ns.max(at_ns);
        self.marks.observe(event);
        let test = event.test.as_deref();
        match &event.kind {
            // Nearly all events, and no time is in them.
            EventKind::Console { .. } | EventKind::Journal { .. } | EventKind::Output { .. } => {}
            EventKind::RunStarted {
                version,
                time,
                tests,
                jobs,
                output,
            } => {
                self.count = self.count.max(tests.len());
                self.begin = Some(Begin {
                    version: brief(version),
                    time: brief(time),
                    tests: tests.len(),
                    jobs: *jobs,
                    output: output.clone(),
                });
            }
            EventKind::Chosen {
                what,
                choice,
                reason,
            } => self.remark(false, &format!("{what}: {choice} ({reason})")),
            EventKind::Warning { message } => {
                let about = [test, event.machine.as_deref()];
                let parts = about.into_iter().flatten().chain([message.as_str()]);
                let parts: Vec<&str> = parts.collect();
                self.remark(true, &parts.join(": "));
            }
            EventKind::TestStarted => {
                if let Some(test) = test {
                    self.mark(at_ns);
                    self.open(test);
                }
            }
            EventKind::PhaseStarted { phase } if event.machine.is_none() => {
                self.mark(at_ns);
                self.enter(test, *phase);
            }
            EventKind::TryEnded {
                number,
                verdict,
                failure,
                ..
            } => {
                let failure = self.failure(*verdict, failure.as_ref());
                if let Some(lane) = self.lane(test) {
                    lane.tried(*number, *verdict, failure, at_ns);
                }
            }
            EventKind::TestEnded {
                verdict,
                duration_ns,
                failure,
                tries,
            } => {
                let failure = self.failure(*verdict, failure.as_ref());
                self.mark(at_ns);
                self.test_ended(test, *verdict, *duration_ns, *tries, failure);
            }
            EventKind::RunEnded {
                exit_code,
                summary,
                breakdown,
            } => {
                self.end = Some(End {
                    exit_code: *exit_code,
                    summary: *summary,
                });
                return Some(breakdown.clone());
            }
            _ => {
                if let Some(lane) = self.lane(test) {
                    lane.event(event, at_ns);
                }
            }
        }
        None
    }

    /// No more events come. Gives where the time went, where none of them said it.
    pub(super) fn finish(&mut self) -> Breakdown {
        let share = self.share();
        for mut lane in std::mem::take(&mut self.open) {
            lane.close(self.now_ns, share);
            self.tests.push(lane);
        }
        self.outside.close(self.now_ns, Share::of(1));
        // Shares were greater when there were fewer tests.
        for lane in self.tests.sorted_by(|lane| lane.began_ns) {
            lane.limit(share);
        }
        std::mem::take(&mut self.marks).finish(self.now_ns)
    }

    /// When the last event happened.
    pub(super) fn now_ns(&self) -> u64 {
        self.now_ns
    }

    fn share(&self) -> Share {
        Share::of(self.count.min(TESTS))
    }

    fn remark(&mut self, is_warning: bool, text: &str) {
        let text = brief(text);
        let remark = Remark { is_warning, text };
        if self.remarks.contains(&remark) {
        } else if self.remarks.len() < REMARKS {
            self.remarks.push(remark);
        } else {
            self.remarks_left_out += 1;
        }
    }

    /// The lane of the test, if it is open; of no test, if none is named.
    fn lane(&mut self, test: Option<&str>) -> Option<&mut Lane> {
        if test.is_none() {
            return Some(&mut self.outside);
        }
        let test = test.map(brief);
        self.open.iter_mut().find(|lane| lane.test == test)
    }

    /// A mark, made then or with the last one, as [`Marks`] has it.
    fn mark(&mut self, at_ns: u64) {
        self.mark_ns = self.mark_ns.max(at_ns);
    }

    /// As [`Marks::open`] has it: outside of tests, time passes only while none runs.
    fn open(&mut self, test: &str) {
        if self.lane(Some(test)).is_some() {
            return;
        }
        if self.open.is_empty() {
            self.outside.leave(self.mark_ns);
        }
        let begun = self.open.len() + self.tests.count() + 1;
        self.count = self.count.max(begun);
        let mut lane = Lane::new(Some(test), self.mark_ns, self.share());
        lane.enter(self.phase, self.mark_ns);
        self.open.push(lane);
    }

    /// As [`Marks::enter`] and [`Marks::enter_in`] have it.
    fn enter(&mut self, test: Option<&str>, phase: Phase) {
        let mark_ns = self.mark_ns;
        if let (Some(_), Some(lane)) = (test, self.lane(test)) {
            lane.enter(phase, mark_ns);
            return;
        }
        self.phase = phase;
        match &mut self.open[..] {
            [] => self.outside.enter(phase, mark_ns),
            [only] => only.enter(phase, mark_ns),
            _ => {}
        }
    }

    fn test_ended(
        &mut self,
        test: Option<&str>,
        verdict: Verdict,
        took_ns: u64,
        tries: u32,
        failure: (String, Html),
    ) {
        let Some(test) = test else { return };
        let name = brief(test);
        let is_it = |lane: &Lane| lane.test.as_ref() == Some(&name);
        let mut lane = if let Some(place) = self.open.iter().position(is_it) {
            self.open.remove(place)
        } else {
            let began_ns = self.mark_ns.saturating_sub(took_ns);
            Lane::new(Some(test), began_ns, self.share())
        };
        if let (true, Some(phase)) = (self.open.is_empty(), lane.phase()) {
            self.phase = phase;
            self.outside.enter(phase, self.mark_ns);
        }
        if verdict != Verdict::Passed || tries > 1 {
            lane.tried(tries, verdict, failure, self.mark_ns);
        }
        lane.verdict = Some(verdict);
        lane.took_ns = took_ns;
        lane.close(self.mark_ns, self.share());
        self.tests.push(lane);
        self.count = self.count.max(self.open.len() + self.tests.count());
    }

    /// The failure in one line, and in full as long as there is room for it.
    fn failure(&mut self, verdict: Verdict, detail: Option<&FailureDetail>) -> (String, Html) {
        let Some(detail) = detail else {
            return (String::new(), Html::default());
        };
        let gist = brief(&gist(&brief(&detail.message)));
        if !verdict.is_bad() {
            return (gist, Html::default());
        }
        let output = self.begin.as_ref().map(|begin| begin.output.as_str());
        let full = failure::in_full(verdict, detail, output.unwrap_or_default());
        if full.len() <= self.failures_left {
            self.failures_left -= full.len();
            return (gist, full);
        }
        self.failures_cut += 1;
        let brief = failure::in_brief(&gist);
        (gist, brief)
    }
}

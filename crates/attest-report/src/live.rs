//! The live state: one line for each machine that comes up, one for what each test does, and one
//! for how far the run is.

use std::fmt;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use attest_events::{Event, EventKind, Phase};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::look::LiveOn;
use crate::sanitize::sanitize;

/// Between two redraws of the running clocks: fast enough to look alive.
const TICK: Duration = Duration::from_millis(100);

/// Lines that are redrawn in place. What guests said is sanitised here.
pub(crate) struct Live {
    multi: MultiProgress,
    counts: Counts,
    /// Where there are several tests: how many run, wait and are done.
    summary: Option<ProgressBar>,
    machines: Vec<MachineLine>,
    tests: Vec<TestLine>,
    ticker: Ticker,
}

struct MachineLine {
    /// Whom it is for.
    test: Option<String>,
    name: String,
    state: &'static str,
    bar: ProgressBar,
}

struct TestLine {
    /// None for a lab without a test, as of `attest shell`.
    test: Option<String>,
    bar: ProgressBar,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts {
    all: usize,
    begun: usize,
    done: usize,
}

impl Counts {
    fn observe(&mut self, kind: &EventKind) {
        match kind {
            EventKind::RunStarted { tests, .. } => self.all = tests.len(),
            EventKind::TestStarted => self.begun += 1,
            EventKind::TestEnded { .. } => self.done += 1,
            _ => return,
        }
        // Runs until a failure do not know how many there will be.
        self.all = self.all.max(self.begun).max(self.done);
    }

    fn text(self) -> String {
        let Self { all, begun, done } = self;
        let (run, wait) = (begun.saturating_sub(done), all - begun);
        format!("{run} run, {wait} wait, {done} of {all} are done")
    }
}

impl Live {
    pub(crate) fn new(on: LiveOn) -> Self {
        let target = match on {
            LiveOn::Stdout => ProgressDrawTarget::stdout(),
            LiveOn::Stderr => ProgressDrawTarget::stderr(),
        };
        Self {
            multi: MultiProgress::with_draw_target(target),
            counts: Counts::default(),
            summary: None,
            machines: Vec::new(),
            tests: Vec::new(),
            ticker: Ticker::start(),
        }
    }

    /// Shows what the event changed.
    pub(crate) fn event(&mut self, event: &Event) {
        let before = self.counts;
        self.counts.observe(&event.kind);
        let test = event.test.as_deref().map(sanitize);
        match event.machine.as_deref().map(sanitize) {
            Some(machine) => self.of_machine(test.as_deref(), &machine, &event.kind),
            None => self.of_test(test, &event.kind),
        }
        if self.counts != before {
            self.summarize();
        }
    }

    fn of_machine(&mut self, test: Option<&str>, machine: &str, kind: &EventKind) {
        match kind {
            EventKind::PhaseStarted { phase } => self.phase(test, machine, *phase),
            EventKind::PhaseEnded { phase, .. } => match phase {
                Phase::Spawn => self.phase(test, machine, Phase::Boot),
                Phase::Boot => self.phase(test, machine, Phase::Agent),
                Phase::Agent => self.machine_done(test, machine),
                _ => {}
            },
            EventKind::AgentUp { .. } => self.phase(test, machine, Phase::Agent),
            EventKind::Console { line } => self.console(test, machine, &sanitize(line)),
            EventKind::MachineEnded { .. } => self.machine_done(test, machine),
            EventKind::OperationStarted {
                operation, subject, ..
            } => {
                let what = format!("{machine}: {} {}", sanitize(operation), sanitize(subject));
                self.doing(test, what);
            }
            _ => {}
        }
    }

    fn of_test(&mut self, test: Option<String>, kind: &EventKind) {
        match kind {
            EventKind::LabStarted { machines } => {
                for machine in machines {
                    self.machine(test.clone(), &sanitize(machine));
                }
            }
            EventKind::TestStarted => self.test(test),
            EventKind::Progress { text } => {
                if self.tests.is_empty() && test.is_none() {
                    self.test(None);
                }
                self.doing(test.as_deref(), sanitize(text));
            }
            EventKind::StepStarted { step, text } => {
                self.doing(test.as_deref(), format!("step {step}: {}", sanitize(text)));
            }
            EventKind::OperationStarted {
                operation, subject, ..
            } => {
                let what = format!("{} {}", sanitize(operation), sanitize(subject));
                self.doing(test.as_deref(), what);
            }
            EventKind::TestEnded { .. } => {
                self.machines_gone(test.as_deref());
                self.test_done(test.as_deref());
            }
            EventKind::LabEnded => self.machines_gone(test.as_deref()),
            EventKind::RunEnded { .. } => self.clear(),
            _ => {}
        }
    }

    /// Writes beside the live lines: they are taken away for it and drawn again below.
    pub(crate) fn beside<R>(&self, write: impl FnOnce() -> R) -> R {
        self.multi.suspend(write)
    }

    fn summarize(&mut self) {
        if self.counts.all < 2 {
            return;
        }
        if self.summary.is_none() {
            self.summary = Some(self.line());
        }
        if let Some(bar) = &self.summary {
            bar.set_message(self.counts.text());
        }
    }

    fn machine(&mut self, test: Option<String>, name: &str) {
        if self.machine_line(test.as_deref(), name).is_some() {
            return;
        }
        let bar = self.line();
        // Machines of several tests may have equal names.
        bar.set_prefix(match &test {
            Some(test) if self.tests.len() > 1 => format!("{test}: {name}"),
            _ => name.to_owned(),
        });
        self.machines.push(MachineLine {
            test,
            name: name.to_owned(),
            state: "starts",
            bar,
        });
    }

    fn machine_line(&mut self, test: Option<&str>, name: &str) -> Option<&mut MachineLine> {
        let mut lines = self.machines.iter_mut();
        lines.find(|line| line.test.as_deref() == test && line.name == name)
    }

    /// The machine is in this phase now.
    fn phase(&mut self, test: Option<&str>, name: &str, phase: Phase) {
        if let Some(line) = self.machine_line(test, name) {
            line.state = match phase {
                Phase::Plan | Phase::Image | Phase::Spawn => "starts",
                Phase::Boot => "boots",
                Phase::Agent => "is set up",
                Phase::Snapshot => "is saved",
                Phase::Restore => "is restored",
                Phase::Test => "is up",
                Phase::Shutdown => "ends",
            };
            line.bar.set_message(line.state);
        }
    }

    /// The last thing that its console said.
    fn console(&mut self, test: Option<&str>, name: &str, said: &str) {
        if let Some(line) = self.machine_line(test, name) {
            line.bar.set_message(format!("{}: {said}", line.state));
        }
    }

    /// The machine came up, or ended: its line is not needed any more.
    fn machine_done(&mut self, test: Option<&str>, name: &str) {
        self.remove_machines(|line| line.test.as_deref() == test && line.name == name);
    }

    /// The lab of this test is gone.
    fn machines_gone(&mut self, test: Option<&str>) {
        self.remove_machines(|line| line.test.as_deref() == test);
    }

    fn remove_machines(&mut self, is_gone: impl Fn(&MachineLine) -> bool) {
        let all = std::mem::take(&mut self.machines);
        let (gone, left) = all.into_iter().partition(is_gone);
        self.machines = left;
        for line in gone {
            self.remove(&line.bar);
        }
    }

    /// This test runs.
    fn test(&mut self, test: Option<String>) {
        self.test_done(test.as_deref());
        let bar = self.line();
        bar.set_prefix(test.clone().unwrap_or_else(|| "lab".to_owned()));
        self.tests.push(TestLine { test, bar });
    }

    /// What the test does just now.
    fn doing(&mut self, test: Option<&str>, what: String) {
        let line = self.tests.iter().find(|line| line.test.as_deref() == test);
        // What belongs to no test is shown where nothing else is.
        let line = line.or_else(|| self.tests.first().filter(|_| test.is_none()));
        if let Some(line) = line {
            line.bar.set_message(what);
        }
    }

    fn test_done(&mut self, test: Option<&str>) {
        let is_it = |line: &TestLine| line.test.as_deref() == test;
        if let Some(place) = self.tests.iter().position(is_it) {
            let line = self.tests.remove(place);
            self.remove(&line.bar);
        }
    }

    /// No lines are left.
    pub(crate) fn clear(&mut self) {
        self.remove_machines(|_| true);
        for line in std::mem::take(&mut self.tests) {
            self.remove(&line.bar);
        }
        if let Some(bar) = self.summary.take() {
            self.remove(&bar);
        }
    }

    fn line(&self) -> ProgressBar {
        let style = ProgressStyle::with_template("{spinner} {time} {prefix}  {wide_msg}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner())
            .with_key("time", |state: &ProgressState, out: &mut dyn fmt::Write| {
                // Memory takes whatever is written.
                let _ = write!(out, "{:>5.1} s", state.elapsed().as_secs_f64());
            });
        let bar = self.multi.add(ProgressBar::new_spinner().with_style(style));
        self.ticker.add(bar.clone());
        bar
    }

    fn remove(&self, bar: &ProgressBar) {
        bar.finish_and_clear();
        self.multi.remove(bar);
    }
}

/// One thread for all lines: indicatif's own steady tick is a thread for each.
struct Ticker {
    bars: Arc<Mutex<Vec<ProgressBar>>>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    fn start() -> Self {
        let bars: Arc<Mutex<Vec<ProgressBar>>> = Arc::default();
        let (stop, stopped) = channel();
        let thread = {
            let bars = Arc::clone(&bars);
            std::thread::spawn(move || {
                while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                    let Ok(mut bars) = bars.lock() else { return };
                    bars.retain(|bar| !bar.is_finished());
                    bars.iter().for_each(ProgressBar::tick);
                }
            })
        };
        Self {
            bars,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    fn add(&self, bar: ProgressBar) {
        if let Ok(mut bars) = self.bars.lock() {
            bars.push(bar);
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It only draws: a panic in it is no reason to fail the run.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn every_test_runs_waits_or_is_done() {
        let mut counts = Counts::default();
        let mut texts = Vec::new();
        for event in sample::parallel() {
            let before = counts;
            counts.observe(&event.kind);
            if counts != before {
                texts.push(counts.text());
            }
        }
        let expected = [
            "0 run, 4 wait, 0 of 4 are done",
            "1 run, 3 wait, 0 of 4 are done",
            "2 run, 2 wait, 0 of 4 are done",
            "1 run, 2 wait, 1 of 4 are done",
            "0 run, 2 wait, 2 of 4 are done",
            "1 run, 1 wait, 2 of 4 are done",
            "0 run, 1 wait, 3 of 4 are done",
            "1 run, 0 wait, 3 of 4 are done",
            "0 run, 0 wait, 4 of 4 are done",
        ];
        assert_eq!(texts, expected);
    }

    #[test]
    fn no_line_is_left_of_what_has_ended() {
        for events in [sample::parallel(), sample::events()] {
            let mut live = Live::new(LiveOn::Stderr);
            live.multi.set_draw_target(ProgressDrawTarget::hidden());
            for event in &events {
                live.event(event);
                let running = live.tests.iter().filter_map(|line| line.test.as_deref());
                let running: Vec<_> = running.collect();
                let ended = matches!(event.kind, EventKind::TestEnded { .. });
                if let (true, Some(test)) = (ended, event.test.as_deref()) {
                    assert!(!running.contains(&test), "{running:?}");
                }
            }
            assert!(live.machines.is_empty() && live.tests.is_empty() && live.summary.is_none());
        }
    }
}

//! The live state: one line for each machine that comes up, one for what the test does.

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
    machines: Vec<MachineLine>,
    test: Option<ProgressBar>,
    ticker: Ticker,
}

struct MachineLine {
    name: String,
    state: &'static str,
    bar: ProgressBar,
}

impl Live {
    pub(crate) fn new(on: LiveOn) -> Self {
        let target = match on {
            LiveOn::Stdout => ProgressDrawTarget::stdout(),
            LiveOn::Stderr => ProgressDrawTarget::stderr(),
        };
        Self {
            multi: MultiProgress::with_draw_target(target),
            machines: Vec::new(),
            test: None,
            ticker: Ticker::start(),
        }
    }

    /// Shows what the event changed.
    pub(crate) fn event(&mut self, event: &Event) {
        let machine = event.machine.as_deref().map(sanitize);
        let test = || sanitize(event.test.as_deref().unwrap_or("test"));
        match (&event.kind, machine.as_deref()) {
            (EventKind::LabStarted { machines }, _) => {
                for machine in machines {
                    self.machine(&sanitize(machine));
                }
            }
            (EventKind::PhaseStarted { phase }, Some(machine)) => self.phase(machine, *phase),
            (EventKind::PhaseEnded { phase, .. }, Some(machine)) => match phase {
                Phase::Spawn => self.phase(machine, Phase::Boot),
                Phase::Boot => self.phase(machine, Phase::Agent),
                Phase::Agent => self.machine_done(machine),
                _ => {}
            },
            (EventKind::AgentUp { .. }, Some(machine)) => self.phase(machine, Phase::Agent),
            (EventKind::Console { line }, Some(machine)) => self.console(machine, &sanitize(line)),
            (EventKind::MachineEnded { .. }, Some(machine)) => self.machine_done(machine),
            (EventKind::TestStarted, _) => self.test(&test()),
            (EventKind::Progress { text }, _) => {
                if self.test.is_none() {
                    // A lab without a test, as of `attest shell`.
                    self.test("lab");
                }
                self.doing(sanitize(text));
            }
            (EventKind::StepStarted { step, text }, _) => {
                self.doing(format!("step {step}: {}", sanitize(text)));
            }
            (
                EventKind::OperationStarted {
                    operation, subject, ..
                },
                machine,
            ) => {
                let on = machine.map(|name| format!("{name}: ")).unwrap_or_default();
                self.doing(format!("{on}{} {}", sanitize(operation), sanitize(subject)));
            }
            (EventKind::TestEnded { .. }, _) => self.test_done(),
            (EventKind::LabEnded | EventKind::RunEnded { .. }, _) => self.clear(),
            _ => {}
        }
    }

    /// Writes beside the live lines: they are taken away for it and drawn again below.
    pub(crate) fn beside<R>(&self, write: impl FnOnce() -> R) -> R {
        self.multi.suspend(write)
    }

    fn machine(&mut self, name: &str) {
        if self.machines.iter().any(|line| line.name == name) {
            return;
        }
        let bar = self.line();
        bar.set_prefix(name.to_owned());
        self.machines.push(MachineLine {
            name: name.to_owned(),
            state: "starts",
            bar,
        });
    }

    /// The machine is in this phase now.
    fn phase(&mut self, name: &str, phase: Phase) {
        if let Some(line) = self.machines.iter_mut().find(|line| line.name == name) {
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
    fn console(&mut self, name: &str, text: &str) {
        if let Some(line) = self.machines.iter().find(|line| line.name == name) {
            line.bar.set_message(format!("{}: {text}", line.state));
        }
    }

    /// The machine came up, or ended: its line is not needed any more.
    fn machine_done(&mut self, name: &str) {
        if let Some(index) = self.machines.iter().position(|line| line.name == name) {
            let line = self.machines.swap_remove(index);
            self.remove(&line.bar);
        }
    }

    /// This test runs.
    fn test(&mut self, name: &str) {
        self.test_done();
        let bar = self.line();
        bar.set_prefix(name.to_owned());
        self.test = Some(bar);
    }

    /// What the test does just now.
    fn doing(&mut self, text: String) {
        if let Some(bar) = &self.test {
            bar.set_message(text);
        }
    }

    fn test_done(&mut self) {
        if let Some(bar) = self.test.take() {
            self.remove(&bar);
        }
    }

    /// No lines are left.
    pub(crate) fn clear(&mut self) {
        self.test_done();
        for line in std::mem::take(&mut self.machines) {
            self.remove(&line.bar);
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

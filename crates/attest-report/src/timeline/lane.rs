//! What is remembered of one test and its lab.

use std::collections::BTreeMap;

use attest_events::{Event, EventKind, Phase, Verdict};

use super::html::Html;
use super::most::{Most, Rank, Ranked};
use crate::terminal::bad_ending;

/// Phases of one test, or of one machine in it: far more than a try has, times some tries.
const PHASES: usize = 64;
/// Commands that may run at once in one test.
const AT_ONCE: usize = 1_000;
/// Tries that are shown: the first ones, and the last.
const TRIES: usize = 10;
/// Of a command's text, bytes that are remembered; most have far fewer.
const TEXT: usize = 600;

/// How much of the page a test may have: there may be thousands of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    pub(super) operations: usize,
    pub(super) machines: usize,
}

impl Share {
    /// Commands and waits on the whole page.
    const OPERATIONS: usize = 8_000;
    /// Rows of machines on the whole page.
    const MACHINES: usize = 2_000;

    /// Of each of so many tests.
    pub(super) fn of(tests: usize) -> Self {
        let tests = tests.max(1);
        Self {
            operations: (Self::OPERATIONS / tests).clamp(8, 400),
            machines: (Self::MACHINES / tests).clamp(4, 50),
        }
    }
}

/// A test from its begin until its lab was gone; or what belongs to no test.
#[derive(Debug, Clone)]
pub(super) struct Lane {
    pub(super) test: Option<String>,
    pub(super) began_ns: u64,
    pub(super) ended_ns: u64,
    pub(super) phases: Most<Span>,
    pub(super) machines: Vec<Machine>,
    /// Whether there are machines that have no row.
    pub(super) has_more_machines: bool,
    pub(super) operations: Most<Operation>,
    pub(super) tries: Vec<Try>,
    pub(super) tries_left_out: u32,
    /// None where the run broke off before.
    pub(super) verdict: Option<Verdict>,
    /// Of the test alone.
    pub(super) took_ns: u64,
    share: Share,
    current: Option<(Phase, u64)>,
    open: BTreeMap<Number, Operation>,
}

/// A phase of a test or a machine.
#[derive(Debug, Clone)]
pub(super) struct Span {
    pub(super) phase: Phase,
    pub(super) began_ns: u64,
    pub(super) ended_ns: u64,
    /// Else it was broken off.
    pub(super) is_over: bool,
}

/// A machine of a lab.
#[derive(Debug, Clone)]
pub(super) struct Machine {
    pub(super) name: String,
    pub(super) phases: Most<Span>,
    /// When and how it ended, where it should not have.
    pub(super) ending: Option<(u64, String)>,
    current: Option<(Phase, u64)>,
}

/// What was done in a test.
#[derive(Debug, Clone)]
pub(super) struct Operation {
    pub(super) kind: Kind,
    /// The place of its machine; a test's own have none.
    pub(super) machine: Option<usize>,
    /// `exec`, `wait`, …, as the event says it.
    pub(super) name: String,
    pub(super) text: String,
    pub(super) began_ns: u64,
    pub(super) ended_ns: u64,
    pub(super) error: Option<String>,
    /// Else it was broken off.
    pub(super) is_over: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Command,
    Wait,
    /// Copies, reboots, ….
    Other,
    Subtest,
}

/// A try of a test.
#[derive(Debug, Clone)]
pub(super) struct Try {
    pub(super) number: u32,
    pub(super) began_ns: u64,
    pub(super) ended_ns: u64,
    pub(super) verdict: Verdict,
    /// One line; empty where there is no reason.
    pub(super) gist: String,
    /// All that is known.
    pub(super) failure: Html,
}

/// Operations and parts of a script's log are numbered apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Number {
    Operation(u64),
    Part(u64),
}

impl Ranked for Span {
    fn rank(&self) -> Rank {
        (!self.is_over, self.ended_ns.saturating_sub(self.began_ns))
    }
}

impl Ranked for Operation {
    fn rank(&self) -> Rank {
        (self.is_bad(), self.took_ns())
    }
}

impl Operation {
    pub(super) fn took_ns(&self) -> u64 {
        self.ended_ns.saturating_sub(self.began_ns)
    }

    pub(super) fn is_bad(&self) -> bool {
        self.error.is_some() || !self.is_over
    }
}

impl Ranked for Lane {
    fn rank(&self) -> Rank {
        let is_bad = self.is_bad() || self.tries.len() > 1;
        (is_bad, self.ended_ns.saturating_sub(self.began_ns))
    }
}

impl Lane {
    pub(super) fn new(test: Option<&str>, at_ns: u64, share: Share) -> Self {
        Self {
            test: test.map(brief),
            began_ns: at_ns,
            ended_ns: at_ns,
            phases: Most::new(PHASES),
            machines: Vec::new(),
            has_more_machines: false,
            operations: Most::new(share.operations),
            tries: Vec::new(),
            tries_left_out: 0,
            verdict: None,
            took_ns: 0,
            share,
            current: None,
            open: BTreeMap::new(),
        }
    }

    /// It did not pass, or is not known to have.
    pub(super) fn is_bad(&self) -> bool {
        match self.verdict {
            Some(verdict) => verdict.is_bad(),
            None => self.test.is_some(),
        }
    }

    /// Whether there is more to show than its phases.
    pub(super) fn has_inside(&self) -> bool {
        let has_failures = self.tries.iter().any(|of| !of.failure.is_empty());
        !self.machines.is_empty() || !self.operations.items().is_empty() || has_failures
    }

    pub(super) fn phase(&self) -> Option<Phase> {
        self.current.map(|(phase, _)| phase)
    }

    pub(super) fn enter(&mut self, phase: Phase, at_ns: u64) {
        if self.phase() != Some(phase) {
            self.leave(at_ns);
            self.current = Some((phase, at_ns));
        }
    }

    /// It is in no phase any more.
    pub(super) fn leave(&mut self, at_ns: u64) {
        let Some((phase, began_ns)) = self.current.take() else {
            return;
        };
        if began_ns < at_ns {
            self.phases.push(Span {
                phase,
                began_ns,
                ended_ns: at_ns,
                is_over: true,
            });
        }
    }

    /// Takes what an event says about machines, commands and waits.
    pub(super) fn event(&mut self, event: &Event, at_ns: u64) {
        let machine = event.machine.as_deref();
        match (&event.kind, machine) {
            (EventKind::LabStarted { machines }, _) => {
                for machine in machines {
                    self.machine(machine);
                }
            }
            (EventKind::PhaseStarted { phase }, Some(machine)) => {
                if let Some(row) = self.machine(machine) {
                    self.machines[row].current = Some((*phase, at_ns));
                }
            }
            (EventKind::PhaseEnded { phase, duration_ns }, Some(machine)) => {
                if let Some(row) = self.machine(machine) {
                    self.machines[row].was_in(*phase, *duration_ns, at_ns);
                }
            }
            (EventKind::MachineEnded { ending, detail }, Some(machine)) if bad_ending(*ending) => {
                let Some(row) = self.machine(machine) else {
                    return;
                };
                let colon = if detail.is_empty() { "" } else { ": " };
                let told = brief(&format!("{}{colon}{detail}", ending.name()));
                self.machines[row].ending = Some((at_ns, told));
                self.machines[row].break_off(at_ns);
            }
            (EventKind::LabEnded, _) => self.break_off(at_ns),
            _ => self.operation(event, at_ns),
        }
    }

    fn operation(&mut self, event: &Event, at_ns: u64) {
        match &event.kind {
            EventKind::OperationStarted {
                id,
                operation,
                subject,
            } => {
                let kind = match operation.as_str() {
                    "exec" => Kind::Command,
                    "wait" => Kind::Wait,
                    _ => Kind::Other,
                };
                let machine = event.machine.as_deref();
                let row = machine.map(|machine| self.machine(machine));
                let begun = Operation::begun(kind, operation, subject, at_ns);
                match row {
                    // Its machine has no row.
                    Some(None) => self.operations.leave_out(&begun),
                    row => self.begin(Number::Operation(*id), begun, row.flatten()),
                }
            }
            EventKind::LogBegan {
                id,
                message,
                subtest: true,
                ..
            } => {
                let begun = Operation::begun(Kind::Subtest, "subtest", message, at_ns);
                self.begin(Number::Part(*id), begun, None);
            }
            EventKind::OperationEnded {
                id,
                duration_ns,
                error,
            } => self.end(
                Number::Operation(*id),
                *duration_ns,
                error.as_deref(),
                at_ns,
            ),
            EventKind::LogEnded {
                id,
                duration_ns,
                error,
            } => self.end(Number::Part(*id), *duration_ns, error.as_deref(), at_ns),
            _ => {}
        }
    }

    fn begin(&mut self, number: Number, operation: Operation, machine: Option<usize>) {
        if self.open.len() < AT_ONCE {
            self.open.insert(
                number,
                Operation {
                    machine,
                    ..operation
                },
            );
        } else {
            self.operations.leave_out(&operation);
        }
    }

    fn end(&mut self, number: Number, took_ns: u64, error: Option<&str>, at_ns: u64) {
        let Some(mut operation) = self.open.remove(&number) else {
            return;
        };
        // By its own clock, where the event came late.
        operation.ended_ns = at_ns.min(operation.began_ns.saturating_add(took_ns));
        operation.error = error.map(brief);
        operation.is_over = true;
        self.operations.push(operation);
    }

    /// A try ended, by this verdict.
    pub(super) fn tried(
        &mut self,
        number: u32,
        verdict: Verdict,
        failure: (String, Html),
        at_ns: u64,
    ) {
        self.break_off(at_ns);
        let last = self.tries.last();
        let began_ns = last.map_or(self.began_ns, |last| last.ended_ns);
        if self.tries.len() == TRIES {
            self.tries.pop();
            self.tries_left_out += 1;
        }
        let (gist, failure) = failure;
        self.tries.push(Try {
            number,
            began_ns,
            ended_ns: at_ns,
            verdict,
            gist,
            failure,
        });
    }

    /// Whatever goes on now ends now.
    pub(super) fn break_off(&mut self, at_ns: u64) {
        for machine in &mut self.machines {
            machine.break_off(at_ns);
        }
        for operation in std::mem::take(&mut self.open).into_values() {
            self.operations.push(Operation {
                ended_ns: at_ns,
                ..operation
            });
        }
    }

    /// Nothing comes any more.
    pub(super) fn close(&mut self, at_ns: u64, share: Share) {
        self.break_off(at_ns);
        self.leave(at_ns);
        self.ended_ns = at_ns;
        if self.verdict == Some(Verdict::Passed) && self.tries.is_empty() {
            // What has no end in a test that passed was not waited for by anybody.
            for machine in &mut self.machines {
                machine.phases.retain(|span| span.is_over);
            }
            for operation in self.operations.items_mut() {
                operation.is_over = true;
            }
        }
        self.limit(share);
    }

    /// It has no more than its share.
    pub(super) fn limit(&mut self, share: Share) {
        self.share = share;
        let machines = share.machines;
        self.has_more_machines |= self.machines.len() > machines;
        self.machines.truncate(machines);
        let is_shown = |operation: &Operation| operation.machine.is_none_or(|row| row < machines);
        self.operations.keep_only(is_shown);
        self.operations.keep(share.operations);
    }

    /// The place of the machine's row, if it may have one.
    fn machine(&mut self, name: &str) -> Option<usize> {
        let name = brief(name);
        let known = self.machines.iter().position(|row| row.name == name);
        if known.is_some() {
            return known;
        }
        if self.machines.len() == self.share.machines {
            self.has_more_machines = true;
            return None;
        }
        self.machines.push(Machine {
            name,
            phases: Most::new(PHASES),
            ending: None,
            current: None,
        });
        Some(self.machines.len() - 1)
    }
}

impl Machine {
    /// A phase ended now. What follows it goes on until that is said to have ended too.
    fn was_in(&mut self, phase: Phase, took_ns: u64, at_ns: u64) {
        self.phases.push(Span {
            phase,
            began_ns: at_ns.saturating_sub(took_ns),
            ended_ns: at_ns,
            is_over: true,
        });
        self.current = match phase {
            Phase::Spawn => Some((Phase::Boot, at_ns)),
            Phase::Boot => Some((Phase::Agent, at_ns)),
            _ => None,
        };
    }

    fn break_off(&mut self, at_ns: u64) {
        if let Some((phase, began_ns)) = self.current.take() {
            self.phases.push(Span {
                phase,
                began_ns,
                ended_ns: at_ns,
                is_over: false,
            });
        }
    }
}

impl Operation {
    fn begun(kind: Kind, name: &str, text: &str, at_ns: u64) -> Self {
        Self {
            kind,
            machine: None,
            name: brief(name),
            text: brief(text),
            began_ns: at_ns,
            ended_ns: at_ns,
            error: None,
            is_over: false,
        }
    }
}

/// The begin of a text that has no bound of its own.
pub(super) fn brief(text: &str) -> String {
    text[..text.floor_char_boundary(TEXT)].to_owned()
}

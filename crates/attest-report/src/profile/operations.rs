//! What was asked of machines: how often, how long, and what took longest.

use std::collections::{BTreeMap, HashMap};

use attest_events::{Event, EventKind};
use serde::Serialize;

/// Operations of a kind that are named.
const SLOWEST: usize = 5;
/// Different ones that are told apart; those beyond are counted by their kind alone.
const KNOWN: usize = 4096;
/// Longer subjects are cut.
const SUBJECT: usize = 200;

/// All operations of a kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OperationTimes {
    /// `exec`, `wait`, `upload`, ….
    pub operation: String,
    /// How many ended.
    pub count: u64,
    /// All of them, nanoseconds: those side by side count each.
    pub total_ns: u64,
    /// Half of them took no longer, nanoseconds.
    pub median_ns: u64,
    /// Those that took longest, the longest first.
    pub slowest: Vec<SlowOperation>,
}

/// One that took long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SlowOperation {
    /// Of which test.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<String>,
    /// Of which machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// The command or the condition.
    pub subject: String,
    /// How long it took, nanoseconds.
    pub ns: u64,
}

/// Equal ones on equal machines.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct What {
    pub(super) operation: String,
    pub(super) machine: String,
    pub(super) subject: String,
}

/// What equal ones took.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Took {
    pub(super) count: u64,
    pub(super) total_ns: u64,
    pub(super) least_ns: u64,
}

#[derive(Debug, Default)]
struct Kind {
    took: Vec<u64>,
    slowest: Vec<SlowOperation>,
}

#[derive(Debug, Default)]
pub(super) struct Operations {
    open: HashMap<(Option<String>, u64), What>,
    kinds: BTreeMap<String, Kind>,
    pub(super) equal: BTreeMap<What, Took>,
}

impl Operations {
    pub(super) fn event(&mut self, event: &Event) {
        match &event.kind {
            EventKind::OperationStarted {
                id,
                operation,
                subject,
            } => {
                let what = What {
                    operation: operation.clone(),
                    machine: event.machine.clone().unwrap_or_default(),
                    subject: brief(subject),
                };
                self.open.insert((event.test.clone(), *id), what);
            }
            EventKind::OperationEnded {
                id, duration_ns, ..
            } => {
                if let Some(what) = self.open.remove(&(event.test.clone(), *id)) {
                    self.ended(event.test.as_ref(), what, *duration_ns);
                }
            }
            // What it gave up has no end.
            EventKind::TestEnded { .. } => self.open.retain(|(test, _), _| *test != event.test),
            _ => {}
        }
    }

    fn ended(&mut self, test: Option<&String>, what: What, ns: u64) {
        let kind = self.kinds.entry(what.operation.clone()).or_default();
        kind.took.push(ns);
        let place = kind.slowest.partition_point(|slow| slow.ns >= ns);
        if place < SLOWEST {
            let slow = SlowOperation {
                test: test.cloned(),
                machine: Some(what.machine.clone()).filter(|machine| !machine.is_empty()),
                subject: what.subject.clone(),
                ns,
            };
            kind.slowest.insert(place, slow);
            kind.slowest.truncate(SLOWEST);
        }
        if self.equal.len() < KNOWN || self.equal.contains_key(&what) {
            let took = self.equal.entry(what).or_default();
            took.least_ns = match took.count {
                0 => ns,
                _ => ns.min(took.least_ns),
            };
            took.count += 1;
            took.total_ns += ns;
        }
    }

    /// That which took most in all first.
    pub(super) fn times(&self) -> Vec<OperationTimes> {
        let times = self.kinds.iter().map(|(operation, kind)| {
            let mut sorted = kind.took.clone();
            sorted.sort_unstable();
            OperationTimes {
                operation: operation.clone(),
                count: sorted.len() as u64,
                total_ns: sorted.iter().sum(),
                median_ns: sorted.get((sorted.len() - 1) / 2).copied().unwrap_or(0),
                slowest: kind.slowest.clone(),
            }
        });
        let mut times: Vec<_> = times.collect();
        times.sort_by_key(|time| std::cmp::Reverse(time.total_ns));
        times
    }
}

pub(super) fn brief(text: &str) -> String {
    match text.char_indices().nth(SUBJECT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

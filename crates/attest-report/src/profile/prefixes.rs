//! What several tests ask of their machines first, all the same: it could be a set-up.

use std::collections::HashMap;

use attest_events::{Event, EventKind, Part, Phase};

use super::lanes::Account;
use super::operations::{What, brief};
use super::savings::Saving;

/// Operations of a test that are compared.
const COMPARED: usize = 64;
/// Tests that are.
const TESTS: usize = 500;

#[derive(Debug)]
struct Asked {
    id: u64,
    what: What,
    took_ns: u64,
}

/// What tests asked of machines at first, until one of them ended.
#[derive(Debug, Default)]
pub(super) struct Prefixes {
    open: HashMap<Option<String>, Vec<Asked>>,
    ended: Vec<Vec<Asked>>,
}

impl Prefixes {
    pub(super) fn event(&mut self, event: &Event) {
        match &event.kind {
            // Set-ups come before it.
            EventKind::PhaseStarted { phase: Phase::Test } => {
                self.open.insert(event.test.clone(), Vec::new());
            }
            EventKind::OperationStarted {
                id,
                operation,
                subject,
            } => {
                let Some(asked) = self.open.get_mut(&event.test) else {
                    return;
                };
                if asked.len() < COMPARED {
                    let what = What {
                        operation: operation.clone(),
                        machine: event.machine.clone().unwrap_or_default(),
                        subject: brief(subject),
                    };
                    asked.push(Asked {
                        id: *id,
                        what,
                        took_ns: 0,
                    });
                }
            }
            EventKind::OperationEnded {
                id, duration_ns, ..
            } => {
                let asked = self.open.get_mut(&event.test);
                let asked = asked.and_then(|asked| asked.iter_mut().find(|asked| asked.id == *id));
                if let Some(asked) = asked {
                    asked.took_ns = *duration_ns;
                }
            }
            EventKind::TestEnded { .. } => {
                if let Some(asked) = self.open.remove(&event.test)
                    && self.ended.len() < TESTS
                {
                    self.ended.push(asked);
                }
            }
            _ => {}
        }
    }

    /// Of all that begin the same, those with which most could be saved.
    pub(super) fn saving(&self, account: &Account) -> Option<Saving> {
        let mut firsts: HashMap<&What, Vec<&[Asked]>> = HashMap::new();
        for asked in &self.ended {
            if let Some(first) = asked.first() {
                firsts.entry(&first.what).or_default().push(asked);
            }
        }
        let common = firsts.into_values().filter(|tests| tests.len() > 1);
        let (ns, tests, first, count) = common.map(|tests| shared(&tests)).max()?;
        let at_most = [Part::Commands, Part::Waits, Part::Copies, Part::Requests];
        let at_most = at_most.map(|part| account.wall[part as usize]);
        let s = if count == 1 { "" } else { "s" };
        Some(Saving {
            ns: ns.min(at_most.iter().sum()),
            what: format!(
                "{tests} tests begin with the same {count} request{s}, from `{first}` on"
            ),
            how: "make them a set-up that the tests name (`[setups.NAME]`, `@attest.setup`): it is done once, and they \
                  go on from there"
                .to_owned(),
        })
    }
}

/// What they have in common at first, but once: its time, how many they are, what it begins with, and how much it is.
fn shared(tests: &[&[Asked]]) -> (u64, usize, String, usize) {
    let shortest = tests.iter().map(|asked| asked.len()).min().unwrap_or(0);
    let is_same = |place: &usize| {
        let what = &tests[0][*place].what;
        tests.iter().all(|asked| asked[*place].what == *what)
    };
    let count = (0..shortest).take_while(is_same).count();
    let took = |asked: &&[Asked]| -> u64 { asked[..count].iter().map(|asked| asked.took_ns).sum() };
    let mut all: Vec<u64> = tests.iter().map(took).collect();
    all.sort_unstable();
    // It has to be done once; whoever takes longest would do it.
    let ns = all[..all.len() - 1].iter().sum();
    let What {
        machine, subject, ..
    } = &tests[0][0].what;
    (ns, tests.len(), format!("{machine}: {subject}"), count)
}

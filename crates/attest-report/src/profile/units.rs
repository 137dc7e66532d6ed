//! Boots of guests with systemd, and their slowest units.

use std::collections::BTreeMap;

use attest_events::{Event, EventKind};
use serde::Serialize;

/// Units that are named.
const SLOWEST: usize = 5;
/// Units that are remembered: a guest may say any number.
const KNOWN: usize = 1000;

/// A unit that took long to start in the boot of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SlowBoot {
    /// Which machine.
    pub machine: String,
    /// The unit.
    pub unit: String,
    /// How long it took in the slowest of its boots, nanoseconds.
    pub ns: u64,
    /// How often the machine booted.
    pub boots: u32,
}

#[derive(Debug, Default)]
pub(super) struct Units {
    slow: BTreeMap<(String, String), u64>,
    boots: BTreeMap<String, u32>,
}

impl Units {
    pub(super) fn event(&mut self, event: &Event) {
        let (EventKind::SystemUp { times, .. }, Some(machine)) = (&event.kind, &event.machine)
        else {
            return;
        };
        *self.boots.entry(machine.clone()).or_default() += 1;
        for unit in &times.slowest {
            let key = (machine.clone(), unit.unit.clone());
            if self.slow.len() < KNOWN || self.slow.contains_key(&key) {
                let slowest = self.slow.entry(key).or_default();
                *slowest = unit.took_ns.max(*slowest);
            }
        }
    }

    /// The slowest first.
    pub(super) fn slowest(&self) -> Vec<SlowBoot> {
        let mut all: Vec<_> = self.slow.iter().collect();
        all.sort_by_key(|(_, took)| std::cmp::Reverse(**took));
        let slowest = all.into_iter().take(SLOWEST);
        slowest
            .map(|((machine, unit), ns)| SlowBoot {
                machine: machine.clone(),
                unit: unit.clone(),
                ns: *ns,
                boots: self.boots.get(machine).copied().unwrap_or(1),
            })
            .collect()
    }
}

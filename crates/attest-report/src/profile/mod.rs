//! Where the time of a run went, and what could be saved of it: each part by its name, and who worked meanwhile.

mod lanes;
mod operations;
mod prefixes;
mod savings;
mod show;
mod units;

use attest_events::{Event, EventKind, Part, ProcessKind, Row, Who};
use serde::Serialize;

use self::lanes::{Account, Lanes};
use self::operations::Operations;
pub use self::operations::{OperationTimes, SlowOperation};
pub use self::savings::Saving;
use self::savings::Seen;
pub use self::units::SlowBoot;
use self::units::Units;

/// Where the time of a run went. Times are in nanoseconds.
///
/// What the events do not show is not in it: the end of the process after its last report, the work of attest's agent in
/// the guest for commands and waits, which counts as the guest's, and that of the Python package between calls, which
/// counts as the test's code.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Profile {
    /// Whether the run came to its end.
    pub complete: bool,
    /// Wall time from the start of the process on.
    pub total_ns: u64,
    /// The six parts of every such run. They add up to the total.
    pub rows: Vec<RowTime>,
    /// All that there was, in order; they add up to the total, too.
    pub parts: Vec<PartTime>,
    /// Who worked while the wall time waited; this adds up as well.
    pub who: Vec<WhoTime>,
    /// attest's own share.
    pub own: Own,
    /// What was asked of machines, by kind.
    pub operations: Vec<OperationTimes>,
    /// The slowest units of the boots of guests with systemd, the slowest first.
    pub boots: Vec<SlowBoot>,
    /// What could be saved, the most first: three at most.
    pub savings: Vec<Saving>,
}

/// The wall time of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RowTime {
    /// Which.
    pub row: Row,
    /// Its time.
    pub ns: u64,
}

/// The wall time that waited for someone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct WhoTime {
    /// For whom.
    pub who: Who,
    /// How long.
    pub ns: u64,
}

/// The wall time of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PartTime {
    /// Which.
    pub part: Part,
    /// The row that it belongs to.
    pub row: Row,
    /// Who worked meanwhile.
    pub who: Who,
    /// Its time.
    pub ns: u64,
    /// What attest's command used of the processors meanwhile.
    pub cpu_ns: u64,
}

/// What attest itself took: an upper bound.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Own {
    /// Wall time of its own parts.
    pub wall_ns: u64,
    /// What its command and its lab processes used of the processors beside the others' parts, at most: time that they
    /// took from guests where these had no processor left.
    pub cpu_ns: u64,
    /// Both.
    pub ns: u64,
    /// Both, as per cent of the total.
    pub percent: f64,
    /// All that its processes used.
    pub processes: Processes,
}

/// What processes used of the processors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Processes {
    /// The command.
    pub driver_ns: u64,
    /// Labs' processes, with what they relay; without VMMs and containers.
    pub labs_ns: u64,
    /// That of it which was beside others' parts.
    pub labs_beside_ns: u64,
    /// All processes of labs: VMMs and what runs in them, containers, and the labs' own.
    pub machines_ns: u64,
    /// Pythons of scripts: attest's package, and the tests' code.
    pub python_ns: u64,
    /// Rust tests: attest in them, and the tests' code.
    pub rust_tests_ns: u64,
}

/// Makes the profile of a run from its events.
#[derive(Debug)]
pub struct Profiler {
    lanes: Lanes,
    operations: Operations,
    units: Units,
    processes: Processes,
    seen: Seen,
    complete: bool,
}

impl Default for Profiler {
    fn default() -> Self {
        Self::new()
    }
}

impl Profiler {
    /// Of a run that begins now.
    pub fn new() -> Self {
        Self {
            lanes: Lanes::new(),
            operations: Operations::default(),
            units: Units::default(),
            processes: Processes::default(),
            seen: Seen::default(),
            complete: false,
        }
    }

    /// The same, on a host with so many processors.
    #[must_use]
    pub fn on_processors(mut self, count: u32) -> Self {
        self.seen.processors = count;
        self
    }

    /// The next event.
    pub fn observe(&mut self, event: &Event) {
        self.lanes.event(event);
        self.operations.event(event);
        self.units.event(event);
        self.seen.event(event);
        match &event.kind {
            EventKind::CpuUsed {
                by,
                cpu_ns,
                waited_ns,
            } => self.used(*by, *cpu_ns, *waited_ns),
            EventKind::RunEnded { .. } => {
                self.complete = true;
                self.lanes.ended(event.at_ns);
            }
            _ => {}
        }
    }

    fn used(&mut self, by: ProcessKind, cpu_ns: u64, waited_ns: u64) {
        let processes = &mut self.processes;
        match by {
            ProcessKind::Driver => processes.driver_ns = processes.driver_ns.max(cpu_ns),
            ProcessKind::Lab => {
                processes.labs_ns += cpu_ns;
                processes.labs_beside_ns += cpu_ns.saturating_sub(waited_ns);
            }
            ProcessKind::Machines => processes.machines_ns += cpu_ns,
            ProcessKind::Python => processes.python_ns += cpu_ns,
            ProcessKind::RustTest => processes.rust_tests_ns += cpu_ns,
        }
    }

    /// The profile until the last event; or until then, where that is later: what follows the last event is the writing
    /// of reports.
    pub fn profile(&mut self, until_ns: Option<u64>) -> Profile {
        let now_ns = self.lanes.now_ns();
        let total_ns = until_ns.unwrap_or(now_ns).max(now_ns);
        let account = self.lanes.finish(total_ns);
        let parts = parts(&account);
        let sum = |is_it: &dyn Fn(&PartTime) -> bool| {
            let those = parts.iter().filter(|part| is_it(part));
            those.map(|part| part.ns).sum::<u64>()
        };
        let rows = Row::ALL.map(|row| RowTime {
            row,
            ns: sum(&|part| part.row == row),
        });
        let who = Who::ALL.map(|who| WhoTime {
            who,
            ns: sum(&|part| part.who == who),
        });
        let own = self.own(who[0].ns, account.beside, total_ns);
        let operations = self.operations.times();
        let processes = self.processes;
        self.seen.busy_ns = processes.driver_ns
            + processes.machines_ns
            + processes.python_ns
            + processes.rust_tests_ns;
        let savings = self
            .seen
            .savings(total_ns, &account, &self.operations, &self.units);
        Profile {
            complete: self.complete,
            total_ns,
            rows: rows.to_vec(),
            who: who.to_vec(),
            own,
            operations,
            boots: self.units.slowest(),
            savings,
            parts,
        }
    }

    fn own(&self, wall_ns: u64, beside_ns: u64, total_ns: u64) -> Own {
        let processes = self.processes;
        let cpu_ns = beside_ns + processes.labs_beside_ns;
        let ns = wall_ns + cpu_ns;
        #[expect(clippy::cast_precision_loss, reason = "a percentage")]
        let percent = 100.0 * ns as f64 / total_ns.max(1) as f64;
        Own {
            wall_ns,
            cpu_ns,
            ns,
            // As it is shown: more digits say nothing.
            percent: (percent * 100.0).round() / 100.0,
            processes,
        }
    }
}

/// Those in which there was any time.
fn parts(account: &Account) -> Vec<PartTime> {
    let all = Part::ALL.into_iter().zip(account.wall).zip(account.cpu);
    let all = all.map(|((part, ns), cpu_ns)| PartTime {
        part,
        row: part.row(),
        who: part.who(),
        ns,
        cpu_ns,
    });
    all.filter(|part| part.ns > 0).collect()
}

#[cfg(test)]
mod tests;

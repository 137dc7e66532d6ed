//! Turns marks ("now the boot begins") into a [`Breakdown`] whose phases partition the wall time.
//!
//! A mark ends a phase at the same instant at which it begins the next. Where several tests run at
//! once, each has a lane with a phase of its own, and every instant is shared among the lanes in
//! equal parts. So no time can be counted twice or be lost: the sum is the wall time by
//! construction, and not by care.

use std::time::{Duration, Instant};

use crate::{Breakdown, Event, EventKind, MachineTime, Phase, PhaseTime, nanoseconds};

/// Collects marks that carry nanoseconds since the run began.
///
/// Starts in [`Phase::Plan`] at 0. A phase may be entered any number of times; its times add up.
#[derive(Debug, Clone)]
pub struct Marks {
    /// The run's own phase, which counts while no test runs.
    current: Phase,
    /// The tests that run, with their phases.
    lanes: Vec<(String, Phase)>,
    since_ns: u64,
    total: Times,
    machines: Vec<(String, Times)>,
}

impl Default for Marks {
    fn default() -> Self {
        Self::new()
    }
}

impl Marks {
    /// Begins with the planning at 0.
    pub fn new() -> Self {
        Self {
            current: Phase::Plan,
            lanes: Vec::new(),
            since_ns: 0,
            total: Times::default(),
            machines: Vec::new(),
        }
    }

    /// The phase that runs now: the run's own.
    pub fn current(&self) -> Phase {
        self.current
    }

    /// From `at_ns` on, the run is in `phase`, and so is the only test that runs, if one does. A
    /// mark from before the last one counts as made at the last one: marks of several threads may
    /// arrive a little out of order.
    pub fn enter(&mut self, phase: Phase, at_ns: u64) {
        self.pass(at_ns);
        self.current = phase;
        if let [(_, only)] = &mut self.lanes[..] {
            *only = phase;
        }
    }

    /// From `at_ns` on, this test runs too. It goes on in the run's phase.
    pub fn open(&mut self, test: &str, at_ns: u64) {
        self.pass(at_ns);
        if self.lane(test).is_none() {
            self.lanes.push((test.to_owned(), self.current));
        }
    }

    /// From `at_ns` on, this test is in `phase`; the run is, where the test does not run.
    pub fn enter_in(&mut self, test: &str, phase: Phase, at_ns: u64) {
        let Some(lane) = self.lane(test) else {
            return self.enter(phase, at_ns);
        };
        self.pass(at_ns);
        self.lanes[lane].1 = phase;
    }

    /// From `at_ns` on, this test runs no more. The run stays in the phase of the last that did.
    pub fn close(&mut self, test: &str, at_ns: u64) {
        self.pass(at_ns);
        if let Some(lane) = self.lane(test) {
            let (_, phase) = self.lanes.remove(lane);
            if self.lanes.is_empty() {
                self.current = phase;
            }
        }
    }

    fn lane(&self, test: &str) -> Option<usize> {
        self.lanes.iter().position(|(name, _)| name == test)
    }

    /// Account for the time until `at_ns`.
    fn pass(&mut self, at_ns: u64) {
        let at_ns = at_ns.max(self.since_ns);
        let passed = at_ns - self.since_ns;
        self.since_ns = at_ns;
        if self.lanes.is_empty() {
            self.total.add(self.current, passed);
            return;
        }
        let lanes = self.lanes.len() as u64;
        for (index, (_, phase)) in (0..).zip(&self.lanes) {
            // What cannot be divided goes to the first ones, a nanosecond each.
            let part = passed / lanes + u64::from(index < passed % lanes);
            self.total.add(*phase, part);
        }
    }

    /// This machine spent `ns` in `phase`. Independent of the run's own phases.
    pub fn machine(&mut self, machine: &str, phase: Phase, ns: u64) {
        self.machine_times(machine).add(phase, ns);
    }

    /// Names a machine, so that it has its place in the table although nothing is known of it yet.
    pub fn declare(&mut self, machine: &str) {
        self.machine_times(machine);
    }

    /// Takes what the event says about phases; other events change nothing.
    pub fn observe(&mut self, event: &Event) {
        let test = event.test.as_deref();
        match (&event.kind, &event.machine) {
            (EventKind::TestStarted, _) => {
                if let Some(test) = test {
                    self.open(test, event.at_ns);
                }
            }
            (EventKind::TestEnded { .. }, _) => {
                if let Some(test) = test {
                    self.close(test, event.at_ns);
                }
            }
            (EventKind::LabStarted { machines }, _) => {
                for machine in machines {
                    self.declare(machine);
                }
            }
            (EventKind::PhaseStarted { phase }, None) => match test {
                Some(test) => self.enter_in(test, *phase, event.at_ns),
                None => self.enter(*phase, event.at_ns),
            },
            (EventKind::PhaseEnded { phase, duration_ns }, Some(machine)) => {
                self.machine(machine, *phase, *duration_ns);
            }
            (EventKind::BootMeasured { duration_ns }, Some(machine)) => {
                let measured = &mut self.machine_times(machine).measured_boot;
                *measured = Some(measured.unwrap_or(0) + duration_ns);
            }
            _ => {}
        }
    }

    /// The run ended at `at_ns`. Every phase of the run is listed, with 0 where it never was.
    pub fn finish(mut self, at_ns: u64) -> Breakdown {
        self.pass(at_ns);
        Breakdown {
            wall_ns: self.since_ns,
            total: self.total.all(),
            machines: self
                .machines
                .into_iter()
                .map(|(machine, times)| MachineTime {
                    machine,
                    phases: times.known(),
                    measured_boot_ns: times.measured_boot,
                })
                .collect(),
        }
    }

    fn machine_times(&mut self, machine: &str) -> &mut Times {
        let index = self
            .machines
            .iter()
            .position(|(name, _)| name == machine)
            .unwrap_or_else(|| {
                self.machines.push((machine.to_owned(), Times::default()));
                self.machines.len() - 1
            });
        &mut self.machines[index].1
    }
}

/// [`Marks`] on the monotonic clock.
#[derive(Debug, Clone)]
pub struct Clock {
    began: Instant,
    marks: Marks,
}

impl Clock {
    /// The run began at `began`, with its planning.
    pub fn start(began: Instant) -> Self {
        Self {
            began,
            marks: Marks::new(),
        }
    }

    /// When the run began.
    pub fn began(&self) -> Instant {
        self.began
    }

    /// The phase that runs now.
    pub fn current(&self) -> Phase {
        self.marks.current()
    }

    /// From now on, the run is in `phase`.
    pub fn enter(&mut self, phase: Phase) {
        self.enter_at(phase, Instant::now());
    }

    /// From `at` on, the run is in `phase`. See [`Marks::enter`] for instants out of order.
    pub fn enter_at(&mut self, phase: Phase, at: Instant) {
        self.marks.enter(phase, self.since_began(at));
    }

    /// This machine was in `phase` for so long.
    pub fn machine(&mut self, machine: &str, phase: Phase, duration: Duration) {
        self.marks.machine(machine, phase, nanoseconds(duration));
    }

    /// The run ends now.
    pub fn finish(self) -> Breakdown {
        self.finish_at(Instant::now())
    }

    /// The run ended at `at`.
    pub fn finish_at(self, at: Instant) -> Breakdown {
        let at_ns = self.since_began(at);
        self.marks.finish(at_ns)
    }

    fn since_began(&self, at: Instant) -> u64 {
        nanoseconds(at.saturating_duration_since(self.began))
    }
}

impl Breakdown {
    /// What the phases of the run add up to, nanoseconds. Equal to `wall_ns` for what [`Marks`]
    /// made.
    pub fn sum_ns(&self) -> u64 {
        self.total
            .iter()
            .fold(0, |sum, time| sum.saturating_add(time.ns))
    }

    /// The run's time in a phase, nanoseconds; 0 when it is not listed.
    pub fn phase_ns(&self, phase: Phase) -> u64 {
        find(&self.total, phase).unwrap_or(0)
    }
}

impl MachineTime {
    /// The machine's time in a phase, nanoseconds; nothing when it never was in it.
    pub fn phase_ns(&self, phase: Phase) -> Option<u64> {
        find(&self.phases, phase)
    }

    /// What its phases add up to, nanoseconds.
    pub fn sum_ns(&self) -> u64 {
        self.phases
            .iter()
            .fold(0, |sum, time| sum.saturating_add(time.ns))
    }
}

fn find(times: &[PhaseTime], phase: Phase) -> Option<u64> {
    times
        .iter()
        .find(|time| time.phase == phase)
        .map(|time| time.ns)
}

/// Time by phase; nothing where the phase never was.
#[derive(Debug, Clone, Default)]
struct Times {
    phases: [Option<u64>; Phase::ALL.len()],
    measured_boot: Option<u64>,
}

impl Times {
    fn add(&mut self, phase: Phase, ns: u64) {
        // The variants are declared in the order of `ALL`; a test holds that true.
        let slot = &mut self.phases[phase as usize];
        *slot = Some(slot.unwrap_or(0).saturating_add(ns));
    }

    fn all(&self) -> Vec<PhaseTime> {
        Phase::ALL
            .into_iter()
            .zip(self.phases)
            .map(|(phase, ns)| PhaseTime {
                phase,
                ns: ns.unwrap_or(0),
            })
            .collect()
    }

    fn known(&self) -> Vec<PhaseTime> {
        Phase::ALL
            .into_iter()
            .zip(self.phases)
            .filter_map(|(phase, ns)| Some(PhaseTime { phase, ns: ns? }))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn phases_are_numbered_in_the_order_of_all() {
        for (index, phase) in Phase::ALL.into_iter().enumerate() {
            assert_eq!(phase as usize, index, "{phase:?}");
        }
    }

    #[test]
    fn a_phase_entered_twice_adds_up() {
        let mut marks = Marks::new();
        marks.enter(Phase::Boot, 10);
        marks.enter(Phase::Test, 30);
        marks.enter(Phase::Boot, 35);
        marks.enter(Phase::Shutdown, 40);
        let breakdown = marks.finish(47);
        assert_eq!(breakdown.wall_ns, 47);
        assert_eq!(breakdown.phase_ns(Phase::Plan), 10);
        assert_eq!(breakdown.phase_ns(Phase::Boot), 25);
        assert_eq!(breakdown.phase_ns(Phase::Test), 5);
        assert_eq!(breakdown.phase_ns(Phase::Shutdown), 7);
        assert_eq!(breakdown.phase_ns(Phase::Image), 0);
    }

    #[test]
    fn machines_keep_their_order_and_only_what_they_were_in() {
        let mut marks = Marks::new();
        marks.declare("web");
        marks.machine("db", Phase::Boot, 7);
        marks.machine("web", Phase::Boot, 5);
        marks.machine("web", Phase::Boot, 1);
        let machines = marks.finish(20).machines;
        assert_eq!(machines[0].machine, "web");
        assert_eq!(machines[0].phase_ns(Phase::Boot), Some(6));
        assert_eq!(machines[0].phase_ns(Phase::Agent), None);
        assert_eq!(machines[1].machine, "db");
        assert_eq!(machines[1].sum_ns(), 7);
    }

    #[test]
    fn an_instant_before_the_start_counts_as_the_start() {
        let began = Instant::now();
        let mut clock = Clock::start(began + Duration::from_secs(1));
        clock.enter_at(Phase::Test, began);
        let breakdown = clock.finish_at(began + Duration::from_secs(3));
        assert_eq!(breakdown.phase_ns(Phase::Test), 2_000_000_000);
        assert_eq!(breakdown.sum_ns(), breakdown.wall_ns);
    }

    #[test]
    fn tests_that_run_at_once_share_the_time() {
        let mut marks = Marks::new();
        marks.open("a", 10);
        marks.enter_in("a", Phase::Boot, 10);
        marks.open("b", 20);
        marks.enter_in("b", Phase::Test, 20);
        // 5 each, and the odd one is the first one's.
        marks.close("a", 31);
        marks.close("b", 40);
        let breakdown = marks.finish(45);
        assert_eq!(breakdown.phase_ns(Phase::Plan), 10);
        assert_eq!(breakdown.phase_ns(Phase::Boot), 10 + 6);
        assert_eq!(breakdown.phase_ns(Phase::Test), 5 + 9 + 5);
        assert_eq!(breakdown.sum_ns(), 45);
    }

    #[test]
    fn a_test_alone_changes_nothing() {
        let phases = [Phase::Image, Phase::Boot, Phase::Test, Phase::Shutdown];
        let mut plain = Marks::new();
        let mut with_tests = Marks::new();
        for (index, phase) in (0_u64..).zip(phases) {
            let at = 10 * index;
            plain.enter(phase, at + 5);
            let test = format!("test {}", index / 2);
            with_tests.open(&test, at + 3);
            // As the run's or as the test's.
            if index == 1 {
                with_tests.enter(phase, at + 5);
            } else {
                with_tests.enter_in(&test, phase, at + 5);
            }
            if index % 2 == 1 {
                with_tests.close(&test, at + 7);
            }
        }
        assert_eq!(with_tests.finish(50), plain.finish(50));
    }

    proptest! {
        #[test]
        fn the_sum_is_the_wall_time_with_tests(
            steps in prop::collection::vec((0..3_u8, 0..4_u8, 0..Phase::ALL.len(), 0_u64..1 << 40), 0..64),
            end in 0_u64..1 << 40,
        ) {
            let mut marks = Marks::new();
            let last = steps.iter().map(|step| step.3).max().unwrap_or(0).max(end);
            for (what, test, phase, at) in steps {
                let test = test.to_string();
                match what {
                    0 => marks.open(&test, at),
                    1 => marks.enter_in(&test, Phase::ALL[phase], at),
                    _ => marks.close(&test, at),
                }
            }
            let breakdown = marks.finish(end);
            prop_assert_eq!(breakdown.wall_ns, last);
            prop_assert_eq!(breakdown.sum_ns(), breakdown.wall_ns);
        }

        #[test]
        fn the_sum_is_the_wall_time(
            entered in prop::collection::vec((0..Phase::ALL.len(), 0_u64..1 << 50), 0..64),
            end in 0_u64..1 << 50,
        ) {
            let mut marks = Marks::new();
            let last = entered.iter().map(|(_, at)| *at).max().unwrap_or(0).max(end);
            for (phase, at) in entered {
                marks.enter(Phase::ALL[phase], at);
            }
            let breakdown = marks.finish(end);
            prop_assert_eq!(breakdown.wall_ns, last);
            prop_assert_eq!(breakdown.sum_ns(), breakdown.wall_ns);
        }
    }
}

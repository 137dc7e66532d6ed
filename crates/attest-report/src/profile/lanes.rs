//! Which part the wall time waits for: each test has a lane, and every instant is shared among the lanes that get on.

use attest_events::{Event, EventKind, Part, Phase, ProcessKind, Who};

/// The wall time by part, and what attest's process used of the processors meanwhile.
#[derive(Debug, Clone, Default)]
pub(super) struct Account {
    pub(super) wall: [u64; Part::ALL.len()],
    /// Of the driver.
    pub(super) cpu: [u64; Part::ALL.len()],
    /// That of it which was not during attest's own parts, at most.
    pub(super) beside: u64,
}

/// A test, or what of the run is no test's.
#[derive(Debug)]
struct Lane {
    test: Option<String>,
    base: Part,
    /// Machines that somebody may wait for.
    machines: Vec<(String, Part)>,
    /// What was asked of machines, in its order.
    asked: Vec<Asked>,
}

#[derive(Debug)]
struct Asked {
    id: u64,
    machine: Option<String>,
    part: Part,
}

/// All lanes.
#[derive(Debug)]
pub(super) struct Lanes {
    run: Lane,
    tests: Vec<Lane>,
    since_ns: u64,
    account: Account,
    /// What the driver had used when it last said so.
    cpu_ns: u64,
    /// The wall time by part since then.
    meanwhile: [u64; Part::ALL.len()],
}

impl Lane {
    fn new(test: Option<&str>, base: Part) -> Self {
        Self {
            test: test.map(str::to_owned),
            base,
            machines: Vec::new(),
            asked: Vec::new(),
        }
    }

    fn enter(&mut self, part: Part) {
        if part == Part::LabProcess {
            // Another lab.
            self.machines.clear();
        }
        self.base = part;
    }

    fn of_machine(&self, machine: Option<&str>) -> Option<Part> {
        let machine = machine?;
        let found = self.machines.iter().find(|(name, _)| name == machine);
        found.map(|(_, part)| *part)
    }

    /// What it waits for now.
    fn part(&self) -> Part {
        let base = self.base;
        let least = self.machines.iter().map(|(_, part)| *part).min();
        match base {
            Part::Script | Part::Steps => {
                if let Some(asked) = self.asked.first() {
                    // A machine that is not there yet is what it really waits for.
                    let machine = self.of_machine(asked.machine.as_deref());
                    return machine.unwrap_or(asked.part);
                }
                // The test's code waits for machines to be started, but not for their boots.
                least.filter(|part| *part <= Part::Load).unwrap_or(base)
            }
            Part::Start | Part::VmmStart | Part::Load | Part::Kernel | Part::MachineSetUp => {
                least.unwrap_or(base)
            }
            _ => base,
        }
    }

    fn machine(&mut self, machine: &str, part: Option<Part>) {
        self.machines.retain(|(name, _)| name != machine);
        if let Some(part) = part {
            self.machines.push((machine.to_owned(), part));
        }
    }
}

impl Lanes {
    pub(super) fn new() -> Self {
        Self {
            run: Lane::new(None, Part::StartUp),
            tests: Vec::new(),
            since_ns: 0,
            account: Account::default(),
            cpu_ns: 0,
            meanwhile: [0; Part::ALL.len()],
        }
    }

    /// Until when time is accounted for.
    pub(super) fn now_ns(&self) -> u64 {
        self.since_ns
    }

    pub(super) fn event(&mut self, event: &Event) {
        let test = event.test.as_deref();
        match &event.kind {
            EventKind::TestStarted => {
                self.pass(event.at_ns);
                if let Some(name) = test
                    && self.place(test).is_none()
                {
                    self.tests.push(Lane::new(Some(name), self.run.base));
                }
            }
            EventKind::TestEnded { .. } => {
                self.pass(event.at_ns);
                if let Some(place) = self.place(test) {
                    self.tests.remove(place);
                    // What is next, the schedule says.
                    self.run.base = Part::Plan;
                }
            }
            EventKind::PhaseStarted { phase } if event.machine.is_none() => {
                self.pass(event.at_ns);
                self.enter(test, Part::of_phase(*phase), *phase == Phase::Test);
            }
            EventKind::PartStarted { part, cpu_ns } => {
                self.pass(event.at_ns);
                self.used(*cpu_ns);
                match &event.machine {
                    Some(machine) => self.lane(test).machine(machine, Some(*part)),
                    None => self.enter(test, *part, false),
                }
            }
            EventKind::PartsEnded => {
                self.pass(event.at_ns);
                if let Some(machine) = &event.machine {
                    self.lane(test).machine(machine, None);
                }
            }
            EventKind::OperationStarted { id, operation, .. } => {
                self.pass(event.at_ns);
                let machine = event.machine.clone();
                let (id, part) = (*id, part_of(operation));
                self.lane(test).asked.push(Asked { id, machine, part });
            }
            EventKind::OperationEnded { id, .. } => {
                self.pass(event.at_ns);
                self.lane(test).asked.retain(|asked| asked.id != *id);
            }
            EventKind::CpuUsed {
                by: ProcessKind::Driver,
                cpu_ns,
                ..
            } => {
                self.pass(event.at_ns);
                self.used(Some(*cpu_ns));
            }
            _ => {}
        }
    }

    /// From then on, reports are written to their ends.
    pub(super) fn ended(&mut self, at_ns: u64) {
        self.pass(at_ns);
        self.tests.clear();
        self.run = Lane::new(None, Part::Reports);
    }

    /// There is no more time than until then.
    pub(super) fn finish(&mut self, at_ns: u64) -> Account {
        self.pass(at_ns);
        self.account.clone()
    }

    fn place(&self, test: Option<&str>) -> Option<usize> {
        let is_it = |lane: &Lane| lane.test.as_deref() == test;
        test.and_then(|_| self.tests.iter().position(is_it))
    }

    /// The lane of this test; of a test that does not run, the run's.
    fn lane(&mut self, test: Option<&str>) -> &mut Lane {
        match self.place(test) {
            Some(place) => &mut self.tests[place],
            None => &mut self.run,
        }
    }

    /// As [`attest_events::Marks`] has it for phases.
    fn enter(&mut self, test: Option<&str>, part: Part, is_test: bool) {
        if self.place(test).is_some() {
            let lane = self.lane(test);
            if is_test {
                // What was given up has no end.
                lane.asked.clear();
            }
            lane.enter(part);
            return;
        }
        self.run.enter(part);
        if let [only] = &mut self.tests[..] {
            only.enter(part);
        }
    }

    /// Account for the time until then.
    fn pass(&mut self, at_ns: u64) {
        let at_ns = at_ns.max(self.since_ns);
        let passed = at_ns - self.since_ns;
        self.since_ns = at_ns;
        if passed == 0 {
            return;
        }
        if self.tests.is_empty() {
            self.add(self.run.part(), passed);
            return;
        }
        let mut parts: Vec<Part> = self.tests.iter().map(Lane::part).collect();
        // Who waits for another's turn waits for what that one does.
        if parts.iter().any(|part| *part != Part::Turn) {
            parts.retain(|part| *part != Part::Turn);
        }
        let count = parts.len() as u64;
        for (index, part) in (0..).zip(parts) {
            // What cannot be divided goes to the first ones, a nanosecond each.
            self.add(part, passed / count + u64::from(index < passed % count));
        }
    }

    fn add(&mut self, part: Part, ns: u64) {
        self.account.wall[part as usize] += ns;
        self.meanwhile[part as usize] += ns;
    }

    /// The driver has used so much until now.
    fn used(&mut self, cpu_ns: Option<u64>) {
        let Some(cpu_ns) = cpu_ns else { return };
        let used = cpu_ns.saturating_sub(self.cpu_ns);
        self.cpu_ns = self.cpu_ns.max(cpu_ns);
        let meanwhile = std::mem::take(&mut self.meanwhile);
        let all: u64 = meanwhile.iter().sum();
        let is_other = |part: &Part| part.who() != Who::Attest && meanwhile[*part as usize] > 0;
        // How it is divided where both are in the same interval, nobody knows: it is counted as beside the others.
        if Part::ALL.iter().any(is_other) {
            self.account.beside += used;
        }
        for (part, wall) in meanwhile.into_iter().enumerate() {
            let share = u128::from(used) * u128::from(wall) / u128::from(all.max(1));
            self.account.cpu[part] += u64::try_from(share).unwrap_or(u64::MAX);
        }
    }
}

/// What an operation is a part of.
fn part_of(operation: &str) -> Part {
    match operation {
        "exec" => Part::Commands,
        "wait" => Part::Waits,
        "upload" | "download" => Part::Copies,
        _ => Part::Requests,
    }
}

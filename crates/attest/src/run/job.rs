//! What is scheduled as a whole: one test on a lab of its own, or several that share one.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use attest_manifest::{Backend, LabPlan, MachinePlan, TestKind};

use super::options::Repeat;
use super::output::file_name;
use super::select::{LabRun, SelectedTest};
use crate::limit::Limit;
use crate::schedule::{History, MIB, Need};

/// What QEMU needs beside the memory of its guest, bytes: its own heap, the screen, and the
/// translated code, which grows to 30 MB with a busy guest of 256 MiB under TCG.
const QEMU: u64 = 128 * MIB;
/// What Firecracker needs beside the memory of its guest, bytes: 5 MB, and what the kernel has for its tables.
const FIRECRACKER: u64 = 8 * MIB;
/// What Cloud Hypervisor needs beside the memory of its guest, bytes: 11 MB, and what the kernel has for its tables.
const CLOUD_HYPERVISOR: u64 = 16 * MIB;
/// What the processes of a container need, bytes.
const CONTAINER: u64 = 64 * MIB;
/// A Rust test whose manifest has no machines brings some: one, of the default size, is assumed.
const UNKNOWN: u64 = 256 * MIB + QEMU;

/// A manifest, for its tests.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) plan: Arc<LabPlan>,
    /// Begins with the first of its tests.
    limit: OnceLock<Limit>,
}

impl Source {
    pub(crate) fn new(plan: Arc<LabPlan>) -> Self {
        Self {
            plan,
            limit: OnceLock::new(),
        }
    }

    /// When the time for all tests of the manifest is out.
    pub(crate) fn limit(&self) -> Limit {
        let timeout = self.plan.timeouts.run;
        *self.limit.get_or_init(|| Limit::of_run(timeout))
    }
}

/// A test of a run; the same one is several, where tests are repeated.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    /// Unique in the run.
    pub(crate) name: String,
    /// Receives its consoles and artifacts.
    pub(crate) output: PathBuf,
    pub(crate) test: SelectedTest,
    /// Which time it is, from 0.
    pub(crate) round: u32,
}

/// What is scheduled as a whole.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) source: Arc<Source>,
    /// They run one after the other, on one lab; a single one has a lab of its own.
    pub(crate) cases: Vec<Case>,
    pub(crate) need: Need,
    /// What they took the last time, where that is known of all.
    pub(crate) expected: Option<Duration>,
}

impl Job {
    /// As users know it.
    pub(crate) fn name(&self) -> &str {
        &self.cases[0].name
    }
}

/// The tests of a manifest that cannot be told apart by a schedule: those that share a lab.
pub(super) fn units(lab: &LabRun) -> Vec<Vec<&SelectedTest>> {
    let shares =
        |test: &SelectedTest| lab.plan.shares_lab() && !matches!(test.kind, TestKind::Rust(_));
    let mut units: Vec<Vec<&SelectedTest>> = Vec::new();
    let mut common = None;
    for test in &lab.tests {
        match common {
            Some(place) if shares(test) => {
                let unit: &mut Vec<_> = &mut units[place];
                unit.push(test);
            }
            _ => {
                if shares(test) {
                    common = Some(units.len());
                }
                units.push(vec![test]);
            }
        }
    }
    units
}

/// What they took the last time, one after the other, where that is known of all.
pub(super) fn expected(
    lab: &LabRun,
    unit: &[&SelectedTest],
    history: &History,
) -> Option<Duration> {
    let took = |test: &&SelectedTest| Some(history.get(&lab.plan.name, &test.name)?.duration());
    unit.iter().map(took).sum()
}

/// Makes the jobs of a run.
#[derive(Debug)]
pub(super) struct Jobs<'a> {
    output: &'a Path,
    history: &'a History,
    /// Directories that are taken.
    taken: HashSet<PathBuf>,
    labs: Vec<(&'a LabRun, Arc<Source>)>,
    /// Whether it is all about one test, once.
    is_single: bool,
    is_repeated: bool,
}

impl<'a> Jobs<'a> {
    pub(super) fn new(
        labs: &'a [LabRun],
        output: &'a Path,
        history: &'a History,
        repeat: Repeat,
    ) -> Self {
        let units: usize = labs.iter().map(|lab| units(lab).len()).sum();
        let is_repeated = repeat != Repeat::Once;
        let source = |lab: &'a LabRun| (lab, Arc::new(Source::new(Arc::clone(&lab.plan))));
        Self {
            output,
            history,
            taken: HashSet::new(),
            labs: labs.iter().map(source).collect(),
            is_single: units == 1 && !is_repeated,
            is_repeated,
        }
    }

    /// Whether it is all about one test, or tests that share a lab, once.
    pub(super) fn is_single(&self) -> bool {
        self.is_single
    }

    /// Those of one round, from 0, in the manifests' order.
    pub(super) fn round(&mut self, round: u32) -> Vec<Job> {
        let labs = self.labs.clone();
        let mut jobs = Vec::new();
        for (lab, source) in labs {
            for unit in units(lab) {
                let suffix = self.is_repeated.then(|| format!("#{}", round + 1));
                let suffix = suffix.unwrap_or_default();
                let output = self.directory(lab, &unit, &suffix);
                let case = |test: &&SelectedTest| Case {
                    name: format!("{}{suffix}", test.name),
                    output: output.clone(),
                    test: (*test).clone(),
                    round,
                };
                jobs.push(Job {
                    source: Arc::clone(&source),
                    cases: unit.iter().map(case).collect(),
                    need: self.need(lab, &unit),
                    expected: expected(lab, &unit, self.history),
                });
            }
        }
        jobs
    }

    /// The run's own for what is alone; else one below it.
    fn directory(&mut self, lab: &LabRun, unit: &[&SelectedTest], suffix: &str) -> PathBuf {
        if self.is_single {
            return self.output.to_owned();
        }
        let name = match unit {
            [test] => &test.name,
            _ => &lab.plan.name,
        };
        let name = format!("{}{suffix}", file_name(name));
        let numbers = (2_u32..).map(|number| format!("{name}-{number}"));
        let mut names = std::iter::once(name.clone()).chain(numbers);
        let free = names.find_map(|name| {
            let path = self.output.join(name);
            self.taken.insert(path.clone()).then_some(path)
        });
        free.expect("there is no end of numbers")
    }

    fn need(&self, lab: &LabRun, unit: &[&SelectedTest]) -> Need {
        let assumed = unit.iter().map(|test| assumed_memory(test)).max();
        let known = unit
            .iter()
            .filter_map(|test| self.history.get(&lab.plan.name, &test.name));
        let (mut memory, mut cpu) = (None, None);
        for measured in known {
            memory = memory.max(measured.usage.memory);
            cpu = cpu.max(measured.usage.cpu);
        }
        Need {
            memory: memory.or(assumed).unwrap_or_default(),
            cpu: cpu.unwrap_or_default(),
        }
    }
}

/// What the machines of a test may come to use, bytes.
fn assumed_memory(test: &SelectedTest) -> u64 {
    let machines = &test.stage().plan.machines;
    if machines.is_empty() && matches!(test.kind, TestKind::Rust(_)) {
        return UNKNOWN;
    }
    machines.iter().map(machine_memory).sum()
}

fn machine_memory(machine: &MachinePlan) -> u64 {
    match machine.backend {
        Backend::Qemu | Backend::VmScript => machine.memory.saturating_add(QEMU),
        Backend::Firecracker => machine.memory.saturating_add(FIRECRACKER),
        Backend::CloudHypervisor => machine.memory.saturating_add(CLOUD_HYPERVISOR),
        Backend::Nspawn | Backend::ContainerScript => CONTAINER,
        Backend::Ssh => 0,
    }
}

#[cfg(test)]
mod tests {
    use attest_manifest::Isolation;

    use super::*;
    use crate::schedule::{Measured, Usage};

    fn lab(isolation: Isolation, tests: &[&str]) -> LabRun {
        let mut plan = crate::Lab::builder()
            .machine("a")
            .machine("b")
            .plan()
            .unwrap();
        plan.isolation = isolation;
        plan.name = "web".to_owned();
        let plan = Arc::new(plan);
        LabRun {
            manifest: PathBuf::from("attest.toml"),
            tests: tests
                .iter()
                .map(|name| SelectedTest::of_steps(name, &plan))
                .collect(),
            plan,
        }
    }

    fn described(labs: &[LabRun], repeat: Repeat, rounds: std::ops::Range<u32>) -> Vec<String> {
        let history = History::default();
        let mut jobs = Jobs::new(labs, Path::new("/out"), &history, repeat);
        let jobs = rounds.flat_map(|round| jobs.round(round));
        jobs.map(|job| {
            let names: Vec<_> = job.cases.iter().map(|case| case.name.as_str()).collect();
            format!("{} in {}", names.join("+"), job.cases[0].output.display())
        })
        .collect()
    }

    #[test]
    fn every_test_has_its_directory_and_a_lonely_one_that_of_the_run() {
        let once = |labs: &[LabRun]| described(labs, Repeat::Once, 0..1);
        let boot = Isolation::Boot;
        assert_eq!(once(&[lab(boot, &["x"])]), ["x in /out"]);
        let same = [lab(boot, &["x", "s::f"]), lab(boot, &["x", "../up"])];
        let expected = [
            "x in /out/x",
            "s::f in /out/s.f",
            "x in /out/x-2",
            "../up in /out/_._up",
        ];
        assert_eq!(once(&same), expected);
    }

    #[test]
    fn tests_that_share_a_lab_are_one_job() {
        let shared = [lab(Isolation::Shared, &["x", "y"])];
        let once = described(&shared, Repeat::Once, 0..1);
        assert_eq!(once, ["x+y in /out"]);
        let twice = described(&shared, Repeat::Times(2), 0..2);
        assert_eq!(twice, ["x#1+y#1 in /out/web#1", "x#2+y#2 in /out/web#2"]);
    }

    #[test]
    fn what_was_measured_goes_before_what_is_assumed() {
        let labs = [lab(Isolation::Auto, &["x", "y"])];
        let mut history = History::default();
        let measured = Measured {
            duration_ms: 2000,
            usage: Usage {
                memory: Some(7 * MIB),
                cpu: Some(1500),
            },
            ended: 1,
        };
        history.set("web", "x", measured);
        let mut jobs = Jobs::new(&labs, Path::new("/out"), &history, Repeat::Once);
        let [known, unknown] = &jobs.round(0)[..] else {
            panic!("two tests");
        };
        let need = |memory, cpu| Need { memory, cpu };
        assert_eq!(known.need, need(7 * MIB, 1500));
        assert_eq!(known.expected, Some(Duration::from_secs(2)));
        let machines = &labs[0].plan.machines;
        let all: u64 = machines.iter().map(|machine| machine.memory + QEMU).sum();
        assert_eq!(unknown.need, need(all, 0));
        assert_eq!(unknown.expected, None);
    }
}

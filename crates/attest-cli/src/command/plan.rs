//! `attest plan`: what a run would do, as jobs that can run elsewhere by themselves.

use std::collections::HashMap;
use std::io::{Write, stdout};
use std::process::ExitCode;

use attest::Backend;
use attest::manifest::{IndexMap, Isolation, LabPlan, MachinePlan, Size, TestKind, TestPlan};
use attest::run::{LabRun, Overrides, SelectedTest, Selection};
use attest_report::sanitize;
use serde::Serialize;

use super::CommandResult;
use super::run::{nothing_to_run, split};
use crate::arguments::{Format, Plan};
use crate::failure::Failure;
use crate::human::count;

/// Between the name of a test target in Rust, which is a manifest's test, and the test in it.
const IN_RUST: &str = "::";

pub(crate) fn run(arguments: &Plan) -> CommandResult {
    let select = &arguments.select;
    let (paths, filter) = split(&select.paths);
    let overrides = Overrides::from(&arguments.lab);
    let selection = Selection::load(&paths, filter.as_deref(), &overrides)?;
    if selection.labs.is_empty() {
        return Err(Failure::nothing(nothing_to_run(&paths, filter.as_deref())));
    }
    let is_json = arguments.json || select.format == Format::Json;
    let mut text = String::new();
    for lab in &selection.labs {
        let planned = ManifestJobs::of(lab);
        if is_json {
            text.push_str(&serde_json::json!(planned).to_string());
            text.push('\n');
        } else {
            planned.tree().draw(&mut text);
        }
    }
    match stdout().write_all(text.as_bytes()) {
        // A reader that has seen enough is no error.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(
            Failure::infrastructure(format!("error: stdout cannot be written: {error}")),
        ),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// What a run would do with one manifest: a line of `--format json`.
#[derive(Debug, Serialize)]
struct ManifestJobs {
    /// As on the command line.
    manifest: String,
    /// The lab's name.
    lab: String,
    isolation: Isolation,
    /// In the order of their first tests.
    jobs: Vec<Job>,
}

/// Tests that want exactly the same machines, and those machines: no other job's can talk to
/// them.
#[derive(Debug, Serialize)]
struct Job {
    /// From 1, in the manifest.
    number: usize,
    machines: Vec<JobMachine>,
    networks: Vec<String>,
    /// Of all virtual machines.
    memory_bytes: u64,
    /// Of all virtual machines.
    vcpus: u32,
    tests: Vec<JobTest>,
}

#[derive(Debug, Serialize)]
struct JobMachine {
    name: String,
    backend: &'static str,
    /// Of a virtual machine; others have what their hosts have.
    memory_bytes: Option<u64>,
    /// Of a virtual machine.
    vcpus: Option<u32>,
    networks: Vec<String>,
}

#[derive(Debug, Serialize)]
struct JobTest {
    name: String,
    kind: Kind,
    /// What is done before it, the first first. Tests in Rust name theirs in code.
    setups: Vec<String>,
    /// For the test alone, without boot and set-ups.
    timeout_ms: u64,
}

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Steps,
    Script,
    Rust,
}

impl ManifestJobs {
    fn of(lab: &LabRun) -> Self {
        let plan = &lab.plan;
        let by_name: HashMap<&str, &TestPlan> = plan
            .tests
            .iter()
            .map(|test| (test.name.as_str(), test))
            .collect();
        let mut jobs: IndexMap<Vec<String>, Vec<JobTest>> = IndexMap::new();
        for selected in &lab.tests {
            let declared = selected.name.split(IN_RUST).next().unwrap_or_default();
            // Every selected test is one of the plan's.
            let Some(test) = by_name.get(declared) else {
                continue;
            };
            let groups = plan.groups_of(test).into_iter();
            let machines = groups.flat_map(|group| group.machines).collect();
            let tests = jobs.entry(machines).or_default();
            tests.push(JobTest::of(plan, test, selected));
        }
        let jobs = (1..)
            .zip(jobs)
            .map(|(number, (machines, tests))| Job::of(&plan.only(&machines), number, tests));
        Self {
            manifest: lab.manifest.display().to_string(),
            lab: plan.name.clone(),
            isolation: plan.isolation,
            jobs: jobs.collect(),
        }
    }

    fn tree(&self) -> Node {
        let tests = self.jobs.iter().map(|job| job.tests.len()).sum();
        Node {
            line: format!(
                "{} ({}): {}, {}, isolation {}",
                self.lab,
                self.manifest,
                count(self.jobs.len(), "job", "jobs"),
                count(tests, "test", "tests"),
                self.isolation.name()
            ),
            below: self.jobs.iter().map(Job::tree).collect(),
        }
    }
}

impl Job {
    fn of(plan: &LabPlan, number: usize, tests: Vec<JobTest>) -> Self {
        let machines: Vec<JobMachine> = plan.machines.iter().map(JobMachine::of).collect();
        let networks = plan.networks.iter().map(|network| network.name.clone());
        Self {
            number,
            networks: networks.collect(),
            memory_bytes: machines.iter().filter_map(|each| each.memory_bytes).sum(),
            vcpus: machines.iter().filter_map(|each| each.vcpus).sum(),
            machines,
            tests,
        }
    }

    fn tree(&self) -> Node {
        let machines = self.machines.iter().map(JobMachine::line);
        let tests = self.tests.iter().map(JobTest::line);
        let about = [resources(self.memory_bytes, self.vcpus), on(&self.networks)];
        Node {
            line: described(format!("job {}", self.number), about),
            below: machines.chain(tests).map(Node::leaf).collect(),
        }
    }
}

impl JobMachine {
    fn of(machine: &MachinePlan) -> Self {
        let is_virtual = machine.backend == Backend::Qemu;
        let networks = machine.cards.iter().map(|card| card.network.clone());
        Self {
            name: machine.name.clone(),
            backend: machine.backend.name(),
            memory_bytes: is_virtual.then_some(machine.memory),
            vcpus: is_virtual.then_some(machine.vcpus),
            networks: networks.collect(),
        }
    }

    fn line(&self) -> String {
        let about = [
            Some(self.backend.to_owned()),
            resources(
                self.memory_bytes.unwrap_or_default(),
                self.vcpus.unwrap_or_default(),
            ),
            on(&self.networks),
        ];
        described(format!("machine {}", self.name), about)
    }
}

impl JobTest {
    fn of(plan: &LabPlan, test: &TestPlan, selected: &SelectedTest) -> Self {
        let chain = test.setup.as_deref().map(|name| plan.setup_chain(name));
        let setups = chain.into_iter().flatten();
        Self {
            name: selected.name.clone(),
            kind: match selected.kind {
                TestKind::Steps(_) => Kind::Steps,
                TestKind::Script(_) => Kind::Script,
                TestKind::Rust(_) => Kind::Rust,
            },
            setups: setups.map(|setup| setup.name.clone()).collect(),
            timeout_ms: u64::try_from(selected.timeout.as_millis()).unwrap_or(u64::MAX),
        }
    }

    fn line(&self) -> String {
        let kind = match self.kind {
            Kind::Steps => "steps",
            Kind::Script => "a script",
            Kind::Rust => "Rust",
        };
        let timeout = std::time::Duration::from_millis(self.timeout_ms);
        let timeout = humantime::format_duration(timeout);
        let setups = &self.setups;
        let about = [
            Some(kind.to_owned()),
            Some(format!("at most {timeout}")),
            (!setups.is_empty()).then(|| format!("after {}", setups.join(" → "))),
        ];
        described(format!("test {}", self.name), about)
    }
}

/// Of virtual machines, where there are any.
fn resources(memory: u64, vcpus: u32) -> Option<String> {
    let memory = Size::from_bytes(memory);
    let count = count(vcpus.try_into().unwrap_or(usize::MAX), "vCPU", "vCPUs");
    (vcpus > 0).then(|| format!("{memory} of memory, {count}"))
}

fn on(networks: &[String]) -> Option<String> {
    (!networks.is_empty()).then(|| format!("on {}", networks.join(", ")))
}

/// Something, with what is to be said about it.
fn described<const N: usize>(what: String, about: [Option<String>; N]) -> String {
    let about: Vec<String> = about.into_iter().flatten().collect();
    if about.is_empty() {
        what
    } else {
        format!("{what}: {}", about.join(", "))
    }
}

/// A line, and those that belong to it.
struct Node {
    line: String,
    below: Vec<Node>,
}

impl Node {
    fn leaf(line: String) -> Self {
        let below = Vec::new();
        Self { line, below }
    }

    fn draw(&self, text: &mut String) {
        text.extend([&sanitize(&self.line), "\n"]);
        self.draw_below(text, "");
    }

    fn draw_below(&self, text: &mut String, indent: &str) {
        let last = self.below.len().saturating_sub(1);
        for (index, node) in self.below.iter().enumerate() {
            let (branch, space) = if index == last {
                ("└─ ", "   ")
            } else {
                ("├─ ", "│  ")
            };
            text.extend([indent, branch, &sanitize(&node.line), "\n"]);
            node.draw_below(text, &format!("{indent}{space}"));
        }
    }
}

//! `attest plan`: what a run would do, as jobs that can run elsewhere by themselves.

use std::process::ExitCode;

use attest::manifest::{Isolation, MachinePlan, Size, TestKind};
use attest::run::{LabRun, Overrides, SelectedJob, SelectedTest, UnknownJob};
use attest_report::sanitize;
use serde::Serialize;

use super::CommandResult;
use super::run::{no_such_job, selection};
use crate::arguments::{Format, Plan};
use crate::human::count;
use crate::terminal;

pub(crate) fn run(arguments: &Plan) -> CommandResult {
    let select = &arguments.select;
    let overrides = Overrides::from(&arguments.lab);
    let scripts = attest_script::Scripts::default();
    let selecting = selection(select, &overrides, &scripts);
    let selection = super::runtime()?.block_on(selecting)?;
    let mut jobs = selection.jobs();
    let count = jobs.len();
    jobs.retain(|job| select.job.is_none_or(|number| job.number == number));
    if let (Some(number), []) = (select.job, &jobs[..]) {
        return Err(no_such_job(&UnknownJob { number, count }));
    }
    let is_json = arguments.json || select.format == Format::Json;
    let mut text = String::new();
    for jobs in jobs.chunk_by(|one, next| std::ptr::eq(one.lab, next.lab)) {
        let planned = ManifestJobs::of(jobs[0].lab, jobs);
        if is_json {
            text.push_str(&serde_json::json!(planned).to_string());
            text.push('\n');
        } else {
            planned.tree().draw(&mut text);
        }
    }
    terminal::print(text)?;
    Ok(ExitCode::SUCCESS)
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
    /// From 1, over all manifests, for `attest run --job`.
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
    fn of(lab: &LabRun, jobs: &[SelectedJob<'_>]) -> Self {
        Self {
            manifest: lab.manifest.display().to_string(),
            lab: lab.plan.name.clone(),
            isolation: lab.plan.isolation,
            jobs: jobs.iter().map(Job::of).collect(),
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
    fn of(job: &SelectedJob<'_>) -> Self {
        let plan = job.plan();
        let machines: Vec<JobMachine> = plan.machines.iter().map(JobMachine::of).collect();
        let networks = plan.networks.iter().map(|network| network.name.clone());
        Self {
            number: job.number,
            networks: networks.collect(),
            memory_bytes: machines.iter().filter_map(|each| each.memory_bytes).sum(),
            vcpus: machines.iter().filter_map(|each| each.vcpus).sum(),
            machines,
            tests: job.tests.iter().map(|test| JobTest::of(test)).collect(),
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
        let is_virtual = machine.backend.is_virtual();
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
    fn of(selected: &SelectedTest) -> Self {
        let setups = selected.stage().setups.iter();
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

//! Ever more machines in one lab: what they take the driver and the lab's own processes.

use std::path::Path;
use std::time::Duration;

use attest::Backend;
use attest::events::Phase;
use attest::manifest::{
    Machine, MachineNetwork, ManifestFile, Network, OneOrMany, Step, Test, Wait,
};

use super::curve::{Curves, Measure, Picture, Sample};
use super::watched::Watched;
use crate::figure::Report;
use crate::host::megabytes;
use crate::runs::Runs;
use crate::{Result, by_hand, debian};

/// Of each machine, and as often side by side as one after the other.
const COMMANDS: u32 = 20;
/// Of memory, for one more machine that does nothing: megabytes.
const IDLE: f64 = 2.0;
/// Seconds, after everything has started and after commands: time enough to be seen quiet in.
const PAUSES: (&str, &str) = ("3", "1");

static UP: Measure = Measure::time("up", "attest, until all systems are up");
static BY_HAND: Measure = Measure::time("by-hand", "by hand, until all serve").without_attest();
static SPAWN: Measure = Measure::time("spawn", "spawn: lab and machines start");
static BOOT: Measure = Measure::time("boot", "boot: until all agents speak");
static AGENT: Measure = Measure::time("agent", "agent: until all are set up");
static SYSTEM: Measure = Measure::time("system", "until all systems are up");
static BESIDE: Measure = Measure::time("commands-beside", "commands, machines side by side");
static IN_TURN: Measure = Measure::time("commands-in-turn", "commands, one after the other");
static SHUTDOWN: Measure = Measure::time("shutdown", "shutdown");
static START_CPU: Measure = Measure::cpu("start-cpu", "driver, until all is up");
static LAB_CPU: Measure = Measure::cpu("start-cpu-lab", "lab's processes, until all is up");
static BESIDE_CPU: Measure = Measure::cpu("commands-beside-cpu", "driver, commands side by side");
static IN_TURN_CPU: Measure = Measure::cpu("commands-in-turn-cpu", "driver, commands in turn");
static SHUTDOWN_CPU: Measure = Measure::cpu("shutdown-cpu", "driver, shutdown and reports");
static DRIVER: Measure = Measure::memory("memory-driver", "driver");
static LAB: Measure = Measure::memory("memory-lab", "lab's processes");
static AGENTS: Measure = Measure::memory("memory-agents", "agents in containers");

const PICTURES: [Picture; 4] = [
    Picture {
        name: "start",
        title: "From the start until all machines are up, beside the same by hand",
        y: "milliseconds, of all machines together",
        measures: &[&UP, &BY_HAND],
    },
    Picture {
        name: "time",
        title: "What a lab takes as it gets more machines",
        y: "milliseconds, of all machines together",
        measures: &[&SPAWN, &BOOT, &AGENT, &SYSTEM, &BESIDE, &IN_TURN, &SHUTDOWN],
    },
    Picture {
        name: "cpu",
        title: "Processor time of attest itself as a lab gets more machines",
        y: "milliseconds, for all machines together",
        measures: &[
            &START_CPU,
            &LAB_CPU,
            &BESIDE_CPU,
            &IN_TURN_CPU,
            &SHUTDOWN_CPU,
        ],
    },
    Picture {
        name: "memory",
        title: "Memory of attest itself while all machines are idle",
        y: "megabytes, for all machines together",
        measures: &[&DRIVER, &LAB, &AGENTS],
    },
];

/// Of which kind, and how many.
pub(super) struct Machines {
    pub(super) subject: &'static str,
    pub(super) backend: Backend,
    pub(super) sizes: &'static [u32],
    pub(super) rounds: u32,
}

/// Of the image's nginx, which by hand is what can be seen.
const PORT: u16 = 80;

impl Machines {
    /// Beside containers of this image that are started by hand, where there is one.
    pub(super) fn measure(
        &self,
        report: &Report,
        image: Option<&Path>,
        results: Option<&Path>,
    ) -> Result<()> {
        let mut runs = Vec::new();
        for &size in self.sizes {
            runs.push((size, Runs::of_declared(&self.manifest(size))?));
        }
        let mut curves = Curves::new(self.subject, "machines in one lab");
        for round in 0..=self.rounds {
            for (size, runs) in &runs {
                let mut sample = sample(*size, runs)?;
                if let Some(image) = image {
                    let took = by_hand::until_serving(image, *size as usize, PORT)?;
                    sample.push((&BY_HAND, took.as_secs_f64() * 1e3));
                }
                // The first round reads programs and files that are cached then.
                if round > 0 {
                    curves.add(*size, sample);
                }
            }
        }
        curves.report(report, &PICTURES);
        let each = [
            ("start-cpu-per-machine", &START_CPU, 1),
            ("cpu-per-command-beside", &BESIDE_CPU, COMMANDS),
            ("cpu-per-command-in-turn", &IN_TURN_CPU, COMMANDS),
        ];
        for (name, measure, times) in each {
            curves.report_each(report, name, measure, times);
        }
        let idle = ("memory-per-idle-machine", &[&DRIVER, &LAB], Some(IDLE));
        curves.report_one_more(report, idle.0, idle.1, idle.2);
        curves.report_one_more(report, "memory-in-each-machine", &[&AGENTS], None);
        results.map_or(Ok(()), |directory| curves.draw(directory, &PICTURES))
    }

    /// One test, whose parts are told apart by pauses.
    fn manifest(&self, machines: u32) -> ManifestFile {
        let names: Vec<String> = (0..machines)
            .map(|number| format!("m{number:02}"))
            .collect();
        let mut file = if self.backend == Backend::Nspawn {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            debian::manifest(self.backend, &names, &[])
        } else {
            let bare = names.iter().map(|name| (name.clone(), Machine::default()));
            ManifestFile {
                machines: bare.collect(),
                ..ManifestFile::default()
            }
        };
        let lan = ("lan".to_owned(), Network::default());
        for machine in file.machines.values_mut() {
            machine.networks = Some(vec![MachineNetwork::Name(lan.0.clone())]);
        }
        file.networks.extend([lan]);
        let test = Test {
            steps: Some(self.steps(&names)),
            ..Test::default()
        };
        file.tests.insert("grow".to_owned(), test);
        file
    }

    fn steps(&self, names: &[String]) -> Vec<Step> {
        let all = || Some(OneOrMany::Many(names.to_vec()));
        let one = |name: &String| Some(OneOrMany::One(name.clone()));
        let argv = |on, words: &[&str]| Step {
            on,
            argv: Some(words.iter().map(|word| (*word).to_owned()).collect()),
            ..Step::default()
        };
        let pause = |seconds| argv(one(&names[0]), &["sleep", seconds]);
        let up = if self.backend == Backend::Nspawn {
            let unit = Some("multi-user.target".to_owned());
            Step {
                on: all(),
                wait: Some(Wait {
                    unit,
                    ..Wait::default()
                }),
                ..Step::default()
            }
        } else {
            argv(all(), &["true"])
        };
        let mut steps = vec![up, pause(PAUSES.0)];
        steps.extend((0..COMMANDS).map(|_| argv(all(), &["true"])));
        steps.push(pause(PAUSES.1));
        let in_turn = (0..COMMANDS).flat_map(|_| names);
        steps.extend(in_turn.map(|name| argv(one(name), &["true"])));
        steps.push(pause(PAUSES.1));
        steps
    }
}

fn sample(machines: u32, runs: &Runs) -> Result<Sample> {
    let mut run = Watched::start(runs.command("never", &["-j1"])?)?;
    let first = run.step(1)?;
    let up = run.step(2)?;
    let idle = run.standing()?;
    let beside_began = run.step(3)?;
    let beside_ended = run.step(3 + COMMANDS)?;
    let after_beside = run.standing()?;
    let in_turn_began = run.step(4 + COMMANDS)?;
    let in_turn_ended = run.step(4 + COMMANDS * (1 + machines))?;
    let after_in_turn = run.standing()?;
    let ended = run.end()?;
    let times = [
        (&UP, up),
        (&SPAWN, ended.ran.phase(Phase::Spawn)),
        (&BOOT, ended.ran.phase(Phase::Boot)),
        (&AGENT, ended.ran.phase(Phase::Agent)),
        (&SYSTEM, up.saturating_sub(first)),
        (&BESIDE, beside_ended.saturating_sub(beside_began)),
        (&IN_TURN, in_turn_ended.saturating_sub(in_turn_began)),
        (&SHUTDOWN, ended.ran.phase(Phase::Shutdown)),
        (&START_CPU, idle.driver_cpu),
        (&LAB_CPU, idle.lab_cpu),
        (
            &BESIDE_CPU,
            after_beside.driver_cpu.saturating_sub(idle.driver_cpu),
        ),
        (
            &IN_TURN_CPU,
            after_in_turn
                .driver_cpu
                .saturating_sub(after_beside.driver_cpu),
        ),
        (
            &SHUTDOWN_CPU,
            ended.driver_cpu.saturating_sub(after_in_turn.driver_cpu),
        ),
    ];
    let memory = [
        (&DRIVER, idle.driver),
        (&LAB, idle.lab),
        (&AGENTS, idle.agents),
    ];
    let times = times.map(|(measure, took): (_, Duration)| (measure, took.as_secs_f64() * 1e3));
    let memory = memory.map(|(measure, bytes)| (measure, megabytes(bytes)));
    Ok(times.into_iter().chain(memory).collect())
}

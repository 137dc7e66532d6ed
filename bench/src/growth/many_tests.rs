//! Ever more tests in one run: on forks of one machine, or all on the same container.

use std::path::Path;
use std::time::Duration;

use attest::Backend;
use attest::events::{EventKind, Phase};
use attest::manifest::{Isolation, Machine, ManifestFile, Step, Test};

use super::curve::{Curves, EXPONENT, Measure, Picture, Sample};
use super::watched::Watched;
use crate::figure::Report;
use crate::host::megabytes;
use crate::runs::Runs;
use crate::{Result, debian};

/// Of each test.
const COMMANDS: u32 = 5;

static WHOLE: Measure = Measure::time("whole", "the whole run");
static RESTORE: Measure = Measure::time("restore", "restore: forks of the lab");
static TEST: Measure = Measure::time("test", "test: commands");
static SHUTDOWN: Measure = Measure::time("shutdown", "shutdown: of each fork");
static AFTER: Measure = Measure::time("after", "from the last test's end to the run's");
static CPU: Measure = Measure::cpu("cpu", "driver");
static PEAK: Measure = Measure::memory("peak", "driver, most that was resident");
static EVENTS: Measure = Measure {
    name: "events",
    what: "events",
    unit: "",
    noise: 1.0,
    budget: Some(EXPONENT),
};

const PICTURES: [Picture; 4] = [
    Picture {
        name: "time",
        title: "What a run takes as it gets more tests",
        y: "milliseconds, of all tests together",
        measures: &[&WHOLE, &RESTORE, &TEST, &SHUTDOWN, &AFTER],
    },
    Picture {
        name: "cpu",
        title: "Processor time of attest itself as a run gets more tests",
        y: "milliseconds, for all tests together",
        measures: &[&CPU],
    },
    Picture {
        name: "memory",
        title: "Memory of attest itself as a run gets more tests",
        y: "megabytes",
        measures: &[&PEAK],
    },
    Picture {
        name: "events",
        title: "Events as a run gets more tests",
        y: "events, of all tests together",
        measures: &[&EVENTS],
    },
];

/// What they run on, and how many.
pub(super) struct Tests {
    pub(super) subject: &'static str,
    /// On forks of a virtual machine, or all on one container.
    pub(super) on_forks: bool,
    pub(super) sizes: &'static [u32],
    pub(super) rounds: u32,
}

impl Tests {
    pub(super) fn measure(&self, report: &Report, results: Option<&Path>) -> Result<()> {
        let mut runs = Vec::new();
        for &size in self.sizes {
            let of_size = Runs::of_declared(&self.manifest(size))?;
            // What it saves, the others find.
            of_size.run("auto", &["-j1", "--quiet"])?;
            runs.push((size, of_size));
        }
        let mut curves = Curves::new(self.subject, "tests in one run");
        for _ in 0..self.rounds {
            for (size, runs) in &runs {
                curves.add(*size, sample(runs)?);
            }
        }
        curves.report(report, &PICTURES);
        let each = [
            ("time-per-test", &WHOLE, 1),
            ("cpu-per-test", &CPU, 1),
            ("cpu-per-command", &CPU, COMMANDS),
            ("events-per-test", &EVENTS, 1),
        ];
        for (name, measure, times) in each {
            curves.report_each(report, name, measure, times);
        }
        curves.report_one_more(report, "peak-per-test", &[&PEAK], None);
        results.map_or(Ok(()), |directory| curves.draw(directory, &PICTURES))
    }

    fn manifest(&self, tests: u32) -> ManifestFile {
        let mut file = if self.on_forks {
            let mut file = ManifestFile::default();
            file.machines.insert("guest".to_owned(), Machine::default());
            file
        } else {
            debian::manifest(Backend::Nspawn, &["guest"], &[])
        };
        let isolation = if self.on_forks {
            Isolation::Fork
        } else {
            Isolation::Shared
        };
        file.isolation = Some(isolation);
        let command = Step {
            argv: Some(vec!["true".to_owned()]),
            ..Step::default()
        };
        let steps = (0..COMMANDS).map(|_| command.clone()).collect();
        let test = Test {
            steps: Some(steps),
            ..Test::default()
        };
        let named = (0..tests).map(|number| (format!("test-{number:03}"), test.clone()));
        file.tests.extend(named);
        file
    }
}

fn sample(runs: &Runs) -> Result<Sample> {
    let ended = Watched::start(runs.command("auto", &["-j1"])?)?.end()?;
    let events = &ended.ran.events;
    let last = events.iter().rev().find(|event| {
        let kind = &event.kind;
        matches!(kind, EventKind::TestEnded { .. })
    });
    let last = Duration::from_nanos(last.ok_or("no test ended")?.at_ns);
    let times = [
        (&WHOLE, ended.ran.took),
        (&RESTORE, ended.ran.phase(Phase::Restore)),
        (&TEST, ended.ran.phase(Phase::Test)),
        (&SHUTDOWN, ended.ran.phase(Phase::Shutdown)),
        (&AFTER, ended.ran.took.saturating_sub(last)),
        (&CPU, ended.driver_cpu),
    ];
    #[expect(clippy::cast_precision_loss, reason = "some thousands")]
    let number = events.len() as f64;
    let others = [(&PEAK, megabytes(ended.peak)), (&EVENTS, number)];
    let times = times.map(|(measure, took)| (measure, took.as_secs_f64() * 1e3));
    Ok(times.into_iter().chain(others).collect())
}

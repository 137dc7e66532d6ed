//! Many tests over one booted Debian: each on its own fork, beside a boot for each of them.

use std::time::Duration;

use attest::Backend;
use attest::events::Phase;
use attest::manifest::{ManifestFile, Step, Test, Wait};

use crate::figure::{Compared, Report, median_ms};
use crate::runs::{Ran, Runs};
use crate::{Result, debian};

const SAMPLES: usize = 3;
/// In the file.
const TESTS: u32 = 20;
/// That are booted for, unless all are: what the others would take follows from them.
const BOOTED: u32 = 4;
/// How many times as fast forks are as boots, and two tests at once as one.
const FASTER: (f64, f64) = (10.0, 1.6);
/// Milliseconds.
const DEMO: f64 = 1000.0;
const PHASES: [Phase; 6] = [
    Phase::Plan,
    Phase::Image,
    Phase::Spawn,
    Phase::Restore,
    Phase::Test,
    Phase::Shutdown,
];

pub(crate) fn run(report: &Report, is_full: bool) -> Result<()> {
    demo(report)?;
    if let Err(reason) = debian::image(&debian::cache()?)? {
        report.skipped("parallel/tests", &reason);
        return Ok(());
    }
    let booted = if is_full { TESTS } else { BOOTED };
    let boots = Runs::of_declared(&manifest(booted))?.run("never", &["-j1"])?;
    let forks = Runs::of_declared(&manifest(TESTS))?;
    let first = forks.run("auto", &["-j1"])?;
    let (mut one, mut two) = (Vec::new(), Vec::new());
    for _ in 0..SAMPLES {
        one.push(forks.run("auto", &["-j1"])?);
        two.push(forks.run("auto", &["-j2"])?);
    }
    report_tests(report, boots.took * TESTS / booted, &first, &one, &two);
    Ok(())
}

fn report_tests(report: &Report, boots: Duration, first: &Ran, one: &[Ran], two: &[Ran]) {
    let booting = || Compared {
        what: "a boot for each test",
        median: median_ms(&[boots]),
    };
    let (ones, twos) = (took(one), took(two));
    report.milliseconds(
        "parallel/20-tests-first-run",
        &[first.took],
        None,
        Some(booting()),
    );
    report.milliseconds("parallel/20-tests-j1", &ones, None, Some(booting()));
    report.milliseconds("parallel/20-tests-j2", &twos, None, Some(booting()));
    let faster = ones
        .iter()
        .map(|one| boots.as_secs_f64() / one.as_secs_f64());
    let pairs = ones.iter().zip(&twos);
    let beside = pairs.map(|(one, two)| one.as_secs_f64() / two.as_secs_f64());
    let figures: [(&str, Vec<f64>, f64); 2] = [
        ("parallel/forks-to-boots", faster.collect(), FASTER.0),
        ("parallel/j2-to-j1", beside.collect(), FASTER.1),
    ];
    for (name, samples, budget) in figures {
        report.figure(name, &samples, "times", Some(budget), "higher", None);
    }
    phases(report, "parallel/20-tests-j1", one);
    phases(report, "parallel/20-tests-j2", two);
}

/// The README's first command again, when its lab is kept.
fn demo(report: &Report) -> Result<()> {
    let runs = Runs::of(&std::path::absolute("examples/web")?)?;
    let first = runs.run("auto", &[])?;
    let mut again = Vec::new();
    let mut boots = Vec::new();
    for _ in 0..SAMPLES {
        again.push(runs.run("auto", &[])?);
    }
    boots.push(runs.run("never", &[])?.took);
    let never = Compared {
        what: "a boot for each test",
        median: median_ms(&boots),
    };
    report.milliseconds("parallel/demo-first-run", &[first.took], None, None);
    report.milliseconds(
        "parallel/demo-again",
        &took(&again),
        Some(DEMO),
        Some(never),
    );
    phases(report, "parallel/demo-again", &again);
    Ok(())
}

fn took(runs: &[Ran]) -> Vec<Duration> {
    runs.iter().map(|ran| ran.took).collect()
}

/// Where the time went.
fn phases(report: &Report, name: &str, runs: &[Ran]) {
    for phase in PHASES {
        let samples: Vec<_> = runs.iter().map(|ran| ran.phase(phase)).collect();
        let name = format!("{name}-{}", phase.name());
        report.milliseconds(&name, &samples, None, None);
    }
}

/// So many tests of a Debian that has booted; each asks systemd, and leaves a file.
fn manifest(tests: u32) -> ManifestFile {
    let mut file = debian::manifest(Backend::Qemu, &["guest"], &[]);
    // As machines are where nobody says more: with more, one test keeps more than one CPU of the host's busy.
    for machine in file.machines.values_mut() {
        machine.vcpus = None;
    }
    for number in 0..tests {
        let up = Step {
            wait: Some(Wait {
                unit: Some("multi-user.target".to_owned()),
                ..Wait::default()
            }),
            ..Step::default()
        };
        let own = Step {
            run: Some(format!(
                "test ! -e /var/tmp/mine && echo {number} > /var/tmp/mine && systemctl is-active nginx"
            )),
            ..Step::default()
        };
        let test = Test {
            steps: Some(vec![up, own]),
            ..Test::default()
        };
        file.tests.insert(format!("test-{number}"), test);
    }
    file
}

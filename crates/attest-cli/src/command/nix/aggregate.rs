//! One report of all shards, and a verdict over them.

use std::fs;
use std::io::stdout;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::ExitCode;

use attest_report::{Duplicates, Look, Reader, Terminal, Verbosity as Level, merge_junit};

use super::super::CommandResult;
use super::verdict::{Broken, Outcome, Verdict};
use crate::arguments::{NixAggregate, Verbosity};
use crate::failure::Failure;

pub(super) fn run(arguments: &NixAggregate, verbosity: &Verbosity) -> CommandResult {
    let shards = arguments.shards.iter();
    let verdicts = shards.map(|shard| Ok((shard.as_path(), Verdict::of(shard)?)));
    let verdicts = verdicts.collect::<Result<Vec<_>, Failure>>()?;
    for (shard, verdict) in &verdicts {
        if verdict.outcome != Outcome::Passed || verbosity.verbose {
            play(shard, verbosity);
        }
    }
    let whole = whole(verdicts.iter().map(|(_, verdict)| verdict));
    tell(&arguments.name, &whole);
    let output = &arguments.output;
    fs::create_dir(output).map_err(super::unwritten(output))?;
    report(&verdicts, output)?;
    whole.write(output)?;
    match (whole.outcome, arguments.report) {
        (Outcome::Passed, _) | (_, true) => Ok(ExitCode::SUCCESS),
        _ => Ok(ExitCode::FAILURE),
    }
}

/// Of all of them.
fn whole<'a>(verdicts: impl Iterator<Item = &'a Verdict>) -> Verdict {
    let mut whole = Verdict {
        outcome: Outcome::Passed,
        exit: 0,
        tests: 0,
        failed: Vec::new(),
        restored: 0,
        attempts: Vec::<Broken>::new(),
    };
    for each in verdicts {
        if each.outcome != Outcome::Passed && whole.outcome == Outcome::Passed {
            (whole.outcome, whole.exit) = (each.outcome, each.exit);
        }
        whole.tests += each.tests;
        whole.restored += each.restored;
        whole.failed.extend_from_slice(&each.failed);
        whole.attempts.extend_from_slice(&each.attempts);
    }
    whole
}

/// The failures of a shard, as its run showed them.
fn play(shard: &Path, verbosity: &Verbosity) {
    let level = match verbosity {
        Verbosity { verbose: true, .. } => Level::Normal,
        Verbosity { .. } => Level::Quiet,
    };
    let mut terminal = Terminal::new(stdout(), Look::of_stdout(), level);
    for event in super::events_in(shard) {
        // What cannot be shown is in the report.
        let _ = terminal.event(&event);
    }
}

fn tell(name: &str, whole: &Verdict) {
    let Verdict { tests, failed, .. } = whole;
    let retried = match whole.attempts.len() {
        0 => String::new(),
        count => format!("; tried again {count} times for what broke beneath them"),
    };
    let text = match (whole.outcome, failed.as_slice()) {
        (Outcome::Passed, _) => format!("{name}: all {tests} tests passed{retried}"),
        (Outcome::Failed, failed) => format!(
            "{name}: {} of {tests} tests failed: {}{retried}",
            failed.len(),
            failed.join(", ")
        ),
        (Outcome::Refused, _) => format!("{name}: the manifest or a script was refused{retried}"),
    };
    crate::terminal::tell(&text);
}

/// What there is of each shard, and one JUnit report of all.
fn report(verdicts: &[(&Path, Verdict)], output: &Path) -> Result<(), Failure> {
    let mut reports = Vec::new();
    for (number, (shard, _)) in verdicts.iter().enumerate() {
        let junit = shard.join("junit.xml");
        if let Ok(text) = fs::read_to_string(&junit) {
            reports.push((junit.display().to_string(), text));
        }
        let link = output.join(format!("shard-{}", number + 1));
        symlink(shard, &link).map_err(super::unwritten(&link))?;
    }
    let merged = merge_junit(&reports, Duplicates::Kept)
        .map_err(|error| Failure::infrastructure(format!("error: {}", attest::chain(&error))))?;
    super::write(&output.join("junit.xml"), merged)
}

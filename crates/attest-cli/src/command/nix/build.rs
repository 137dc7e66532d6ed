//! `attest nix build`: a suite of shards, wherever Nix builds them, and again where a builder was lost.

mod attempts;
mod lines;
mod look;
mod nar;
mod program;
mod reports;
mod result;
mod round;
mod rounds;
mod said;
mod suite;
mod telling;

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use attest::events;
use attest::run::OutputDirectory;
use attest_report::{duration, sanitize};

use self::program::{Nix, NixError};
use self::reports::{Reports, SHARDS};
use self::rounds::{Rounds, State};
use self::suite::{Kind, Suite};
use self::telling::Telling;
use super::super::{CommandResult, runtime};
use super::interrupts::Interrupts;
use crate::arguments::{NixBuild, Verbosity};
use crate::failure::Failure;
use crate::orphans;
use crate::progress::spinner;

/// Between two redraws of a running clock.
const TICK: Duration = Duration::from_millis(100);

pub(super) fn run(arguments: &NixBuild, verbosity: &Verbosity) -> CommandResult {
    let began = Instant::now();
    let runtime = runtime()?;
    orphans::adopt();
    let code = runtime.block_on(build(arguments, verbosity, began));
    orphans::end();
    runtime.shutdown_background();
    code
}

async fn build(arguments: &NixBuild, verbosity: &Verbosity, began: Instant) -> CommandResult {
    let interrupts = Interrupts::watch("Nix ends its builds")?;
    let nix = Nix::find(&arguments.nix, &arguments.nix_arguments, &interrupts).await?;
    let suite = evaluate(&nix, arguments, verbosity, &interrupts).await?;
    let evaluated = began.elapsed();
    let directory = match &arguments.output {
        Some(path) => OutputDirectory::create(path)?,
        None => OutputDirectory::create_default()?,
    };
    let directory = directory.path();
    let shards = directory.join(SHARDS);
    fs::create_dir_all(&shards).map_err(super::unwritten(&shards))?;
    let path = directory.join("nix.log");
    let log = File::create(&path).map_err(super::unwritten(&path))?;
    let telling = Telling::new(arguments, verbosity, directory, began);
    let mut rounds = Rounds {
        nix: Arc::new(nix),
        interrupts,
        suite: &suite,
        telling: telling.map_err(super::unwritten(directory))?,
        log: &mut BufWriter::new(log),
        directory: &shards,
        retries: arguments.retries,
        states: suite.targets.iter().map(|_| State::default()).collect(),
    };
    rounds.telling.begin(suite.shards(), directory);
    let of = arguments.installables.join(", ");
    let reason = format!(
        "{of}, evaluated in {}",
        duration(events::nanoseconds(evaluated))
    );
    rounds
        .telling
        .chose("shards", suite.shards().len().to_string(), reason);
    let mut outcome = rounds.settle(Kind::Shard).await;
    let is_green = rounds.telling.exit_code() == events::ExitCode::Passed;
    // With a shard that failed, or has no result, it can only fail.
    if outcome.is_ok() && is_green {
        outcome = rounds.settle(Kind::Whole).await;
    }
    end(rounds, outcome, directory, arguments)
}

/// What there is to build, at least one shard.
async fn evaluate(
    nix: &Nix,
    arguments: &NixBuild,
    verbosity: &Verbosity,
    interrupts: &Interrupts,
) -> Result<Suite, Failure> {
    let bar = spinner(verbosity, "{spinner} {elapsed}  {wide_msg}");
    if let Some(bar) = &bar {
        bar.enable_steady_tick(TICK);
    }
    let suite = Suite::evaluate(nix, &arguments.installables, interrupts, |installable| {
        if let Some(bar) = &bar {
            bar.set_message(format!("evaluating {}", sanitize(installable)));
        }
    });
    let suite = suite.await;
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    let suite = suite?;
    if suite.shards().is_empty() {
        let of = arguments.installables.join(", ");
        return Err(Failure::nothing(format!(
            "no shards in {of}; a test has some when it has `tests`, or a `testScript`"
        )));
    }
    Ok(suite)
}

/// Write the reports, whatever came of it.
fn end(
    mut rounds: Rounds<'_>,
    outcome: Result<(), NixError>,
    directory: &Path,
    arguments: &NixBuild,
) -> CommandResult {
    let code = rounds.telling.exit_code();
    let reports = Reports {
        nix: &rounds.nix,
        suite: rounds.suite,
        states: &rounds.states,
        retries: rounds.retries,
        exit_code: if outcome.is_ok() {
            code
        } else {
            events::ExitCode::Infrastructure
        },
    };
    let (junit, unreadable) = reports.junit(directory);
    super::write(&directory.join("attempts.json"), reports.attempts())?;
    super::write(&directory.join("junit.xml"), &junit)?;
    if let Some(path) = &arguments.junit {
        super::write(path, &junit)?;
    }
    for shard in unreadable {
        let message = "its junit.xml cannot be read, and is not in that of the whole".to_owned();
        rounds.telling.warn(Some(&shard), message);
    }
    if let Err(error) = outcome {
        rounds.telling.break_off();
        return Err(error.into());
    }
    let told = rounds.telling.end();
    told.map_err(|error| {
        Failure::infrastructure(format!("error: what happened cannot be written: {error}"))
    })?;
    Ok(ExitCode::from(code.code()))
}

impl From<NixError> for Failure {
    fn from(error: NixError) -> Self {
        let text = || {
            let chain = attest::chain(&error);
            let lines: Vec<String> = attest_report::sanitized_lines(&chain).collect();
            format!("error: {}", lines.join("\n"))
        };
        match &error {
            NixError::Interrupted => attest::Error::Interrupted.into(),
            NixError::Evaluation { .. } | NixError::NoTest { .. } | NixError::NoPath { .. } => {
                Self::usage(text())
            }
            NixError::Start { .. }
            | NixError::Answer { .. }
            | NixError::Query { .. }
            | NixError::Copy { .. } => Self::infrastructure(text()),
        }
    }
}

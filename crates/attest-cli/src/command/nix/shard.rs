//! Some of the tests of a manifest, with what came of them as the output.

use std::ffi::OsString;
use std::process::ExitCode;

use attest::SnapshotUse;

use super::super::CommandResult;
use super::attempt::{Attempts, Place};
use super::verdict::{Outcome, Verdict};
use crate::arguments::{Failures, NixShard, Verbosity};

pub(super) fn run(arguments: &NixShard, verbosity: &Verbosity) -> CommandResult {
    let place = Place::make()?;
    place.import(&arguments.snapshots)?;
    let attempts = Attempts {
        place: &place,
        arguments: of_run(arguments, verbosity),
        output: &arguments.output,
        snapshots: SnapshotUse::Needed,
        may_be_empty: arguments.shard.is_some(),
        retries: arguments.infrastructure_retries,
    };
    match attempts.run()? {
        Ok(verdict) => keep(arguments, &verdict),
        Err(broken) => {
            let last = broken.last().map(|broken| broken.reason.as_str());
            let text = format!(
                "infrastructure failure: {}; tried {} times; no test has failed, and nothing is kept, so that Nix \
                 tries again when it is asked to",
                last.unwrap_or_default(),
                broken.len()
            );
            crate::terminal::tell(&text);
            Ok(ExitCode::FAILURE)
        }
    }
}

fn keep(arguments: &NixShard, verdict: &Verdict) -> CommandResult {
    std::fs::create_dir_all(&arguments.output).map_err(super::unwritten(&arguments.output))?;
    verdict.write(&arguments.output)?;
    match (verdict.outcome, arguments.failures) {
        (Outcome::Passed, _) | (_, Failures::Keep) => Ok(ExitCode::SUCCESS),
        (_, Failures::Fail) => Ok(ExitCode::FAILURE),
    }
}

fn of_run(arguments: &NixShard, verbosity: &Verbosity) -> Vec<OsString> {
    let mut words: Vec<OsString> = vec![arguments.manifest.clone().into()];
    for test in &arguments.tests {
        words.extend(["--test".into(), test.into()]);
    }
    if let Some(shard) = arguments.shard {
        words.extend(["--shard".into(), shard.to_string().into()]);
    }
    words.extend(["--retries".into(), arguments.retries.to_string().into()]);
    words.extend(level(verbosity));
    words
}

/// As it was asked of this one.
pub(super) fn level(verbosity: &Verbosity) -> Option<OsString> {
    match verbosity {
        Verbosity { quiet: true, .. } => Some("--quiet".into()),
        Verbosity { verbose: true, .. } => Some("--verbose".into()),
        Verbosity { .. } => None,
    }
}

//! A lab brought to the state that tests begin with, as the output.

use std::ffi::OsString;
use std::process::ExitCode;

use attest::SnapshotUse;
use attest::images;

use super::super::CommandResult;
use super::attempt::{Attempts, Place};
use super::shard::level;
use super::verdict::Outcome;
use crate::arguments::{NixSnapshot, Packing, Verbosity};
use crate::failure::Failure;
use crate::human::size;

/// In the output.
const FILE: &str = "snapshot";

pub(super) fn run(arguments: &NixSnapshot, verbosity: &Verbosity) -> CommandResult {
    let place = Place::make()?;
    place.import(&arguments.snapshots)?;
    let mut words: Vec<OsString> = vec![arguments.manifest.clone().into()];
    words.extend(level(verbosity));
    let output = place.cache().join("run");
    let attempts = Attempts {
        place: &place,
        arguments: words,
        output: &output,
        snapshots: SnapshotUse::Auto,
        may_be_empty: false,
        retries: arguments.infrastructure_retries,
    };
    let verdict = match attempts.run()? {
        Ok(verdict) => verdict.outcome,
        Err(_) => return Ok(ExitCode::FAILURE),
    };
    if verdict != Outcome::Passed {
        return Ok(ExitCode::FAILURE);
    }
    let store = images::snapshots(Some(&place.cache()))?;
    let entries = store.caches().ls()?;
    let last = entries.iter().max_by_key(|entry| attest::setups_of(entry));
    let entry = last.ok_or_else(|| {
        Failure::infrastructure(
            "error: nothing was saved: only virtual machines can be, and only where there is a place for it; the \
             lines above say why",
        )
    })?;
    std::fs::create_dir(&arguments.output).map_err(super::unwritten(&arguments.output))?;
    let packing = match arguments.packing {
        Packing::Lz4 => images::Packing::Lz4,
        Packing::None => images::Packing::None,
    };
    let packed = images::pack(entry, &arguments.output.join(FILE), packing, &mut |_| {})?;
    crate::terminal::tell(&format!(
        "saved {}: {} of {}",
        entry.about.as_deref().unwrap_or_default(),
        size(packed.bytes),
        size(packed.data)
    ));
    Ok(ExitCode::SUCCESS)
}

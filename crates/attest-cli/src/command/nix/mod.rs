//! `attest nix`: tests as derivations. In a builder's sandbox attest is the builder itself; each command here writes one
//! kind of output.

mod aggregate;
mod attempt;
mod build;
mod interrupts;
mod refused;
mod shard;
mod snapshot;
mod verdict;

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;

use attest::events::Event;

use super::CommandResult;
use crate::arguments::{Nix, NixCommand, Verbosity};
use crate::failure::Failure;

pub(crate) fn run(arguments: &Nix, verbosity: &Verbosity) -> CommandResult {
    match &arguments.command {
        NixCommand::Build(build) => build::run(build, verbosity),
        NixCommand::Shard(shard) => shard::run(shard, verbosity),
        NixCommand::Snapshot(snapshot) => snapshot::run(snapshot, verbosity),
        NixCommand::Aggregate(aggregate) => aggregate::run(aggregate, verbosity),
    }
}

/// In an output, as in that of every run.
const EVENTS: &str = "events.jsonl";

/// What happened in a run, as far as it was written; nothing where there was none.
fn events_in(output: &Path) -> impl Iterator<Item = Event> + use<> {
    let file = File::open(output.join(EVENTS)).ok();
    let lines = file.into_iter().flat_map(|file| {
        let lines = BufReader::new(file).lines();
        lines.map_while(Result::ok)
    });
    lines.filter_map(|line| serde_json::from_str(&line).ok())
}

/// A file of an output.
fn write(path: &Path, contents: impl AsRef<[u8]>) -> Result<(), Failure> {
    fs::write(path, contents).map_err(unwritten(path))
}

fn unwritten(path: &Path) -> impl FnOnce(std::io::Error) -> Failure {
    let path = path.display().to_string();
    move |error| Failure::infrastructure(format!("error: {path} cannot be written: {error}"))
}

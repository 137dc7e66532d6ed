//! The command line for derivations of Nix.

use std::path::PathBuf;

use attest::schedule::Shard;
use clap::{Args, Subcommand, ValueEnum};

use super::NixBuild;

#[derive(Debug, Args)]
#[command(after_help = "\
Test derivations of attest's flake have attest itself as their builder, so that their sandbox has
nothing in it but what the test needs. Everything goes below $NIX_BUILD_TOP, or $TMPDIR.

Examples:
  attest nix shard --manifest test.json -o $out
  attest nix aggregate --name web $shard1 $shard2 -o $out")]
pub(crate) struct Nix {
    #[command(subcommand)]
    pub(crate) command: NixCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum NixCommand {
    /// Build all shards of a suite, wherever Nix builds them, and those again that were lost
    Build(NixBuild),
    /// Builder: run tests, and write what came of them to the output
    Shard(NixShard),
    /// Builder: bring a lab to the state that tests begin with, and write it to the output
    Snapshot(NixSnapshot),
    /// Builder: make one report of shards, and fail when one has failed
    Aggregate(NixAggregate),
}

#[derive(Debug, Args)]
#[command(after_help = "\
A failed test is a result: the output has `verdict.json`, `junit.xml`, `events.jsonl`, `timeline.html`
and the consoles. What breaks beneath the tests is none: it is tried again, and in the end there is no
output, so that Nix builds it again the next time. Exit codes: 0 there is an output, 1 there is none.

Examples:
  attest nix shard --manifest test.json -o $out
  attest nix shard --manifest test.json --shard 1/4 --infrastructure-retries 2 -o $out
  attest nix shard --manifest test.json --snapshot $snapshot/snapshot --failures fail -o $out")]
pub(crate) struct NixShard {
    /// The manifest
    #[arg(long, value_name = "FILE")]
    pub(crate) manifest: PathBuf,
    /// Only the tests with these very names [default: all]
    #[arg(long = "test", value_name = "NAME")]
    pub(crate) tests: Vec<String>,
    /// Only the I-th of N parts of the tests
    #[arg(long, value_name = "I/N")]
    pub(crate) shard: Option<Shard>,
    /// Begin from this state, as `attest nix snapshot` wrote it, where it fits; else the lab boots
    #[arg(long = "snapshot", value_name = "FILE")]
    pub(crate) snapshots: Vec<PathBuf>,
    /// Try a test that did not pass again, up to N times; one that passes then is called flaky
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(crate) retries: u32,
    /// Try again, up to N times, when something beneath the tests broke
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub(crate) infrastructure_retries: u32,
    /// What becomes of tests that fail
    #[arg(long, value_enum, default_value_t, value_name = "WHAT")]
    pub(crate) failures: Failures,
    /// The derivation's output, which is not there yet
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: PathBuf,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Failures {
    /// They are results, in the output: the derivation succeeds, and what depends on it judges
    #[default]
    Keep,
    /// The derivation fails, and Nix keeps nothing
    Fail,
}

#[derive(Debug, Args)]
#[command(after_help = "\
The manifest has one test, which says by its `setup` how far the lab is brought. The state is one
file, without the parts of memory and disks that are empty.

Examples:
  attest nix snapshot --manifest ready.json -o $out")]
pub(crate) struct NixSnapshot {
    /// The manifest
    #[arg(long, value_name = "FILE")]
    pub(crate) manifest: PathBuf,
    /// Begin from this state, where it fits
    #[arg(long = "snapshot", value_name = "FILE")]
    pub(crate) snapshots: Vec<PathBuf>,
    /// How the state is packed
    #[arg(long, value_enum, default_value_t, value_name = "HOW")]
    pub(crate) packing: Packing,
    /// Try again, up to N times, when something beneath the lab broke
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub(crate) infrastructure_retries: u32,
    /// The derivation's output, which is not there yet; the state is `snapshot` in it
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: PathBuf,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Packing {
    /// Compressed
    #[default]
    Lz4,
    /// As it is
    None,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 all tests passed, 1 one did not.

Examples:
  attest nix aggregate --name web $shard1 $shard2 -o $out
  attest nix aggregate --name web --report $shard1 $shard2 -o $out")]
pub(crate) struct NixAggregate {
    /// The test's name
    #[arg(long, value_name = "NAME")]
    pub(crate) name: String,
    /// Succeed also when a test has failed, so that there is an output to look at
    #[arg(long)]
    pub(crate) report: bool,
    /// Outputs of shards
    #[arg(required = true, value_name = "SHARD")]
    pub(crate) shards: Vec<PathBuf>,
    /// The derivation's output, which is not there yet
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: PathBuf,
}

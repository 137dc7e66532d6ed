//! The command line.

mod entries;
mod nix;
mod nix_build;

use std::path::PathBuf;
use std::time::Duration;

use attest::SnapshotUse;
use attest::schedule::{Order, Shard};
use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use self::entries::{
    Clearing, EntryName, Image, ImageBuild, ImageCommand, ImageInitrd, ImageKernel, ImageStore,
    Snapshot, SnapshotCommand,
};
pub(crate) use self::nix::{
    Failures, Nix, NixAggregate, NixCommand, NixShard, NixSnapshot, Packing,
};
pub(crate) use self::nix_build::NixBuild;

/// Test whole systems: boot labs of machines, drive them, account for every second.
#[derive(Debug, Parser)]
#[command(name = "attest", version, propagate_version = true, after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) verbosity: Verbosity,
    /// When to colour the output
    #[arg(long, global = true, display_order = LAST + 2, value_enum, default_value_t, value_name = "WHEN")]
    pub(crate) color: Color,
}

/// Behind a command's own arguments, however many they are.
const LAST: usize = 100;

const AFTER_HELP: &str = "\
Examples:
  attest run                       run the tests of ./attest.toml
  attest run examples/web ping     only the tests whose name contains `ping`
  attest shell server              boot the lab and open a shell in `server`
  attest exec client ping -c1 server
  attest plan --json               what it would do, as jobs for several hosts
  attest doctor                    what this host can do
  attest image ls                  what is in the cache

Exit codes:
    0  every test passed
    1  a test failed
    2  the command line or the manifest is wrong; nothing was started
    3  something beneath the tests broke
    4  no test to run
    5  the time ran out
  130  interrupted";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Boot labs and run their tests
    Run(Run),
    /// List the tests that `run` would run
    List(Select),
    /// Show what `run` would do, as jobs that can run elsewhere by themselves
    Plan(Plan),
    /// Show what this host can do, with the reason for every no
    Doctor(Doctor),
    /// Boot the lab and open a shell in one of its machines
    Shell(Shell),
    /// Boot the lab and run one command in one of its machines
    Exec(Exec),
    /// List, inspect and remove the images and other things that attest keeps in its cache
    Image(Image),
    /// List, inspect and remove the snapshots of labs that attest keeps
    Snapshot(Snapshot),
    /// Run a NixOS test in place of the NixOS test driver: its start scripts, its script
    NixosTestDriver(Box<crate::nixos::NixosArguments>),
    /// Write ./driver-symbols, the names that scripts of NixOS tests may use, for linters
    GenerateDriverSymbols,
    /// Run tests as derivations of Nix: what its builders call, and `build` for several of them
    Nix(Nix),
    /// Serve labs to another program, as JSON-RPC on a socket that is inherited
    Rpc(Rpc),
    /// Make one JUnit report of those of several shards
    MergeJunit(MergeJunit),
    /// Print completions for a shell
    Completions(Completions),
    /// Print the manual page of attest, or of one of its commands (roff)
    Man(Man),
    /// Print the JSON Schema of the manifest
    Schema,
}

/// Which tests of which manifests.
#[derive(Debug, Clone, Args)]
pub(crate) struct Select {
    /// Manifests, or directories with an attest.toml [default: .]; a last word that is no path
    /// selects the tests whose name contains it
    #[arg(value_name = "PATH|FILTER")]
    pub(crate) paths: Vec<String>,
    /// Only the tests of job N of `attest plan` of the same paths and filter
    #[arg(long, value_name = "N")]
    pub(crate) job: Option<usize>,
    /// Only the test of this very name; may be given several times
    #[arg(long = "test", value_name = "NAME")]
    pub(crate) tests: Vec<String>,
    /// Build Rust tests with this profile of cargo, such as `release` [default: as `cargo test` does]
    #[arg(long, value_name = "NAME")]
    pub(crate) cargo_profile: Option<String>,
    /// Form of the output
    #[arg(long, value_enum, default_value_t, value_name = "FORM")]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Nothing is started. Machines that share no network, or are `independent`, never talk to each other:
tests that use exactly the same of such groups of machines are one job. `attest run --job N`, with
the same paths and filter, runs one of them: each may run on a host of its own. With --json a line
is a manifest, with its jobs; sizes are in bytes, times in milliseconds.

Examples:
  attest plan
  attest plan examples/web ping
  attest plan --backend nspawn examples/web examples/dns
  attest plan --json | jq -c '.jobs[] | [.number, .memory_bytes, (.tests | map(.name))]'")]
pub(crate) struct Plan {
    #[command(flatten)]
    pub(crate) select: Select,
    /// Short for --format json
    #[arg(long, conflicts_with = "format")]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) lab: Lab,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Each test has a lab of its own, and several run at once. Their order, the shards, and how many fit
into the memory follow from what earlier runs took, which the cache directory keeps.

Examples:
  attest run
  attest run examples/web/attest.toml
  attest run examples/web examples/dns ping
  attest run --backend nspawn examples/web
  attest run --snapshots never
  attest run --keep failed
  attest run --profile
  attest run -j1 --fail-fast
  attest run --order random --repeat 20
  attest run --until-failure flaky
  attest run --job 2 --junit job-2.xml
  attest run --shard 2/4 --timings history.json --junit shard-2.xml
  attest run --format json | jq 'select(.event == \"test-ended\")'
  attest run --junit results.xml --output out")]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) select: Select,
    /// Directory for consoles, artifacts and reports [default: a new one in attest-out/]
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
    /// Also tell where the time went, part by part, what attest's own share is, and what could be saved; in profile.json
    /// of the output directory, too
    #[arg(long)]
    pub(crate) profile: bool,
    /// Also write a JUnit report there (one is always in the output directory)
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) lab: Lab,
    #[command(flatten)]
    pub(crate) saved: Saved,
    /// Keep the labs of tests that do not pass, each as it was at that moment, for `attest shell
    /// --snapshot` [default: never]
    #[arg(long, value_enum, value_name = "WHICH", env = "ATTEST_KEEP")]
    pub(crate) keep: Option<Keep>,
    // Last, for its heading is that of whatever comes after it.
    #[command(flatten)]
    pub(crate) schedule: Schedule,
}

/// When which tests run, and how often.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Schedule")]
pub(crate) struct Schedule {
    /// Run at most so many tests at once, as memory allows [default: one for each CPU]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) jobs: Option<u32>,
    /// Begin the tests in this order: longest, manifest, random, or random:SEED [default: longest
    /// where several run at once, else manifest]
    #[arg(long, value_name = "ORDER")]
    pub(crate) order: Option<Order>,
    /// Run only the I-th of N parts of the tests; the N runs together run every test once. The parts
    /// take equally long by --timings, without which all tests count the same
    #[arg(long, value_name = "I/N")]
    pub(crate) shard: Option<Shard>,
    /// Read what earlier runs took from there; shards need the same file [default: history.json of
    /// the cache directory, but not for shards: other hosts have another]
    #[arg(long, value_name = "FILE")]
    pub(crate) timings: Option<PathBuf>,
    /// Try a test that did not pass again, up to N times; one that passes then is called flaky
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(crate) retries: u32,
    /// Run every test N times
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) repeat: Option<u32>,
    /// Run the tests again and again, until one does not pass (with --repeat: at most N times)
    #[arg(long, conflicts_with = "retries")]
    pub(crate) until_failure: bool,
    /// Begin no test any more when one did not pass
    #[arg(long)]
    pub(crate) fail_fast: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Tests stay in the order of the files. Counts and times are added up; the time of the whole is that
of the longest file, for shards run side by side.

Examples:
  attest merge-junit -o junit.xml shard-*.xml
  attest merge-junit --allow-duplicates -o junit.xml first.xml again.xml")]
pub(crate) struct MergeJunit {
    /// The reports
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Where the one report of all goes
    #[arg(short, long, value_name = "OUT")]
    pub(crate) output: PathBuf,
    /// Take a test that several reports have from each of them [default: that is an error]
    #[arg(long)]
    pub(crate) allow_duplicates: bool,
}

/// How labs are booted.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Lab {
    /// Kernel to boot (bzImage or vmlinux) [default: the newest in /boot, else one is fetched]
    #[arg(long, value_name = "FILE", env = "ATTEST_KERNEL")]
    pub(crate) kernel: Option<PathBuf>,
    /// What executes the guests' instructions [default: chosen by a probe]
    #[arg(long, value_enum, value_name = "ACCEL", env = "ATTEST_ACCEL")]
    pub(crate) accel: Option<Accel>,
    /// How machines run, whatever the manifest says
    #[arg(long, value_enum, value_name = "BACKEND", env = "ATTEST_BACKEND")]
    pub(crate) backend: Option<Backend>,
    /// Cache directory [default: $XDG_CACHE_HOME/attest or ~/.cache/attest]
    #[arg(long, value_name = "DIR", env = "ATTEST_CACHE")]
    pub(crate) cache: Option<PathBuf>,
}

/// Whether labs boot.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Saved {
    /// Whether labs go on from where equal ones had booted [default: auto]
    #[arg(long, value_enum, value_name = "USE", env = "ATTEST_SNAPSHOTS")]
    pub(crate) snapshots: Option<Snapshots>,
}

impl Saved {
    pub(crate) fn snapshots(&self) -> SnapshotUse {
        match self.snapshots {
            None => SnapshotUse::default(),
            Some(Snapshots::Auto) => SnapshotUse::Auto,
            Some(Snapshots::Needed) => SnapshotUse::Needed,
            Some(Snapshots::Never) => SnapshotUse::Never,
            Some(Snapshots::Rebuild) => SnapshotUse::Rebuild,
        }
    }
}

/// Which lab, for one who wants to be in it.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// The lab's manifest
    #[arg(short, long, default_value = ".", value_name = "PATH")]
    pub(crate) manifest: PathBuf,
    /// In place of the manifest's lab, one that was kept of a failed test: as `attest run --keep
    /// failed` named it, with the kernel, the accelerator and the backends that it had
    // Those may be in the environment, which is no reason to refuse it.
    #[arg(long, value_name = "NAME", conflicts_with = "manifest")]
    pub(crate) snapshot: Option<String>,
    #[command(flatten)]
    pub(crate) lab: Lab,
    #[command(flatten)]
    pub(crate) saved: Saved,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Clients start this themselves, as the Python package does: they make a pair of sockets, and let
attest inherit one end. All labs end with the socket. `attest rpc --schema` prints what may be
said on it.")]
pub(crate) struct Rpc {
    /// The socket's descriptor
    #[arg(long, value_name = "N", required_unless_present = "schema")]
    pub(crate) fd: Option<i32>,
    /// Print the JSON Schema of all methods
    #[arg(long, conflicts_with = "fd")]
    pub(crate) schema: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Show what each backend has, as a table of Markdown, instead of what the host can do
    #[arg(long)]
    pub(crate) matrix: bool,
    /// Form of the output
    #[arg(long, value_enum, default_value_t, value_name = "FORM")]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Leave the shell with `exit` or Ctrl-D; the lab ends with it. The shell's exit code becomes
attest's own. A lab that was kept stays as it was: what is done here, is done in a fork of it.

Examples:
  attest shell server
  attest shell --snapshot 3fa1b2c4 server")]
pub(crate) struct Shell {
    /// The machine; may be left out when there is one
    pub(crate) machine: Option<String>,
    #[command(flatten)]
    pub(crate) place: Place,
}

#[derive(Debug, Args)]
#[command(after_help = "\
The command's exit code becomes attest's own; 128 + N when signal N ended it.

Examples:
  attest exec server uname -a
  attest exec server -- ls -l /etc
  attest exec -m examples/web client 'wget -qO- http://server/ | wc -c'
  attest exec --snapshot 3fa1b2c4 server -- dmesg
  tar -c src | attest exec server -- tar -x -C /tmp")]
pub(crate) struct Exec {
    /// The machine
    pub(crate) machine: String,
    /// One word: a shell command, under `set -euo pipefail`; several: program and arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
    /// End the command after this long, as 30s or 5m
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub(crate) timeout: Option<Duration>,
    #[command(flatten)]
    pub(crate) place: Place,
}

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  attest man > attest.1
  attest man run | man -l -
  attest man image gc | man -l -")]
pub(crate) struct Man {
    /// The command whose page is printed, as attest-COMMAND(1) [default: attest's own]
    #[arg(value_name = "COMMAND")]
    pub(crate) page: Vec<String>,
}

/// How much to say.
#[derive(Debug, Clone, Args)]
pub(crate) struct Verbosity {
    /// Only failures and the summary
    #[arg(short, long, global = true, display_order = LAST, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Also consoles, commands and choices
    #[arg(short, long, global = true, display_order = LAST + 1)]
    pub(crate) verbose: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    #[default]
    Human,
    /// One JSON object a line; of a run, the event stream
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Accel {
    /// The host's processor
    Kvm,
    /// QEMU's translator
    Tcg,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Backend {
    /// Virtual machines under QEMU
    Qemu,
    /// microVMs under Firecracker
    Firecracker,
    /// Virtual machines under Cloud Hypervisor
    CloudHypervisor,
    /// Containers of systemd-nspawn
    Nspawn,
    /// Hosts that run already
    Ssh,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Snapshots {
    /// Where there is a snapshot; else one is made
    Auto,
    /// Where there is a snapshot; else one is made only where several tests of the run go on from it
    Needed,
    /// They boot, and none is made
    Never,
    /// They boot, and it is made anew
    Rebuild,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Keep {
    /// None
    Never,
    /// Those of tests that fail, run out of time, or whose lab breaks
    Failed,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On terminals, unless NO_COLOR is set
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

impl Color {
    /// For everything printed from here on.
    pub(crate) fn apply(self) {
        let choice = match self {
            Self::Auto => anstream::ColorChoice::Auto,
            Self::Always => anstream::ColorChoice::Always,
            Self::Never => anstream::ColorChoice::Never,
        };
        choice.write_global();
    }
}

fn duration(text: &str) -> Result<Duration, humantime::DurationError> {
    humantime::parse_duration(text)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_help_has_the_exit_codes_of_the_events() {
        for code in attest_events::ExitCode::ALL {
            let line = format!("{:>5}  {}", code.code(), code.meaning());
            assert!(
                AFTER_HELP.contains(&line),
                "`{line}` is missing from the help"
            );
        }
    }
}

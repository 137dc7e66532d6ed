//! The command line of `attest nix build`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use super::Format;

#[derive(Debug, Args)]
#[command(after_help = "\
Nix spreads the shards of a suite over its jobs (-j) and its remote builders. A shard whose test
failed has an output; one without was lost with its builder, and is built again. DIR then has
`junit.xml`, `timeline.html`, `attempts.json`, `nix.log`, and in `shards/` a copy of each output.
Nix gets what stands after --, in each call: options that all of its commands know.

Examples:
  attest nix build .#checks.x86_64-linux.web
  attest nix build --retries 5 -o out .#checks.x86_64-linux.web -- -j 4
  attest nix build web dns -- -f tests.nix
  attest nix build .#web -- --builders 'ssh-ng://a x86_64-linux - 2 1 nixos-test'")]
pub(crate) struct NixBuild {
    /// Tests, as references to attributes of flakes (FLAKE#ATTRIBUTE); attributes of a file with
    /// `-- -f FILE`
    #[arg(required = true, value_name = "INSTALLABLE")]
    pub(crate) installables: Vec<String>,
    /// Build shards without an output again, up to N times
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub(crate) retries: u32,
    /// Directory for what came of it [default: a new one in attest-out/]
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
    /// Also write the JUnit report there
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
    /// Form of the output
    #[arg(long, value_enum, default_value_t, value_name = "FORM")]
    pub(crate) format: Format,
    /// Nix, as a path or a name on PATH
    #[arg(
        long,
        value_name = "PROGRAM",
        default_value = "nix",
        env = "ATTEST_NIX_PROGRAM"
    )]
    pub(crate) nix: PathBuf,
    /// For Nix
    #[arg(last = true, value_name = "NIX-ARGS")]
    pub(crate) nix_arguments: Vec<OsString>,
}

//! Its command line: the three generations at once.

use std::path::PathBuf;

use attest::events::LogLevel;
use clap::{ArgAction, Parser, ValueEnum};

const AFTER_HELP: &str = "\
Environment, where an option is not given:
  startScripts, vmNames, vmStartScripts, containerNames, containerStartScripts, vlans
                    lists, separated by white space
  testScript, globalTimeout, logLevel
                    as the options
  LOGFILE           write an XML log there
  XDG_RUNTIME_DIR   where state directories are [default: the temporary directory]
  ATTEST_PYTHON     the Python that runs the script [default: python3 of PATH]
  ATTEST_AGENT      `never`: bring no agent into guests [default: auto]

Examples:
  nixos-test-driver --config driver.json -o out
  nixos-test-driver --start-scripts ./run-a-vm ./run-b-vm --vlans 1 -- test.py
  nixos-test-driver --config driver.json --interactive

Exit codes:
    0  the test passed
    1  it failed, or something beneath it broke
    2  the command line is wrong; nothing was started
  130  interrupted; SIGTERM ends what exceeds the global time-out";

/// Run a NixOS test: its start scripts, its VLANs and its script, as the NixOS test driver does.
#[derive(Debug, Default, Parser)]
#[command(
    name = "nixos-test-driver",
    bin_name = "nixos-test-driver",
    version,
    infer_long_args = true,
    after_help = AFTER_HELP
)]
pub(crate) struct NixosArguments {
    /// The test as JSON: machines, VLANs, script and time-out
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Start on what an earlier run left of the machines
    #[arg(
        short = 'K',
        long = "keep-machine-state",
        visible_alias = "keep-vm-state"
    )]
    pub(crate) keep_machine_state: bool,
    /// A Python prompt in place of the run of the script
    #[arg(short = 'I', long, overrides_with = "no_interactive")]
    pub(crate) interactive: bool,
    /// The contrary
    #[arg(long = "no-interactive", action = ArgAction::SetTrue, overrides_with = "interactive")]
    pub(crate) no_interactive: bool,
    /// Start scripts of virtual machines; their names have the machines' names in them
    #[arg(long, value_name = "START-SCRIPT", num_args = 0..)]
    pub(crate) start_scripts: Option<Vec<String>>,
    /// Names of virtual machines
    #[arg(long, value_name = "VM-NAME", num_args = 0..)]
    pub(crate) vm_names: Option<Vec<String>>,
    /// Start scripts of virtual machines, in the order of their names
    #[arg(long, value_name = "VM-START-SCRIPT", num_args = 0..)]
    pub(crate) vm_start_scripts: Option<Vec<String>>,
    /// Names of containers
    #[arg(long, value_name = "CONTAINER-NAME", num_args = 0..)]
    pub(crate) container_names: Option<Vec<String>>,
    /// Start scripts of containers, in the order of their names
    #[arg(long, value_name = "CONTAINER-START-SCRIPT", num_args = 0..)]
    pub(crate) container_start_scripts: Option<Vec<String>>,
    /// Numbers of VLANs
    #[arg(long, value_name = "VLAN", num_args = 0..)]
    pub(crate) vlans: Option<Vec<String>>,
    /// How long the whole test may take, seconds [default: a week]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) global_timeout: Option<u64>,
    /// Where screenshots and copied files go; it has to exist [default: the working directory]
    #[arg(
        short,
        long = "output_directory",
        alias = "output-directory",
        value_name = "DIR"
    )]
    pub(crate) output_directory: Option<PathBuf>,
    /// Also write a JUnit report there, in the output directory
    #[arg(long, value_name = "FILE")]
    pub(crate) junit_xml: Option<PathBuf>,
    /// What attaches to a test that stops at a breakpoint or a failure
    #[arg(long, value_name = "COMMAND")]
    pub(crate) debug_hook_attach: Option<String>,
    /// Say how to reach the machines by ssh over vsock; the numbers begin after this
    #[arg(long, value_name = "OFFSET")]
    pub(crate) dump_vsocks: Option<u32>,
    /// The least that is logged
    #[arg(long, value_enum, value_name = "LEVEL")]
    pub(crate) log_level: Option<Level>,
    /// Whether to bring attest's agent into guests that have only a root shell
    #[arg(
        long,
        value_enum,
        value_name = "WHEN",
        env = "ATTEST_AGENT",
        hide_env = true
    )]
    pub(crate) agent: Option<Agent>,
    /// The test's script
    #[arg(value_name = "TESTSCRIPT")]
    pub(crate) testscript: Option<PathBuf>,
}

/// The least that is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Level {
    Debug,
    Info,
    Warning,
    Error,
}

impl From<Level> for LogLevel {
    fn from(level: Level) -> Self {
        match level {
            Level::Debug => Self::Debug,
            Level::Info => Self::Info,
            Level::Warning => Self::Warning,
            Level::Error => Self::Error,
        }
    }
}

/// Whether to bring the agent into guests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Agent {
    /// Where it is possible
    #[default]
    Auto,
    /// Not at all: commands and waits go through the root shell
    Never,
}

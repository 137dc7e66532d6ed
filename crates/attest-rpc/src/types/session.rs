//! The session itself.

use std::path::PathBuf;

use attest_events::{LogLevel, Verdict};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{LabInfo, Seconds};

/// The first call.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct Hello {
    /// The newest generation that the client speaks.
    pub generation: u32,
    /// Its name and version, for messages: `attest-python/0.1.0`.
    #[serde(default)]
    pub client: String,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct HelloAnswer {
    /// The generation that both speak: the smaller of the two.
    pub generation: u32,
    /// attest's version, for messages.
    pub version: String,
    /// The server's process.
    pub pid: u32,
}

/// Which surface the script is written for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Surface {
    /// None: there is no script, the client opens labs.
    #[default]
    None,
    /// The NixOS test driver's.
    Nixos,
    /// attest's own.
    Attest,
}

/// The script to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Script {
    /// Its file.
    pub path: PathBuf,
    /// The file's name in tracebacks.
    pub name: String,
}

/// A function of the script.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PartKind {
    /// A set-up, whose value counts.
    Setup,
    /// A test.
    Test,
}

/// What of the script is to be run, after its top level.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Part {
    /// What it is.
    pub kind: PartKind,
    /// The function's name.
    pub function: String,
    /// What the set-up before it returned; null when there is none.
    pub value: Value,
}

/// What a script's runner is told.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct Description {
    /// Which surface the script is written for.
    pub surface: Surface,
    /// Where what it makes goes.
    pub output: PathBuf,
    /// The script; none when there is only somebody at the terminal.
    pub script: Option<Script>,
    /// What of the script is to be run, when it is not all of it.
    pub part: Option<Part>,
    /// Whether somebody at the terminal drives.
    pub interactive: bool,
    /// How long all may take, seconds.
    pub global_timeout: Option<Seconds>,
    /// What attaches to a script that stops at a breakpoint.
    pub debug_hook: Option<String>,
    /// The least that is logged.
    pub log_level: LogLevel,
    /// Where state directories are.
    pub base_dir: Option<PathBuf>,
    /// What all machines share.
    pub shared_dir: Option<PathBuf>,
    /// Whether machines keep their state over runs.
    pub keep_state: bool,
    /// Offset of the vsock numbers of the machines' ssh, when they are to be shown.
    pub ssh_offset: Option<u32>,
    /// The lab.
    pub lab: Option<LabInfo>,
}

/// How a script ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ScriptOutcome {
    /// Well.
    Passed,
    /// An assertion of the script did not hold.
    Assertion,
    /// A machine failed beneath it.
    MachineError,
    /// Any other exception.
    Error,
    /// It ended itself with a code.
    Exit,
    /// Somebody interrupted it.
    Interrupted,
}

/// The last that a script's runner says.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScriptEnd {
    /// How it ended.
    pub outcome: ScriptOutcome,
    /// The exit code that it will have.
    pub code: i32,
    /// The exception, in one or a few lines.
    #[serde(default)]
    pub message: Option<String>,
    /// The script's own frames.
    #[serde(default)]
    pub traceback: Vec<String>,
    /// What a set-up returned.
    #[serde(default)]
    pub value: Value,
}

impl ScriptEnd {
    /// What it means for the test.
    pub fn verdict(&self) -> Verdict {
        match self.outcome {
            ScriptOutcome::Passed => Verdict::Passed,
            ScriptOutcome::Exit if self.code == 0 => Verdict::Passed,
            ScriptOutcome::MachineError => Verdict::Infrastructure,
            ScriptOutcome::Interrupted => Verdict::Interrupted,
            ScriptOutcome::Assertion | ScriptOutcome::Error | ScriptOutcome::Exit => {
                Verdict::Failed
            }
        }
    }
}

/// Give up a call.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct Cancel {
    /// Its number.
    pub id: u64,
}

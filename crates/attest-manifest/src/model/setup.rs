//! Set-ups, and what of a lab its tests share.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Step, TimeSpan};

/// What brings a lab to the state that tests begin with: steps on the machines, or a Python
/// script. Exactly one of `steps` and `script`. It is done once for all tests that name it, where
/// they run on forks of the lab.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Setup {
    /// The set-up that is done before this one. Default: none, it begins with the lab as it
    /// booted. Example: `after = "installed"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// How long it may take, without those before it. Default: that of `timeouts.test`.
    /// Example: `timeout = "2m"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<TimeSpan>,
    /// What to do, one after the other; the first step that fails ends it, and no test that needs
    /// it runs. Example: `steps = [{ on = "server", run = "systemctl start nginx" }]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<Vec<Step>>,
    /// A Python script that drives the machines, relative to the manifest, as of tests.
    /// Example: `script = "tests/installed.py"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub script: Option<PathBuf>,
}

/// What of a lab its tests share.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// Each test has a fork of the lab as its set-up left it, where every machine can be saved;
    /// else a lab that was freshly booted and set up.
    #[default]
    Auto,
    /// Each test has a fork of the lab as its set-up left it; where a machine cannot be saved,
    /// that is an error.
    Fork,
    /// Each test has a lab that was freshly booted and set up.
    Boot,
    /// All tests run on one lab, one after the other, each as the one before left it. So do those of
    /// labs with hosts that run already, whatever is said.
    Shared,
}

impl Isolation {
    /// As in the manifest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Fork => "fork",
            Self::Boot => "boot",
            Self::Shared => "shared",
        }
    }
}

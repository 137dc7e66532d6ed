//! What a shard came to, in a file of its output.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// The file.
pub(super) const FILE: &str = "verdict.json";

/// What a shard came to. Only what says something about the tests is one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Verdict {
    #[serde(rename = "verdict")]
    pub(super) outcome: Outcome,
    /// Of `attest run`.
    pub(super) exit: u8,
    /// How many tests it had.
    pub(super) tests: usize,
    /// Those that did not pass.
    pub(super) failed: Vec<String>,
    /// How many tests began from a snapshot that was given.
    pub(super) restored: usize,
    /// What broke beneath the tests before, each with its reason.
    pub(super) attempts: Vec<Broken>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Outcome {
    /// Every test passed.
    Passed,
    /// A test failed, or ran out of time.
    Failed,
    /// The manifest or a script is wrong, and nothing was started.
    Refused,
}

/// A try that says nothing about the tests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Broken {
    /// Of `attest run`; none where a signal ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) exit: Option<u8>,
    pub(super) reason: String,
}

impl Verdict {
    /// Of a shard's output.
    pub(super) fn of(output: &Path) -> Result<Self, Failure> {
        let path = output.join(FILE);
        let name = path.display();
        let unread = |why: String| {
            Failure::infrastructure(format!(
                "error: {name} cannot be read: {why}; is {} the output of a shard?",
                output.display()
            ))
        };
        let text = fs::read(&path).map_err(|error| unread(error.to_string()))?;
        serde_json::from_slice(&text).map_err(|error| unread(error.to_string()))
    }

    pub(super) fn write(&self, output: &Path) -> Result<(), Failure> {
        let text = serde_json::to_vec_pretty(self).expect("it has nothing but text and numbers");
        super::write(&output.join(FILE), text)
    }
}

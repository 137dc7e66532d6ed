//! What a script says for the log.

use attest_events::{Attributes, LogLevel};
use schemars::JsonSchema;
use serde::Deserialize;

/// A line.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogLine {
    /// How much it matters.
    #[serde(default)]
    pub level: LogLevel,
    /// The text.
    pub message: String,
    /// The machine that it is about.
    #[serde(default)]
    pub machine: Option<String>,
    /// What else there is to say.
    #[serde(default)]
    pub attributes: Attributes,
}

/// A nested part begins.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogBegin {
    /// The client's number for it.
    pub id: u64,
    /// What is done in it.
    pub message: String,
    /// The machine that it is about.
    #[serde(default)]
    pub machine: Option<String>,
    /// Whether it is a test within the script.
    #[serde(default)]
    pub subtest: bool,
    /// What else there is to say.
    #[serde(default)]
    pub attributes: Attributes,
}

/// A nested part ends.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogEnd {
    /// As it began.
    pub id: u64,
    /// Why it did not go well.
    #[serde(default)]
    pub error: Option<String>,
}

/// Whether lines of consoles are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogSerial {
    /// Whether they are.
    pub on: bool,
}

/// The least that is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogLevelSet {
    /// Which.
    pub level: LogLevel,
}

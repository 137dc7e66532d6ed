//! What scripts say of themselves.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a script says of a line of its log, as `image` with the file of a screenshot.
pub type Attributes = BTreeMap<String, String>;

/// How much a line of a script's log matters.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum LogLevel {
    /// For whoever looks for a mistake.
    Debug,
    /// For everybody.
    #[default]
    Info,
    /// Something may be wrong.
    Warning,
    /// Something is wrong.
    Error,
    /// A line of what made the test fail.
    TestError,
}

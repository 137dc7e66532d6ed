//! Saved labs and machines.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::first_lab;

/// A saved lab or machine by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SnapshotRef {
    /// As [`SnapshotInfo::id`].
    pub snapshot: u32,
}

/// Put a lab back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RestoreLab {
    /// As [`super::LabInfo::id`].
    #[serde(default = "first_lab")]
    pub lab: u32,
    /// As [`SnapshotInfo::id`].
    pub snapshot: u32,
}

/// One more lab, of the same names and addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ForkLab {
    /// As [`super::LabInfo::id`]; of no meaning beside `snapshot`.
    #[serde(default = "first_lab")]
    pub lab: u32,
    /// What it begins as, as [`SnapshotInfo::id`]; the lab as it is now when absent.
    #[serde(default)]
    pub snapshot: Option<u32>,
}

/// A saved lab or machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SnapshotInfo {
    /// Its number in this session, from 1; none is used twice.
    pub id: u32,
}

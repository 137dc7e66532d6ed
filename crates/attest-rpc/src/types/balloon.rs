//! Memory that is taken back from machines.

use attest::BalloonStatistics;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Let the balloon of a machine grow or shrink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Inflate {
    /// What it is to take of the machine's memory; rounded down to whole MiB. 0 gives all back.
    pub bytes: u64,
}

/// A balloon, and what the guest says of its memory; `null` is what it does not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct BalloonInfo {
    /// What it is to be, bytes.
    pub target: u64,
    /// What it is, bytes.
    pub actual: u64,
    /// Memory that is used for nothing at all, bytes.
    pub free: Option<u64>,
    /// What programs could still get without swapping, bytes.
    pub available: Option<u64>,
    /// All of the guest's memory, bytes.
    pub total: Option<u64>,
    /// What could be dropped at once, bytes.
    pub disk_caches: Option<u64>,
    /// What was swapped in since the boot, bytes.
    pub swap_in: Option<u64>,
    /// What was swapped out since the boot, bytes.
    pub swap_out: Option<u64>,
    /// Page faults that had to read from a disk, since the boot.
    pub major_faults: Option<u64>,
    /// All other page faults since the boot.
    pub minor_faults: Option<u64>,
}

impl From<BalloonStatistics> for BalloonInfo {
    fn from(statistics: BalloonStatistics) -> Self {
        let BalloonStatistics {
            target,
            actual,
            free,
            available,
            total,
            disk_caches,
            swap_in,
            swap_out,
            major_faults,
            minor_faults,
        } = statistics;
        Self {
            target,
            actual,
            free,
            available,
            total,
            disk_caches,
            swap_in,
            swap_out,
            major_faults,
            minor_faults,
        }
    }
}

//! What caches hold, and what follows from it.

use std::fmt;
use std::time::Duration;

use super::seal::Seal;

/// What a cache holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// Images, kernels, and what else is built: whoever finds it uses it, and it stays for weeks.
    Images,
    /// Snapshots of labs: large, soon outdated, and only used under a lease and when trusted.
    Snapshots,
}

impl Holds {
    /// The command that shows and removes them.
    pub fn command(self) -> &'static str {
        match self {
            Self::Images => "attest image",
            Self::Snapshots => "attest snapshot",
        }
    }

    /// Runs wait for a snapshot, so that it must not wait for a disk.
    pub(super) fn seal(self, is_in_memory: bool) -> Seal {
        match self {
            Self::Images => Seal::Durable,
            Self::Snapshots if is_in_memory => Seal::InMemory,
            Self::Snapshots => Seal::Volatile,
        }
    }

    /// What was used as recently as this may still be used by one who has no lease yet.
    pub(super) fn recent(self) -> Duration {
        match self {
            Self::Images => Duration::from_mins(10),
            Self::Snapshots => Duration::ZERO,
        }
    }
}

impl fmt::Display for Holds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Images => "the cache",
            Self::Snapshots => "the cache of snapshots",
        })
    }
}

//! How the tests of a run are run.

use super::KEEP_VARIABLE;
use crate::schedule::{History, Order, default_jobs};
use crate::snapshot::SnapshotUse;

/// How the tests of a run are run.
#[derive(Debug, Clone)]
pub struct Options {
    /// How many tests may run at once. Default: one for each CPU that this process may use.
    pub jobs: u32,
    /// Default: the longest first where several may run at once, else as in the manifests.
    pub order: Option<Order>,
    /// How often a test is tried again that did not pass, unless it was interrupted. Default: never.
    pub retries: u32,
    /// Default: once.
    pub repeat: Repeat,
    /// Begin no test after one that did not pass. Default: run them all.
    pub fail_fast: bool,
    /// What earlier runs took.
    pub history: History,
    /// Whether tests begin from labs that were saved before. Default: as `$ATTEST_SNAPSHOTS` says.
    pub snapshots: SnapshotUse,
    /// Which labs are kept after their tests. Default: none.
    pub keep: Keep,
}

/// Which labs are kept after their tests, for somebody to look at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Keep {
    /// None.
    #[default]
    Never,
    /// Those of tests that fail, or run out of time, or whose lab breaks: each as it was at that moment.
    Failed,
}

impl Keep {
    /// As `$ATTEST_KEEP` says: `failed`, or else [`Keep::Never`].
    pub(crate) fn from_environment() -> Self {
        match std::env::var(KEEP_VARIABLE) {
            Ok(said) if said == Self::Failed.name() => Self::Failed,
            _ => Self::Never,
        }
    }

    /// As one writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Failed => "failed",
        }
    }
}

/// How often all tests are run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Repeat {
    /// Once.
    #[default]
    Once,
    /// So often.
    Times(u32),
    /// Until one does not pass, but at most so often.
    UntilFailure {
        /// `None`: as long as it takes.
        at_most: Option<u32>,
    },
}

impl Default for Options {
    fn default() -> Self {
        Self {
            jobs: default_jobs(),
            order: None,
            retries: 0,
            repeat: Repeat::Once,
            fail_fast: false,
            history: History::default(),
            snapshots: SnapshotUse::default(),
            keep: Keep::Never,
        }
    }
}

impl Options {
    /// The order in which tests begin, with its seed.
    pub(super) fn order(&self) -> Order {
        let usual = if self.jobs > 1 {
            Order::Longest
        } else {
            Order::Manifest
        };
        self.order.unwrap_or(usual).seeded()
    }

    /// What did not pass ends the run.
    pub(super) fn stops_at_failure(&self) -> bool {
        self.fail_fast || matches!(self.repeat, Repeat::UntilFailure { .. })
    }
}

impl Repeat {
    /// The rounds that are planned together, from this one on; empty when there are no more. The
    /// rounds of one that ends with a failure come one by one.
    pub(super) fn rounds_from(self, next: u32) -> std::ops::Range<u32> {
        match self {
            Self::Once => next..1.max(next),
            Self::Times(times) => next..times.max(next),
            Self::UntilFailure { at_most } => {
                next..next
                    .saturating_add(1)
                    .min(at_most.unwrap_or(u32::MAX).max(next))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_come_together_unless_a_failure_ends_them() {
        assert_eq!(Repeat::Once.rounds_from(0), 0..1);
        assert!(Repeat::Once.rounds_from(1).is_empty());
        assert_eq!(Repeat::Times(3).rounds_from(0), 0..3);
        assert!(Repeat::Times(3).rounds_from(3).is_empty());
        let forever = Repeat::UntilFailure { at_most: None };
        assert_eq!(forever.rounds_from(7), 7..8);
        let twice = Repeat::UntilFailure { at_most: Some(2) };
        assert_eq!(twice.rounds_from(1), 1..2);
        assert!(twice.rounds_from(2).is_empty());
    }

    #[test]
    fn the_longest_go_first_where_several_run() {
        let order = |jobs, order| Options {
            jobs,
            order,
            ..Options::default()
        };
        assert_eq!(order(1, None).order(), Order::Manifest);
        assert_eq!(order(2, None).order(), Order::Longest);
        let asked = Some(Order::Manifest);
        assert_eq!(order(2, asked).order(), Order::Manifest);
    }
}

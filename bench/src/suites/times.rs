//! What a run took, in the parts that every driver has.

use std::time::Duration;

use serde::Serialize;

/// The parts of a run, as the drivers are compared by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Part {
    /// What the machines run in: namespaces, networks, switches.
    SetUp,
    /// The driver's own start, up to where it does something for the test, and its end.
    Driver,
    /// What machines boot from, and what they write to.
    Root,
    /// From the start of the machines to where commands can run in them.
    Boot,
    /// The test itself.
    Test,
    /// The end of the machines.
    Shutdown,
}

impl Part {
    pub(crate) const ALL: [Self; 6] = [
        Self::SetUp,
        Self::Driver,
        Self::Root,
        Self::Boot,
        Self::Test,
        Self::Shutdown,
    ];

    /// In tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::SetUp => "set-up",
            Self::Driver => "driver",
            Self::Root => "root",
            Self::Boot => "boot",
            Self::Test => "test",
            Self::Shutdown => "shutdown",
        }
    }
}

/// What one run took.
#[derive(Debug, Clone)]
pub(crate) struct Times {
    /// From the driver's start to its end, as whoever started it sees it.
    pub(crate) total: Duration,
    /// A part that cannot be seen from outside is not among them, and counts to the one before it.
    pub(crate) parts: Vec<(Part, Duration)>,
    /// Where the driver says so.
    pub(crate) counted: Option<Counted>,
    /// What of the time was attest's own, where it was attest.
    pub(crate) own: Option<Own>,
}

/// What was done on the machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Counted {
    pub(crate) commands: usize,
    pub(crate) waits: usize,
    pub(crate) copies: usize,
}

/// attest's own share of a run.
#[derive(Debug, Clone)]
pub(crate) struct Own {
    /// Its wall time and, beside the guests, its CPU time.
    pub(crate) share: Duration,
    /// Its wall time alone: what the run waits for.
    pub(crate) waited: Duration,
    /// By name, the largest first.
    pub(crate) parts: Vec<(String, Duration)>,
}

impl Times {
    /// Of a driver that says no more of itself.
    pub(crate) fn new(total: Duration, parts: Vec<(Part, Duration)>) -> Self {
        Self {
            total,
            parts,
            counted: None,
            own: None,
        }
    }
}

//! How long a test may take.

use std::time::Duration;

use tokio::time::Instant;

use crate::error::Error;
use crate::recorder::Recorder;

/// The instant at which a test's time is out, and whose limit that is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit {
    pub(crate) at: Instant,
    what: &'static str,
    duration: Duration,
}

/// As good as what is longer than the clock reaches.
const CENTURY: Duration = Duration::from_hours(100 * 365 * 24);

impl Limit {
    /// From now on: one test.
    pub(crate) fn of_test(duration: Duration) -> Self {
        Self::from_now("the test", duration)
    }

    /// From now on: one set-up.
    pub(crate) fn of_setup(duration: Duration) -> Self {
        Self::from_now("the set-up", duration)
    }

    /// From now on: all tests of a manifest, boots included.
    pub(crate) fn of_run(duration: Duration) -> Self {
        Self::from_now("the run", duration)
    }

    fn from_now(what: &'static str, duration: Duration) -> Self {
        let now = Instant::now();
        let at = now.checked_add(duration);
        Self {
            at: at.unwrap_or(now + CENTURY),
            what,
            duration,
        }
    }

    /// The one that comes first.
    pub(crate) fn or_before(self, other: Self) -> Self {
        if other.at < self.at { other } else { self }
    }

    /// Whether it has come.
    pub(crate) fn is_past(self) -> bool {
        Instant::now() >= self.at
    }

    /// The error of a test that it has ended.
    pub(crate) fn passed(self, recorder: &Recorder) -> Error {
        Error::TestTimedOut {
            what: self.what,
            limit: self.duration,
            doing: recorder.in_flight(),
        }
    }
}

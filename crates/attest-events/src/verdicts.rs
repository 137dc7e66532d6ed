//! What follows from verdicts: their counts and the exit code.

use crate::{ExitCode, MachineEnding, Summary, Verdict};

impl Verdict {
    /// All, in the order in which summaries name them.
    pub const ALL: [Self; 6] = [
        Self::Passed,
        Self::Failed,
        Self::TimedOut,
        Self::Infrastructure,
        Self::Interrupted,
        Self::Skipped,
    ];

    /// The words used in every output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::TimedOut => "timed out",
            Self::Infrastructure => "infrastructure",
            Self::Interrupted => "interrupted",
            Self::Skipped => "skipped",
        }
    }

    /// Neither passed nor skipped: the run is not good.
    pub const fn is_bad(self) -> bool {
        !matches!(self, Self::Passed | Self::Skipped)
    }
}

impl Summary {
    /// Counts one more test.
    pub fn count(&mut self, verdict: Verdict) {
        let count = self.count_mut(verdict);
        *count = count.saturating_add(1);
    }

    /// Counts one more test, which took so many tries.
    pub fn count_tried(&mut self, verdict: Verdict, tries: u32) {
        self.count(verdict);
        if verdict == Verdict::Passed && tries > 1 {
            self.flaky = self.flaky.saturating_add(1);
        }
    }

    /// How many tests got this verdict.
    pub const fn of(&self, verdict: Verdict) -> u32 {
        match verdict {
            Verdict::Passed => self.passed,
            Verdict::Failed => self.failed,
            Verdict::TimedOut => self.timed_out,
            Verdict::Infrastructure => self.infrastructure,
            Verdict::Interrupted => self.interrupted,
            Verdict::Skipped => self.skipped,
        }
    }

    /// Whether a test neither passed nor was skipped.
    pub fn is_bad(&self) -> bool {
        Verdict::ALL
            .into_iter()
            .any(|verdict| verdict.is_bad() && self.of(verdict) > 0)
    }

    /// How many tests got a verdict.
    pub fn total(&self) -> u32 {
        Verdict::ALL
            .into_iter()
            .fold(0, |sum, verdict| sum.saturating_add(self.of(verdict)))
    }

    /// The exit code of a run with these counts. An interruption says that the rest is unknown,
    /// and broken infrastructure that the verdicts are: both go before a failed test.
    pub fn exit_code(&self) -> ExitCode {
        match *self {
            Self {
                interrupted: 1.., ..
            } => ExitCode::Interrupted,
            Self {
                infrastructure: 1..,
                ..
            } => ExitCode::Infrastructure,
            Self { failed: 1.., .. } => ExitCode::TestFailed,
            Self { timed_out: 1.., .. } => ExitCode::TimedOut,
            _ if self.total() == 0 => ExitCode::NothingToRun,
            _ => ExitCode::Passed,
        }
    }

    fn count_mut(&mut self, verdict: Verdict) -> &mut u32 {
        match verdict {
            Verdict::Passed => &mut self.passed,
            Verdict::Failed => &mut self.failed,
            Verdict::TimedOut => &mut self.timed_out,
            Verdict::Infrastructure => &mut self.infrastructure,
            Verdict::Interrupted => &mut self.interrupted,
            Verdict::Skipped => &mut self.skipped,
        }
    }
}

impl MachineEnding {
    /// The words used in every output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::PoweredOff => "powered off",
            Self::Reset => "reset",
            Self::Panic => "kernel panic",
            Self::TripleFault => "triple fault",
            Self::VmmCrashed => "VMM crashed",
            Self::VmmMissing => "VMM missing",
            Self::Disconnected => "disconnected",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(verdicts: &[Verdict]) -> Summary {
        let mut summary = Summary::default();
        for verdict in verdicts {
            summary.count(*verdict);
        }
        summary
    }

    #[test]
    fn each_verdict_has_its_own_count() {
        for verdict in Verdict::ALL {
            let summary = summary(&[verdict, verdict]);
            assert_eq!(summary.of(verdict), 2, "{verdict:?}");
            assert_eq!(summary.total(), 2, "{verdict:?}");
        }
    }

    #[test]
    fn only_what_passed_at_last_is_flaky() {
        let mut summary = Summary::default();
        summary.count_tried(Verdict::Passed, 1);
        summary.count_tried(Verdict::Passed, 2);
        summary.count_tried(Verdict::Failed, 3);
        assert_eq!(summary.flaky, 1);
        assert_eq!(summary.total(), 3);
        assert_eq!(summary.exit_code(), ExitCode::TestFailed);
    }

    #[test]
    fn exit_codes_follow_the_worst_verdict() {
        use Verdict::{Failed, Infrastructure, Interrupted, Passed, Skipped, TimedOut};
        assert_eq!(summary(&[]).exit_code(), ExitCode::NothingToRun);
        assert_eq!(summary(&[Skipped]).exit_code(), ExitCode::Passed);
        assert_eq!(summary(&[Passed, Skipped]).exit_code(), ExitCode::Passed);
        assert_eq!(summary(&[Passed, TimedOut]).exit_code(), ExitCode::TimedOut);
        assert_eq!(
            summary(&[TimedOut, Failed]).exit_code(),
            ExitCode::TestFailed
        );
        assert_eq!(
            summary(&[Failed, Infrastructure]).exit_code(),
            ExitCode::Infrastructure
        );
        assert_eq!(
            summary(&[Infrastructure, Interrupted]).exit_code(),
            ExitCode::Interrupted
        );
    }
}

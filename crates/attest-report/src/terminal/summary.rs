//! The end of a run: what failed, where the time went, and the counts.

use std::fmt::Write as _;
use std::io::Write;

use attest_events::{Breakdown, ExitCode, Summary, Verdict};

use super::{Terminal, Verbosity};
use crate::failure;
use crate::human::duration;
use crate::sanitize::sanitize;
use crate::system;
use crate::table::table;

impl<W: Write> Terminal<W> {
    pub(super) fn run_ended(
        &mut self,
        exit_code: ExitCode,
        summary: &Summary,
        breakdown: &Breakdown,
    ) -> String {
        self.ended = true;
        let mut text = self.failures_text();
        // Without phases, nothing is known of where the time went.
        if self.verbosity > Verbosity::Quiet && !breakdown.total.is_empty() {
            let _ = write!(text, "\n{}", table(breakdown, self.palette));
        }
        if self.verbosity == Verbosity::Verbose {
            let faint = self.palette.faint;
            for (machine, times) in &self.boots {
                let times = system::times(times);
                let _ = writeln!(text, "{faint}boot of {machine}: {times}{faint:#}");
            }
        }
        if !text.is_empty() {
            text.push('\n');
        }
        let style = match exit_code {
            ExitCode::Passed => self.palette.good,
            _ => self.palette.bad,
        };
        let counts = Verdict::ALL
            .into_iter()
            .map(|verdict| (verdict, summary.of(verdict)))
            .filter(|(verdict, count)| {
                *count > 0
                    || matches!(
                        verdict,
                        Verdict::Passed | Verdict::Failed | Verdict::Skipped
                    )
            })
            .map(|(verdict, count)| {
                let flaky = match summary.flaky {
                    flaky @ 1.. if verdict == Verdict::Passed => format!(" ({flaky} flaky)"),
                    _ => String::new(),
                };
                format!("{count} {}{flaky}", verdict.name())
            })
            .collect::<Vec<_>>()
            .join(", ");
        let _ = write!(
            text,
            "{style}{counts}{style:#} in {}",
            duration(breakdown.wall_ns)
        );
        if exit_code != ExitCode::Passed {
            let _ = write!(
                text,
                " ({}, exit code {})",
                exit_code.meaning(),
                exit_code.code()
            );
        }
        text.push('\n');
        text
    }

    pub(super) fn failures_text(&mut self) -> String {
        let mut text = String::new();
        for failure in std::mem::take(&mut self.failures) {
            text.push('\n');
            text.push_str(&failure::render(&failure, self.look, self.palette));
        }
        if let (false, Some(output)) = (text.is_empty(), &self.output) {
            let _ = writeln!(
                text,
                "\nconsoles, artifacts and events: {}",
                sanitize(output)
            );
        }
        text
    }
}

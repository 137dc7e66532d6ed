//! What takes longer than a moment, on the last line of a terminal, with the time that is left.

use std::time::{Duration, Instant};

use attest::images::{Pace, Step};
use attest_report::{Look, sanitize};
use indicatif::{ProgressBar, ProgressStyle};

use crate::arguments::Verbosity;

/// What is done sooner is not worth a line.
const PATIENCE: Duration = Duration::from_secs(1);

/// Shows steps, and vanishes with its last.
pub(crate) struct Shower {
    /// Where there is a terminal that can redraw a line, and somebody wants to know.
    bar: Option<ProgressBar>,
    began: Instant,
    pace: Pace,
}

/// A line of the terminal, of this template; none where nobody wants to see it, or where it cannot be redrawn.
pub(crate) fn spinner(verbosity: &Verbosity, template: &str) -> Option<ProgressBar> {
    let wanted = !verbosity.quiet && Look::of_stderr().live.is_some();
    wanted.then(|| {
        let style = ProgressStyle::with_template(template);
        let style = style.unwrap_or_else(|_| ProgressStyle::default_spinner());
        ProgressBar::new_spinner().with_style(style)
    })
}

impl Shower {
    pub(crate) fn new(verbosity: &Verbosity) -> Self {
        Self {
            bar: spinner(verbosity, "{spinner} {wide_msg}"),
            began: Instant::now(),
            pace: Pace::default(),
        }
    }

    pub(crate) fn show(&mut self, step: &Step) {
        let now = Instant::now();
        let text = self.pace.text(step, now);
        if let Some(bar) = &self.bar
            && now.saturating_duration_since(self.began) >= PATIENCE
        {
            bar.set_message(sanitize(&text));
            bar.tick();
        }
    }
}

impl Drop for Shower {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

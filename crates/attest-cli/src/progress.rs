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

impl Shower {
    pub(crate) fn new(verbosity: &Verbosity) -> Self {
        let wanted = !verbosity.quiet && Look::of_stderr().live.is_some();
        let bar = wanted.then(|| {
            let style = ProgressStyle::with_template("{spinner} {wide_msg}");
            let style = style.unwrap_or_else(|_| ProgressStyle::default_spinner());
            ProgressBar::new_spinner().with_style(style)
        });
        Self {
            bar,
            began: Instant::now(),
            pace: Pace::default(),
        }
    }

    pub(crate) fn show(&mut self, step: &Step) {
        let now = Instant::now();
        let left = self.pace.left(step, now);
        if let Some(bar) = &self.bar
            && now.saturating_duration_since(self.began) >= PATIENCE
        {
            bar.set_message(sanitize(&line(step, left)));
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

fn line(step: &Step, left: Option<Duration>) -> String {
    let Some(left) = left else {
        return step.to_string();
    };
    // Nobody sets a clock by it.
    let seconds = left.as_secs() + 1;
    match seconds / 60 {
        0 => format!("{step}, {seconds} s left"),
        minutes => format!("{step}, {minutes} min {:02} s left", seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use attest::images::Amount;

    use super::*;

    #[test]
    fn the_time_that_is_left_is_said_where_it_is_known() {
        let (done, total) = (5_000_000, 20_000_000);
        let step = Step {
            what: "reading root.tar".to_owned(),
            bytes: Some(Amount { done, total }),
        };
        let line = |left: Option<u64>| line(&step, left.map(Duration::from_millis));
        assert_eq!(line(None), "reading root.tar (5 of 20 MB)");
        assert_eq!(
            line(Some(11_200)),
            "reading root.tar (5 of 20 MB), 12 s left"
        );
        assert_eq!(
            line(Some(64_000)),
            "reading root.tar (5 of 20 MB), 1 min 05 s left"
        );
    }
}

//! From times to places.

/// In nanoseconds, as all times here.
const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;
/// On a scale, lines at most: labels have to fit between them on a narrow screen.
const TICKS: u64 = 8;
/// The steps between them above a second: those that clocks have.
const CLOCK: [u64; 16] = [
    1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1_200, 1_800, 3_600, 7_200, 14_400, 43_200,
];

/// A stretch of time across the width of the page.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    from_ns: u64,
    length_ns: u64,
}

impl Scale {
    pub(super) fn new(from_ns: u64, to_ns: u64) -> Self {
        Self {
            from_ns,
            length_ns: to_ns.saturating_sub(from_ns).max(1),
        }
    }

    /// Where an instant is, in percent of the width; what lies outside is at the edge.
    pub(super) fn place(self, at_ns: u64) -> f64 {
        let since = at_ns.saturating_sub(self.from_ns).min(self.length_ns);
        as_float(since) / as_float(self.length_ns) * 100.0
    }

    /// Instants that have a line, with their labels, counted from the scale's begin.
    pub(super) fn ticks(self) -> Vec<(f64, String)> {
        let step = step(self.length_ns);
        (0..=self.length_ns / step)
            .map(|number| number * step)
            .map(|ns| {
                let label = label(ns, step, self.length_ns);
                (as_float(ns) / as_float(self.length_ns) * 100.0, label)
            })
            .collect()
    }
}

fn step(length_ns: u64) -> u64 {
    let decimal = (0..9).flat_map(|power| [1, 2, 5].map(|digit| digit * 10_u64.pow(power)));
    let steps = decimal.chain(CLOCK.map(|seconds| seconds * SECOND));
    let fits = |step: &u64| length_ns / step <= TICKS;
    let days = length_ns / TICKS + 1;
    steps.into_iter().find(fits).unwrap_or(days)
}

fn label(ns: u64, step_ns: u64, length_ns: u64) -> String {
    let whole = ns / SECOND;
    let (hours, minutes, seconds) = (whole / 3_600, whole / 60 % 60, whole % 60);
    if ns == 0 {
        "0".to_owned()
    } else if length_ns < MILLISECOND {
        format!("{} µs", ns / 1_000)
    } else if length_ns < SECOND {
        let digits = digits(step_ns, MILLISECOND);
        format!("{:.digits$} ms", as_float(ns) / 1e6)
    } else if length_ns < 120 * SECOND {
        let digits = digits(step_ns, SECOND);
        format!("{:.digits$} s", as_float(ns) / 1e9)
    } else if length_ns < 3_600 * SECOND {
        format!("{minutes}:{seconds:02} min")
    } else {
        format!("{hours}:{minutes:02}:{seconds:02} h")
    }
}

/// Digits behind the point that a step needs.
fn digits(step_ns: u64, unit_ns: u64) -> usize {
    let mut digits = 0;
    let mut step_ns = step_ns;
    while step_ns < unit_ns && step_ns > 0 {
        step_ns *= 10;
        digits += 1;
    }
    digits
}

#[expect(clippy::cast_precision_loss, reason = "a pixel is not a nanosecond")]
fn as_float(ns: u64) -> f64 {
    ns as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels(length_ns: u64) -> String {
        let ticks = Scale::new(7, 7 + length_ns).ticks();
        let labels: Vec<String> = ticks.into_iter().map(|(_, label)| label).collect();
        labels.join(" ")
    }

    #[test]
    fn lines_stand_where_a_clock_has_them() {
        assert_eq!(labels(1), "0 0 µs");
        assert_eq!(
            labels(400_000),
            "0 50 µs 100 µs 150 µs 200 µs 250 µs 300 µs 350 µs 400 µs"
        );
        assert_eq!(
            labels(40_000_000),
            "0 5 ms 10 ms 15 ms 20 ms 25 ms 30 ms 35 ms 40 ms"
        );
        assert_eq!(
            labels(3_900_000),
            "0 0.5 ms 1.0 ms 1.5 ms 2.0 ms 2.5 ms 3.0 ms 3.5 ms"
        );
        assert_eq!(labels(5_600_000_000), "0 1 s 2 s 3 s 4 s 5 s");
        assert_eq!(
            labels(1_200_000_000),
            "0 0.2 s 0.4 s 0.6 s 0.8 s 1.0 s 1.2 s"
        );
        assert_eq!(
            labels(125_000_000_000),
            "0 0:20 min 0:40 min 1:00 min 1:20 min 1:40 min 2:00 min"
        );
        assert_eq!(
            labels(7_300_000_000_000),
            "0 0:20:00 h 0:40:00 h 1:00:00 h 1:20:00 h 1:40:00 h 2:00:00 h"
        );
    }

    proptest! {
        #[test]
        fn there_are_few_lines_and_all_are_on_the_page(from in any::<u64>(), to in any::<u64>(), at in any::<u64>()) {
            let scale = Scale::new(from, to);
            let ticks = scale.ticks();
            prop_assert!((1..=9).contains(&ticks.len()));
            let places = ticks.iter().map(|(place, _)| *place).chain([scale.place(at)]);
            for place in places {
                prop_assert!((0.0..=100.0).contains(&place));
            }
        }
    }
}

//! Durations for people.

use std::time::Duration;

/// Nanoseconds with three significant digits and the unit that fits: `412 µs`, `12.3 ms`, `2.31 s`,
/// `4 min 05 s`.
pub fn duration(ns: u64) -> String {
    let seconds = Duration::from_nanos(ns).as_secs_f64();
    // The limits lie where rounding would give a fourth digit.
    if ns < 999_500 {
        three_digits(seconds * 1e6, "µs")
    } else if ns < 999_500_000 {
        three_digits(seconds * 1e3, "ms")
    } else if ns < 119_500_000_000 {
        three_digits(seconds, "s")
    } else {
        let whole = Duration::from_nanos(ns.saturating_add(500_000_000)).as_secs();
        format!("{} min {:02} s", whole / 60, whole % 60)
    }
}

fn three_digits(value: f64, unit: &str) -> String {
    if value == 0.0 {
        "0".to_owned()
    } else if value < 9.995 {
        format!("{value:.2} {unit}")
    } else if value < 99.95 {
        format!("{value:.1} {unit}")
    } else {
        format!("{value:.0} {unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn durations_have_three_digits_and_a_unit() {
        let cases = [
            (0, "0"),
            (412_000, "412 µs"),
            (999_499, "999 µs"),
            (999_500, "1.00 ms"),
            (9_994_000, "9.99 ms"),
            (9_996_000, "10.0 ms"),
            (99_960_000, "100 ms"),
            (999_500_000, "1.00 s"),
            (2_314_000_000, "2.31 s"),
            (31_240_000_000, "31.2 s"),
            (119_400_000_000, "119 s"),
            (119_500_000_000, "2 min 00 s"),
            (245_000_000_000, "4 min 05 s"),
        ];
        for (ns, text) in cases {
            assert_eq!(duration(ns), text, "{ns}");
        }
    }
}

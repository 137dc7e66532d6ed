//! Sizes and ages, as people write them.

use std::time::Duration;

/// Bytes with two or three digits and the unit that fits, in powers of 1000 as disks are sold:
/// `812 B`, `4.1 kB`, `182 MB`, `1.4 GB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut tenths = u128::from(bytes) / 100;
    let mut units = UNITS.into_iter();
    let mut unit = units.next().unwrap_or_default();
    // Rounding must not give a fourth digit.
    while tenths >= 9995 {
        tenths /= 1000;
        unit = units.next().unwrap_or(unit);
    }
    if tenths < 100 {
        format!("{}.{} {unit}", tenths / 10, tenths % 10)
    } else {
        format!("{} {unit}", (tenths + 5) / 10)
    }
}

/// How long ago something was: `now`, `5 min ago`, `3 h ago`, `12 days ago`, `2 years ago`.
pub(crate) fn age(age: Duration) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    const YEAR: u64 = 365 * DAY;
    let ago = |count: u64, unit: &str| format!("{count} {unit} ago");
    match age.as_secs() {
        0..MINUTE => "now".to_owned(),
        seconds @ MINUTE..HOUR => ago(seconds / MINUTE, "min"),
        seconds @ HOUR..DAY => ago(seconds / HOUR, "h"),
        seconds if seconds < 2 * DAY => ago(1, "day"),
        seconds if seconds < 2 * YEAR => ago(seconds / DAY, "days"),
        seconds => ago(seconds / YEAR, "years"),
    }
}

/// So many of something: `1 entry`, `2 entries`.
pub(crate) fn count(count: usize, one: &str, many: &str) -> String {
    let word = if count == 1 { one } else { many };
    format!("{count} {word}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_unit_that_fits() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (4096, "4.0 kB"),
            (9_999, "9.9 kB"),
            (10_000, "10 kB"),
            (182_400_000, "182 MB"),
            (999_400_000, "999 MB"),
            (999_600_000, "0.9 GB"),
            (1_400_000_000, "1.4 GB"),
            (u64::MAX, "18 EB"),
        ] {
            assert_eq!(size(bytes), text, "{bytes}");
        }
    }

    #[test]
    fn ages_have_a_unit_that_fits() {
        for (seconds, text) in [
            (0, "now"),
            (59, "now"),
            (60, "1 min ago"),
            (3599, "59 min ago"),
            (3600, "1 h ago"),
            (86_400, "1 day ago"),
            (3 * 86_400, "3 days ago"),
            (800 * 86_400, "2 years ago"),
        ] {
            assert_eq!(age(Duration::from_secs(seconds)), text, "{seconds}");
        }
    }
}

//! What systemd of a guest says: entries of its journal, and where the time of its boot went.

use attest_events::BootTimes;

use crate::human::duration;
use crate::sanitize::sanitize;

/// Units that are named; more are in the events.
const SLOWEST: usize = 5;

/// The end of a start-up, in one line: `running`, or `degraded: a.service, b.service failed`.
pub(crate) fn state(state: &str, failed: &[String]) -> String {
    let state = sanitize(state);
    if failed.is_empty() {
        return state;
    }
    let failed: Vec<String> = failed.iter().map(|unit| sanitize(unit)).collect();
    format!("{state}: {} failed", failed.join(", "))
}

/// The times of a boot, in one line: `kernel 1.2s, userspace 3.1s; slowest: a.service 800ms`.
pub(crate) fn times(times: &BootTimes) -> String {
    let parts = [
        ("firmware", times.firmware_ns),
        ("loader", times.loader_ns),
        ("kernel", times.kernel_ns),
        ("initrd", times.initrd_ns),
        ("userspace", times.userspace_ns),
    ];
    let parts = parts.into_iter().filter_map(|(name, ns)| Some((name, ns?)));
    let parts: Vec<String> = parts
        .map(|(name, ns)| format!("{name} {}", duration(ns)))
        .collect();
    let units = times.slowest.iter().take(SLOWEST);
    let units: Vec<String> = units
        .map(|unit| format!("{} {}", sanitize(&unit.unit), duration(unit.took_ns)))
        .collect();
    let mut text = parts.join(", ");
    if !units.is_empty() {
        let semicolon = if text.is_empty() { "" } else { "; " };
        text = format!("{text}{semicolon}slowest: {}", units.join(", "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_there_is_not_is_left_out() {
        assert_eq!(times(&BootTimes::default()), "");
        assert_eq!(state("running", &[]), "running");
    }
}

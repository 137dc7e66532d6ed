//! What processes use of the processors.

use std::fs;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Ticks of a second in proc_pid_stat(5): `USER_HZ`, which the kernel's interface fixes
/// (include/asm-generic/param.h).
pub(crate) const TICKS: u64 = 100;

/// What this process has used, with all its threads, those that have ended too.
pub(crate) fn of_this_process() -> Option<Duration> {
    let used = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).ok()?;
    Some(used.into())
}

/// What another process has used, without its children; nothing where it has gone.
pub fn of_process(pid: u32) -> Option<Duration> {
    let words = stat(pid)?;
    let ticks: u64 = words.get(14 - 3..16 - 3)?.iter().sum();
    // In ticks, but of all threads there ever were; the other is exact, of those that there are.
    let all = Duration::from_millis(ticks.saturating_mul(1000) / TICKS);
    Some(all.max(of_threads(pid).unwrap_or_default()))
}

/// What the threads that there are have used: the first word of `schedstat`, nanoseconds
/// (Documentation/scheduler/sched-stats.rst).
fn of_threads(pid: u32) -> Option<Duration> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let used = threads.flatten().filter_map(|thread| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_ascii_whitespace().next()?.parse::<u64>().ok()
    });
    Some(Duration::from_nanos(used.sum()))
}

/// The words of proc_pid_stat(5) from the third on; those that are no numbers, or less than 0, as 0.
pub(crate) fn stat(pid: u32) -> Option<Vec<u64>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Its name, in brackets, may have anything in it.
    let (_, words) = text.rsplit_once(')')?;
    let words = words.split_ascii_whitespace();
    Some(words.map(|word| word.parse().unwrap_or(0)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_process_uses_only_grows() {
        let before = of_this_process().unwrap();
        assert!(before > Duration::ZERO);
        let seen_from_outside = of_process(std::process::id()).unwrap();
        // The kernel adds up what a thread uses at ticks and switches.
        assert!(seen_from_outside + Duration::from_millis(20) > before);
        assert!(of_this_process().unwrap() >= before);
    }

    #[test]
    fn a_process_that_is_not_there_used_nothing_that_is_known() {
        assert_eq!(of_process(u32::MAX), None);
    }
}

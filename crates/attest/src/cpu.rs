//! What processes use of the processors.

use std::fs;
use std::time::Duration;

use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

/// Ticks of a second in proc_pid_stat(5): `USER_HZ`, which the kernel's interface fixes
/// (include/asm-generic/param.h).
pub(crate) const TICKS: u64 = 100;

/// What this process has used, with all its threads, those that have ended too.
pub(crate) fn of_this_process() -> Option<Duration> {
    let used = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).ok()?;
    Some(used.into())
}

/// What another process has used, with all its threads, those that have ended too; without its children. Nothing where it
/// has gone.
pub fn of_process(pid: u32) -> Option<Duration> {
    let clock = clock_getcpuclockid(Pid::from_raw(i32::try_from(pid).ok()?)).ok()?;
    Some(clock_gettime(clock).ok()?.into())
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

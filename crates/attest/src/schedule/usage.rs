//! What a process uses of its host.

use std::fs;

use super::Usage;

/// Clock ticks a second of `/proc/PID/stat`, the same on every Linux that Rust runs on (`USER_HZ`).
const TICKS: u64 = 100;

impl Usage {
    /// Of a process that runs: memory that is its own, not what it shares with others, and CPU time.
    pub(crate) fn of_process(pid: u32) -> Self {
        let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}"));
        Self {
            memory: read("smaps_rollup").ok().and_then(|text| own_memory(&text)),
            cpu_ms: read("stat").ok().and_then(|text| cpu_time(&text)),
        }
    }

    /// Of two at once; what is not known of one is not known of both.
    pub(crate) fn and(self, other: Self) -> Self {
        let sum = |one: Option<u64>, other: Option<u64>| Some(one?.saturating_add(other?));
        Self {
            memory: sum(self.memory, other.memory),
            cpu_ms: sum(self.cpu_ms, other.cpu_ms),
        }
    }
}

/// Of `/proc/PID/smaps_rollup` (proc(5)), bytes.
fn own_memory(text: &str) -> Option<u64> {
    let lines = text.lines().filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_own = matches!(name, "Private_Clean" | "Private_Dirty" | "Swap");
        let kib: u64 = value.split_ascii_whitespace().next()?.parse().ok()?;
        is_own.then_some(kib * 1024)
    });
    let sizes: Vec<u64> = lines.collect();
    (!sizes.is_empty()).then(|| sizes.iter().sum())
}

/// Of `/proc/PID/stat`, milliseconds: the 14th and 15th words. The second one may hold anything, but ends with the
/// last parenthesis.
fn cpu_time(text: &str) -> Option<u64> {
    let (_, after) = text.rsplit_once(')')?;
    let mut words = after.split_ascii_whitespace().skip(11);
    let mut ticks = || words.next()?.parse::<u64>().ok();
    let (user, system) = (ticks()?, ticks()?);
    Some((user + system) * 1000 / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_memory_is_private_and_swapped() {
        let text = "00400000-7fff ---p 00000000 00:00 0 [rollup]\nRss: 100 kB\nShared_Clean: 50 kB\n\
                    Private_Clean: 3 kB\nPrivate_Dirty: 40 kB\nSwap: 1 kB\nSwapPss: 1 kB\n";
        assert_eq!(own_memory(text), Some(44 * 1024));
        assert_eq!(own_memory(""), None);
    }

    #[test]
    fn cpu_time_is_of_user_and_system() {
        let text = "7 (a ) b) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 1 0 9 1 1";
        assert_eq!(cpu_time(text), Some(2000));
        assert_eq!(cpu_time("7 (a"), None);
    }

    #[test]
    fn a_process_is_measured_and_none_is_not() {
        let own = Usage::of_process(std::process::id());
        assert!(own.memory.is_some_and(|bytes| bytes > 0), "{own:?}");
        assert!(own.cpu_ms.is_some());
        assert_eq!(Usage::of_process(u32::MAX), Usage::default());
        assert_eq!(own.and(Usage::default()), Usage::default());
    }
}

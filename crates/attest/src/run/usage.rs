//! What a lab uses of the host: its processes are asked, at its end.

use std::fs;
use std::num::NonZero;
use std::thread;
use std::time::Duration;

use crate::cpu::{TICKS, stat};
use crate::schedule::Usage;

/// How the memory of processes is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Count {
    /// Of what several share, also with other labs, each one's part (proc_pid_smaps(5), `Pss`): for containers, whose
    /// many programs share most of what they are.
    Parts,
    /// All that is no file's (proc_pid_status(5)), which the kernel knows: for virtual machines, of which there are few,
    /// and whose pages it walks for milliseconds to find out who shares them.
    Whole,
}

/// What the processes below this one, and itself, have used until now. What a guest has touched stays its own, so that
/// the end is about the most. And how much that is of a processor's time.
pub(super) fn of_processes(pid: u32, count: Count) -> (Usage, Option<Duration>) {
    let mut cpu_ms = None;
    let mut pids = vec![pid];
    let mut asked = 0;
    while let Some(&pid) = pids.get(asked) {
        asked += 1;
        pids.extend(children(pid));
        cpu_ms = sum(cpu_ms, cpu_ms_of(pid));
    }
    let memory = memory_of_all(&pids, count);
    let usage = Usage {
        memory,
        cpu: share(cpu_ms, age_ms(pid)),
    };
    (usage, cpu_ms.map(Duration::from_millis))
}

/// Thousandths of a CPU.
fn share(cpu_ms: Option<u64>, age_ms: Option<u64>) -> Option<u32> {
    let thousandths = cpu_ms?.saturating_mul(1000) / age_ms?.max(1);
    Some(u32::try_from(thousandths).unwrap_or(u32::MAX))
}

/// One that cannot be asked is left out.
fn sum(all: Option<u64>, one: Option<u64>) -> Option<u64> {
    match (all, one) {
        (Some(all), Some(one)) => Some(all.saturating_add(one)),
        (all, one) => all.or(one),
    }
}

/// Children of all threads; none where the kernel does not list them, or the process has gone.
fn children(pid: u32) -> Vec<u32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    let lists = threads
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| {
            let words = list.split_ascii_whitespace();
            words.flat_map(str::parse).collect::<Vec<_>>()
        })
        .collect()
}

/// Bytes, side by side.
fn memory_of_all(pids: &[u32], count: Count) -> Option<u64> {
    let at_once = thread::available_parallelism().map_or(1, NonZero::get);
    let each = pids.len().div_ceil(at_once).max(1);
    thread::scope(|scope| {
        let ask = move |pids: &[u32]| {
            let each = pids.iter().map(|pid| memory_of(*pid, count));
            each.fold(None, sum)
        };
        let others: Vec<_> = pids
            .chunks(each)
            .skip(1)
            .map(|pids| scope.spawn(move || ask(pids)))
            .collect();
        let own = pids.chunks(each).next().and_then(ask);
        others
            .into_iter()
            .map(|other| other.join().ok().flatten())
            .fold(own, sum)
    })
}

/// Bytes.
fn memory_of(pid: u32, count: Count) -> Option<u64> {
    let (file, names) = match count {
        Count::Parts => ("smaps_rollup", &["Pss:"][..]),
        Count::Whole => ("status", &["RssAnon:", "RssShmem:"][..]),
    };
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
    let value = |name: &&str| {
        let line = text.lines().find_map(|line| line.strip_prefix(*name))?;
        line.split_ascii_whitespace().next()?.parse::<u64>().ok()
    };
    let kib: Option<u64> = names.iter().map(value).sum();
    Some(kib?.saturating_mul(1024))
}

/// CPU time of the process and of its children that were waited for, milliseconds: the words 14 to 17.
fn cpu_ms_of(pid: u32) -> Option<u64> {
    let ticks: u64 = stat(pid)?.get(14 - 3..18 - 3)?.iter().sum();
    Some(ticks.saturating_mul(1000) / TICKS)
}

/// Since its start, milliseconds: that is word 22, in ticks since the host's.
fn age_ms(pid: u32) -> Option<u64> {
    let since = *stat(pid)?.get(22 - 3)?;
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    let (seconds, _) = uptime.split_once('.')?;
    let hundredths = uptime.get(seconds.len() + 1..seconds.len() + 3)?;
    let now = seconds.parse::<u64>().ok()? * 1000 + hundredths.parse::<u64>().ok()? * 10;
    Some(now.saturating_sub(since.saturating_mul(1000) / TICKS))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn processes_and_what_they_started_are_asked() {
        // It takes some time of the CPU, starts one that stays, and says so.
        let script = "i=0; while [ $i -lt 200000 ]; do i=$((i + 1)); done; sleep 1000 & echo; wait";
        let mut shell = Command::new("sh")
            .args(["-c", script])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut said = BufReader::new(shell.stdout.take().unwrap());
        said.read_line(&mut line).unwrap();
        let below = children(shell.id());
        let used = [Count::Parts, Count::Whole].map(|count| {
            let memory_of = |pid: &u32| memory_of(*pid, count).unwrap();
            let alone = below.iter().map(memory_of).sum::<u64>();
            (of_processes(shell.id(), count), alone)
        });
        for pid in below.iter().copied().chain([shell.id()]) {
            let pid = nix::unistd::Pid::from_raw(pid.cast_signed());
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
        }
        shell.wait().unwrap();
        assert_eq!(below.len(), 1);
        for ((usage, cpu), alone) in used {
            assert!(alone > 0 && usage.memory > Some(alone), "{usage:?}");
            assert!(cpu > Some(Duration::ZERO), "{cpu:?}");
            assert!(usage.cpu > Some(0) && usage.cpu < Some(2000), "{usage:?}");
        }
        let gone = of_processes(shell.id(), Count::Parts);
        assert_eq!(gone, (Usage::default(), None));
    }
    #[test]
    fn cpu_is_a_share_of_the_time() {
        assert_eq!(share(Some(1000), Some(2000)), Some(500));
        assert_eq!(share(None, Some(2000)), None);
        assert_eq!(share(Some(1), Some(0)), Some(1000));
        // It is older than a tick, for it has run this far.
        assert!(age_ms(1).is_some_and(|age| age > 0));
        assert_eq!(age_ms(u32::MAX), None);
    }
}

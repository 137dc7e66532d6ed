//! What this process may take of its host.

use std::fs;
use std::path::{Path, PathBuf};

use super::MIB;

/// Where control groups of version 2 are: cgroups(7).
const CGROUPS: &str = "/sys/fs/cgroup";
/// This part of what is available stays with the host, …
const RESERVED_PART: u64 = 8;
/// … at least so much of it, bytes, …
const LEAST_RESERVE: u64 = 128 * MIB;
/// … and no more than that.
const MOST_RESERVE: u64 = 1024 * MIB;

/// How many tests run at once where nobody says: one for each CPU that this process may use, by
/// its affinity and its control group.
pub fn default_jobs() -> u32 {
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u32::try_from(cpus).unwrap_or(u32::MAX)
}

/// Bytes that tests may still take: what the host has available, and what the control groups of
/// this process leave of their limits, less a reserve. `None` where the kernel does not tell.
pub(crate) fn spare_memory() -> Option<u64> {
    let of_host = fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| available(&text));
    let groups = fs::read_to_string("/proc/self/cgroup")
        .map(|text| groups(Path::new(CGROUPS), &text))
        .unwrap_or_default();
    let of_groups = groups.iter().filter_map(|group| room(group));
    of_host.into_iter().chain(of_groups).min().map(less_reserve)
}

fn less_reserve(bytes: u64) -> u64 {
    bytes.saturating_sub((bytes / RESERVED_PART).clamp(LEAST_RESERVE, MOST_RESERVE))
}

/// Bytes that the host has at all, whoever uses them. `None` where the kernel does not tell.
pub(crate) fn memory_of_host() -> Option<u64> {
    total(&fs::read_to_string("/proc/meminfo").ok()?)
}

/// `MemTotal` of proc_meminfo(5), bytes.
fn total(meminfo: &str) -> Option<u64> {
    field(meminfo, "MemTotal:").map(|kib| kib.saturating_mul(1024))
}

/// `MemAvailable` of proc_meminfo(5), bytes.
fn available(meminfo: &str) -> Option<u64> {
    field(meminfo, "MemAvailable:").map(|kib| kib.saturating_mul(1024))
}

/// The number behind this word at the beginning of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        (words.next() == Some(name)).then(|| words.next()?.parse().ok())?
    })
}

/// The group of a process and all above it, of its `/proc/PID/cgroup`.
fn groups(root: &Path, cgroup: &str) -> Vec<PathBuf> {
    let Some(path) = cgroup.lines().find_map(|line| line.strip_prefix("0::/")) else {
        return Vec::new();
    };
    let group = root.join(path);
    let above = group.ancestors().take_while(|each| each.starts_with(root));
    above.map(Path::to_owned).collect()
}

/// What a group leaves of its limits, bytes; `None` where it has none. What the kernel can drop at
/// once does not count as used: it fills up every group in time.
fn room(group: &Path) -> Option<u64> {
    let read = |name: &str| fs::read_to_string(group.join(name)).ok();
    let limit = |name: &str| read(name)?.trim().parse::<u64>().ok();
    let limits = [limit("memory.max"), limit("memory.high")];
    let limit = limits.into_iter().flatten().min()?;
    let used: u64 = read("memory.current")?.trim().parse().ok()?;
    let stat = read("memory.stat").unwrap_or_default();
    let droppable = ["inactive_file", "active_file", "slab_reclaimable"];
    let droppable: u64 = droppable.iter().filter_map(|name| field(&stat, name)).sum();
    Some(limit.saturating_sub(used.saturating_sub(droppable)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_calls_its_memory() {
        let text = "MemTotal:       4096000 kB\nMemFree: 1 kB\nMemAvailable:   2048 kB\n";
        assert_eq!(available(text), Some(2 * MIB));
        assert_eq!(total(text), Some(4000 * MIB));
        assert_eq!(available("MemTotal: 1 kB\nMemAvailable: many\n"), None);
    }

    #[test]
    fn the_reserve_is_a_part_within_bounds() {
        assert_eq!(less_reserve(100 * MIB), 0);
        assert_eq!(less_reserve(512 * MIB), 384 * MIB);
        assert_eq!(less_reserve(4096 * MIB), 3584 * MIB);
        assert_eq!(less_reserve(64 * 1024 * MIB), 63 * 1024 * MIB);
    }

    #[test]
    fn the_tightest_group_above_a_process_counts() {
        let root = tempfile::tempdir().unwrap();
        let outer = root.path().join("outer");
        let inner = outer.join("inner");
        fs::create_dir_all(&inner).unwrap();
        let write = |group: &Path, name: &str, text: &str| {
            fs::write(group.join(name), text).unwrap();
        };
        write(&inner, "memory.max", "max\n");
        write(&inner, "memory.high", "1000\n");
        write(&inner, "memory.current", "700\n");
        write(
            &inner,
            "memory.stat",
            "anon 400\ninactive_file 200\nactive_file 50\n",
        );
        write(&outer, "memory.max", "5000\n");
        write(&outer, "memory.current", "4900\n");
        let groups = groups(root.path(), "1:name=x:/else\n0::/outer/inner\n");
        assert_eq!(groups, [inner, outer, root.path().to_owned()]);
        let rooms: Vec<_> = groups.iter().map(|group| room(group)).collect();
        assert_eq!(rooms, [Some(550), Some(100), None]);
    }

    #[test]
    fn this_host_has_memory() {
        assert!(spare_memory().is_some());
        assert!(memory_of_host() > spare_memory());
        assert!(default_jobs() > 0);
    }
}

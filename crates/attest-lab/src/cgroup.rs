//! Control groups of labs with containers: a container's init makes some below its own, and unlike
//! everything else of a lab they stay when their last process dies. So each such lab has one group
//! of its own, which whoever is left of its processes removes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, test_kill_process};

/// Names of our groups begin so; the driver's process number and a count follow.
const PREFIX: &str = "attest-";
/// A group whose last process has just died may be in use a moment longer.
const TRIES: u32 = 100;

/// The group of one lab, in every hierarchy that systemd uses.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    places: Vec<PathBuf>,
}

impl Group {
    /// The group of this name below the caller's own groups. Nothing is made.
    pub(crate) fn named(name: &str) -> io::Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let own = fs::read_to_string("/proc/self/cgroup")?;
        let places = hierarchies(&mounts, &own);
        Ok(Self {
            places: places.into_iter().map(|place| place.join(name)).collect(),
        })
    }

    /// A name that no other lab has while this process lives.
    pub(crate) fn name(count: u32) -> String {
        format!("{PREFIX}{}-{count}", std::process::id())
    }

    /// Make it, and those that it is below. Nobody is in it yet: to be moved takes 7 ms, in which the kernel waits until
    /// none of its processors looks at where the process was.
    pub(crate) fn make(&self) -> io::Result<()> {
        self.places.iter().try_for_each(fs::create_dir_all)
    }

    /// Make it, and move the caller into it; what it starts from then on is in it, too.
    pub(crate) fn enter(&self) -> io::Result<()> {
        self.make()?;
        for place in &self.places {
            // 0 is the writer.
            fs::write(place.join("cgroup.procs"), "0")?;
        }
        Ok(())
    }

    /// Remove it and all below it. What still has processes stays.
    pub(crate) fn remove(&self) {
        for place in &self.places {
            for _ in 0..TRIES {
                match remove_below(place) {
                    Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                        std::thread::yield_now();
                    }
                    _ => break,
                }
            }
        }
    }

    /// Remove the groups of drivers that are gone.
    pub(crate) fn sweep(&self) {
        for parent in self.places.iter().filter_map(|place| place.parent()) {
            for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
                let name = entry.file_name();
                if name.to_str().is_some_and(is_left_over) {
                    let _ = remove_below(&entry.path());
                }
            }
        }
    }
}

/// Whether a name is that of a group whose driver is gone.
fn is_left_over(name: &str) -> bool {
    let driver = name
        .strip_prefix(PREFIX)
        .and_then(|rest| rest.split_once('-'))
        .and_then(|(pid, _)| Pid::from_raw(pid.parse().ok()?));
    driver.is_some_and(|pid| test_kill_process(pid) == Err(rustix::io::Errno::SRCH))
}

/// Groups hold files that cannot be removed, and go without them.
fn remove_below(group: &Path) -> io::Result<()> {
    for entry in fs::read_dir(group)?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_below(&entry.path())?;
        }
    }
    fs::remove_dir(group)
}

/// Where the caller is in the hierarchies that systemd uses: version 2, and the named one of
/// version 1 beside it.
fn hierarchies(mounts: &str, own: &str) -> Vec<PathBuf> {
    let mut places = Vec::new();
    for line in mounts.lines() {
        // proc_pid_mountinfo(5): fields, optional fields, a separator, and three more.
        let Some((fields, rest)) = line.split_once(" - ") else {
            continue;
        };
        let mut rest = rest.split(' ');
        let (kind, options) = (rest.next(), rest.nth(1).unwrap_or_default());
        let is_own = match kind {
            Some("cgroup2") => |line: &str| line.strip_prefix("0::").map(str::to_owned),
            Some("cgroup") if options.split(',').any(|option| option == "name=systemd") => {
                |line: &str| {
                    let (_, path) = line.split_once(":name=systemd:")?;
                    Some(path.to_owned())
                }
            }
            _ => continue,
        };
        let Some(point) = fields.split(' ').nth(4) else {
            continue;
        };
        if let Some(path) = own.lines().find_map(is_own) {
            places.push(Path::new(point).join(path.trim_start_matches('/')));
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "30 24 0:26 / /sys/fs/cgroup rw shared:9 - tmpfs tmpfs rw\n\
        31 30 0:27 / /sys/fs/cgroup/unified rw shared:10 - cgroup2 cgroup2 rw\n\
        32 30 0:28 / /sys/fs/cgroup/systemd rw shared:11 - cgroup cgroup rw,xattr,name=systemd\n\
        33 30 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";

    #[test]
    fn both_hierarchies_of_systemd_are_found_and_no_other() {
        let own = "4:memory:/a\n1:name=systemd:/user.slice\n0::/user.slice/session\n";
        let expected = [
            "/sys/fs/cgroup/unified/user.slice/session",
            "/sys/fs/cgroup/systemd/user.slice",
        ];
        assert_eq!(hierarchies(MOUNTS, own), expected.map(PathBuf::from));
    }

    #[test]
    fn only_the_unified_one_may_be_there() {
        let mounts = "25 30 0:23 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(
            hierarchies(mounts, "0::/\n"),
            [PathBuf::from("/sys/fs/cgroup/")]
        );
        assert!(hierarchies("nonsense", "0::/\n").is_empty());
    }

    #[test]
    fn only_groups_of_drivers_that_are_gone_are_left_over() {
        assert!(!is_left_over(&Group::name(3)));
        for other in ["attest-", "attest-x-1", "user.slice", "attest-1"] {
            assert!(!is_left_over(other), "{other}");
        }
        // Greater than any process number (proc_sys_kernel(5), pid_max).
        assert!(is_left_over("attest-4194305-0"));
    }
}

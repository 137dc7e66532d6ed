//! What the host says of processes: when they began, what memory they have, what is left of them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use nix::unistd::{SysconfVar, sysconf};

use crate::Result;

/// Since a process was started, rounded up: the kernel tells the start in ticks, of which there are
/// usually 100 a second.
pub(crate) fn age(pid: u32) -> Result<Duration> {
    let now = Duration::from(clock_gettime(ClockId::CLOCK_BOOTTIME)?);
    // proc(5): field 22; the name, which is in parentheses, may have any bytes.
    let ticks: u32 = stat_field(pid, 22)?.parse()?;
    let a_second = u32::try_from(sysconf(SysconfVar::CLK_TCK)?.unwrap_or(100))?;
    let began = Duration::from_secs(1) * ticks / a_second;
    Ok(now.saturating_sub(began))
}

fn stat_field(pid: u32, number: usize) -> Result<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let rest = stat.rsplit_once(") ").ok_or("no name in stat")?.1;
    // The first one after the name is field 3.
    let field = rest.split(' ').nth(number - 3);
    Ok(field.ok_or("stat has too few fields")?.to_owned())
}

/// What a QEMU has that no other process shares with it, in bytes.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Private {
    /// Pages of the guest that it has written to.
    pub(crate) guest: u64,
    /// Code that was translated.
    pub(crate) translated: u64,
    /// Heap, stacks, and all else.
    pub(crate) other: u64,
}

impl Private {
    /// Of a QEMU whose guest has its memory, of so many bytes, in a file.
    pub(crate) fn of(pid: u32, memory: u64) -> Result<Self> {
        let maps = fs::read_to_string(format!("/proc/{pid}/smaps"))?;
        let mut all = Self::default();
        let mut which: Option<fn(&mut Self) -> &mut u64> = None;
        let mut seen = 0;
        for line in maps.lines() {
            let mut words = line.split_whitespace();
            let Some(first) = words.next() else { continue };
            if let Some((from, to)) = first.split_once('-') {
                let bytes = u64::from_str_radix(to, 16)? - u64::from_str_radix(from, 16)?;
                let (rights, path) = (words.next().unwrap_or_default(), words.nth(3));
                let is_memory = path.is_some_and(|path| {
                    path.ends_with(".memory") || path.starts_with("/memfd:attest-snapshot")
                });
                which = Some(if is_memory {
                    seen += bytes;
                    |all| &mut all.guest
                } else if rights.contains('x') && path.is_none() {
                    |all| &mut all.translated
                } else {
                    |all| &mut all.other
                });
            } else if first == "Anonymous:" {
                let kilobytes: u64 = words.next().unwrap_or_default().parse()?;
                if let Some(which) = which {
                    *which(&mut all) += kilobytes << 10;
                }
            }
        }
        if seen < memory {
            return Err(format!("QEMU maps {seen} of {memory} bytes of the saved memory").into());
        }
        Ok(all)
    }
}

/// What grows when something leaks.
#[derive(Debug)]
pub(crate) struct Holdings {
    /// Open in this process.
    descriptors: usize,
    /// That descend from this one, with it.
    processes: usize,
    /// That these are in.
    network_namespaces: usize,
    /// That this process sees.
    mounts: usize,
    /// Files below some directories, and the bytes that they take.
    files: usize,
    disk: u64,
    /// Of this process, in bytes.
    resident: u64,
}

impl Holdings {
    /// With the files below these directories whose names, or whose directories' names, have one of
    /// these texts.
    pub(crate) fn now(places: &[(&Path, &str)]) -> Result<Self> {
        let own = std::process::id();
        let family = family(own)?;
        let namespaces: BTreeSet<_> = family
            .iter()
            .filter_map(|pid| fs::read_link(format!("/proc/{pid}/ns/net")).ok())
            .collect();
        let (mut files, mut disk) = (0, 0);
        for (place, text) in places {
            count(place, text, false, &mut files, &mut disk)?;
        }
        let status = fs::read_to_string("/proc/self/status")?;
        let resident = status.lines().find_map(|line| {
            let words = line.strip_prefix("VmRSS:")?;
            words.split_whitespace().next()?.parse::<u64>().ok()
        });
        Ok(Self {
            descriptors: fs::read_dir("/proc/self/fd")?.count(),
            processes: family.len(),
            network_namespaces: namespaces.len(),
            mounts: fs::read_to_string("/proc/self/mountinfo")?.lines().count(),
            files,
            disk,
            resident: resident.unwrap_or_default() << 10,
        })
    }

    /// Names, units, and how much of each.
    pub(crate) fn figures(&self) -> [(&'static str, &'static str, f64); 7] {
        [
            ("descriptors", "", quantity(self.descriptors)),
            ("processes", "", quantity(self.processes)),
            ("network-namespaces", "", quantity(self.network_namespaces)),
            ("mounts", "", quantity(self.mounts)),
            ("files", "", quantity(self.files)),
            ("disk", "MB", megabytes(self.disk)),
            ("resident", "MB", megabytes(self.resident)),
        ]
    }
}

/// In megabytes of 1000² bytes.
#[expect(clippy::cast_precision_loss, reason = "megabytes")]
pub(crate) fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

#[expect(clippy::cast_precision_loss, reason = "few")]
fn quantity(number: usize) -> f64 {
    number as f64
}

/// This process, and all that descend from it.
pub(crate) fn family(own: u32) -> Result<Vec<u32>> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // It may have ended.
        if let Ok(parent) = stat_field(pid, 4) {
            parents.push((pid, parent.parse::<u32>()?));
        }
    }
    let mut family = vec![own];
    let mut next = 0;
    while let Some(&parent) = family.get(next) {
        let children = parents.iter().filter(|(_, of)| *of == parent);
        family.extend(children.map(|(pid, _)| *pid));
        next += 1;
    }
    Ok(family)
}

fn count(directory: &Path, text: &str, all: bool, files: &mut usize, disk: &mut u64) -> Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let counts = all || entry.file_name().to_string_lossy().contains(text);
        // Another may have removed it.
        let Ok(about) = entry.metadata() else {
            continue;
        };
        if counts {
            *files += 1;
            *disk += about.blocks() * 512;
        }
        if counts && about.is_dir() {
            count(&entry.path(), text, true, files, disk)?;
        }
    }
    Ok(())
}

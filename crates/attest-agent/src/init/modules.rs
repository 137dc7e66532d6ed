//! Loads the drivers of the devices that are there, of those that the image brings.

use std::collections::HashSet;
use std::fs::{self, File};

use nix::kmod::{ModuleInitFlags, finit_module};

/// A line for each driver: its files in the order of loading, a tab, and patterns of what it is for
/// (devices, and file systems as `fs-NAME`); none for what is always loaded.
const LIST: &str = "/lib/attest/modules";

/// Where buses list the devices that our drivers are for: virtio-mmio's are platform devices.
const BUSES: [&str; 3] = ["platform", "pci", "virtio"];

/// Load what there are devices for, and then what there are devices for behind those.
pub(super) fn load() {
    let list = fs::read_to_string(LIST).unwrap_or_default();
    let mut waiting: Vec<Driver<'_>> = list.lines().filter_map(Driver::parse).collect();
    let mut loaded = HashSet::new();
    loop {
        let devices = devices();
        let (now, later) = waiting
            .into_iter()
            .partition::<Vec<_>, _>(|driver| driver.is_for(&devices));
        if now.is_empty() {
            return;
        }
        for file in now.iter().flat_map(|driver| &driver.files) {
            if loaded.insert(*file) {
                insert(file);
            }
        }
        waiting = later;
    }
}

/// Load the driver of a file system, if the image brings it; else the kernel may have it.
pub(crate) fn load_filesystem(name: &str) {
    let list = fs::read_to_string(LIST).unwrap_or_default();
    let wanted = format!("fs-{name}");
    let drivers = list.lines().filter_map(Driver::parse);
    for driver in drivers.filter(|driver| driver.patterns.contains(&wanted.as_str())) {
        driver.files.iter().for_each(|file| insert(file));
    }
}

struct Driver<'a> {
    files: Vec<&'a str>,
    patterns: Vec<&'a str>,
}

impl<'a> Driver<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (files, patterns) = line.split_once('\t')?;
        Some(Self {
            files: files.split_whitespace().collect(),
            patterns: patterns.split_whitespace().collect(),
        })
    }

    fn is_for(&self, devices: &[String]) -> bool {
        let fits = |pattern: &&str| devices.iter().any(|device| matches(pattern, device));
        self.patterns.is_empty() || self.patterns.iter().any(fits)
    }
}

/// What each device says of itself, for drivers to know it by.
fn devices() -> Vec<String> {
    let lists = BUSES.map(|bus| fs::read_dir(format!("/sys/bus/{bus}/devices")));
    let devices = lists.into_iter().flatten().flatten().flatten();
    devices
        .filter_map(|device| fs::read_to_string(device.path().join("modalias")).ok())
        .collect()
}

fn insert(path: &str) {
    let inserted =
        File::open(path).and_then(|file| Ok(finit_module(file, c"", ModuleInitFlags::empty())?));
    // Two drivers may need the same.
    let there = nix::libc::EEXIST;
    if let Err(error) = inserted
        && error.raw_os_error() != Some(there)
    {
        eprintln!("attest: the module {path} cannot be loaded: {error}");
    }
}

/// Whether a device fits a driver's pattern, in which `*` stands for anything.
fn matches(pattern: &str, device: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = device.trim_end().strip_prefix(first) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_known_by_their_patterns() {
        let yes = [
            ("acpi*:LNRO0005:*", "acpi:LNRO0005:\n"),
            ("virtio:d00000003v*", "virtio:d00000003v554D4551"),
            (
                "pci:v00001AF4d*sv*sd*bc*sc*i*",
                "pci:v00001AF4d00001041sv00001AF4sd00001100bc02sc00i00",
            ),
            ("platform:rtc", "platform:rtc"),
            ("a*a", "aa"),
        ];
        for (pattern, device) in yes {
            assert!(matches(pattern, device), "{pattern} {device}");
        }
        let no = [
            ("virtio:d00000003v*", "virtio:d00000004v554D4551"),
            ("acpi*:LNRO0005:*", "acpi:LNRO0006:"),
            ("platform:rtc", "platform:rtc2"),
            ("a*a", "a"),
        ];
        for (pattern, device) in no {
            assert!(!matches(pattern, device), "{pattern} {device}");
        }
    }

    #[test]
    fn a_module_that_is_no_driver_is_always_loaded() {
        let driver = Driver::parse("/a.ko /b.ko\t").unwrap();
        assert_eq!(driver.files, ["/a.ko", "/b.ko"]);
        assert!(driver.is_for(&[]));
        assert!(!Driver::parse("/a.ko\tvirtio:*").unwrap().is_for(&[]));
    }
}

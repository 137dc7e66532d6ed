//! Where and when results were measured, and with which versions.

use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use serde::Serialize;

use crate::Result;

/// The top of results.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Header {
    /// RFC 3339, UTC.
    pub(crate) date: String,
    pub(crate) processor: String,
    pub(crate) processors: usize,
    pub(crate) memory_mib: u64,
    /// The host's distribution and kernel.
    pub(crate) system: String,
    /// Whether guests ran on KVM, or why not.
    pub(crate) accelerator: String,
    /// Of the guests.
    pub(crate) kernel: String,
    /// Program and version.
    pub(crate) versions: Vec<(String, String)>,
    /// The most runs of each way.
    pub(crate) rounds: usize,
}

impl Header {
    pub(crate) fn of_this_host(kernel: &str, rounds: usize) -> Result<Self> {
        let processors = std::fs::read_to_string("/proc/cpuinfo")?;
        let memory = std::fs::read_to_string("/proc/meminfo")?;
        let kib: u64 = value(&memory, "MemTotal")
            .and_then(|text| text.split(' ').next()?.parse().ok())
            .unwrap_or(0);
        let system = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
        let name = system
            .lines()
            .find_map(|line| line.strip_prefix("PRETTY_NAME="))
            .unwrap_or("Linux");
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
        Ok(Self {
            date: attest::run::timestamp(SystemTime::now()),
            processor: value(&processors, "model name")
                .unwrap_or("unknown")
                .to_owned(),
            processors: std::thread::available_parallelism()?.get(),
            memory_mib: kib >> 10,
            system: format!("{}, Linux {}", name.trim_matches('"'), release.trim()),
            accelerator: accelerator(),
            kernel: kernel.to_owned(),
            versions: versions(),
            rounds,
        })
    }

    /// A driver that was found beside those that this host always has.
    pub(crate) fn add(&mut self, name: &str, version: &str) {
        if !self.versions.iter().any(|(known, _)| known == name) {
            self.versions.push((name.to_owned(), version.to_owned()));
        }
    }
}

fn accelerator() -> String {
    use attest_vmm::probe::{KvmProbe, kvm};
    match kvm() {
        KvmProbe::Usable => "KVM".to_owned(),
        KvmProbe::Doubtful(why) | KvmProbe::Unusable(why) => format!("TCG, for {why}"),
    }
}

fn versions() -> Vec<(String, String)> {
    let mut versions = vec![("attest".to_owned(), env!("CARGO_PKG_VERSION").to_owned())];
    for program in ["qemu-system-x86_64", "systemd-nspawn", "python3"] {
        if let Some(version) = version(Path::new(program)) {
            versions.push((program.to_owned(), version));
        }
    }
    versions
}

/// The first line of what it says with `--version`.
fn version(program: &Path) -> Option<String> {
    let said = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    text.lines().next().map(str::to_owned)
}

/// Which of its generations a NixOS test driver is of, by its options: it tells no version.
pub(crate) fn generation(driver: &Path) -> String {
    let said = Command::new(driver).arg("--help").output();
    let text = said.map(|said| String::from_utf8_lossy(&said.stdout).into_owned());
    match text {
        Ok(text) if text.contains("--config") => "generation C (JSON)".to_owned(),
        Ok(text) if text.contains("--container") => "generation B (containers)".to_owned(),
        Ok(text) if text.contains("--start-scripts") => "generation A (environment)".to_owned(),
        _ => "unknown".to_owned(),
    }
}

/// Of a line `KEY: VALUE`.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.starts_with(key))?;
    line.split_once(':').map(|(_, value)| value.trim())
}

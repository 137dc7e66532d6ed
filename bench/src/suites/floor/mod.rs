//! What nobody can be faster than: a suite by hand. QEMU or systemd-nspawn with the options that attest gives its own, no
//! driver, and in each machine a shell script that says at the console when it begins and how it ended.
//!
//! The script begins when systemd has reached `multi-user.target`: a shell that waits for something before that looks again
//! and again, and takes the boot's time. All machines start at once; what runs is killed when the last script has ended.

pub(super) mod console;
mod network;
mod nspawn;
mod qemu;

use std::path::Path;
use std::time::{Duration, Instant};

use attest::Backend;
use attest::manifest::MachinePlan;
use attest_fixture::{GuestFile, Node};
use nix::unistd::Uid;

use super::suite::Suite;
use super::times::{Part, Times};
use crate::Result;
use console::Said;

/// A suite that is ready to run by hand.
pub(crate) struct Floor<'a> {
    suite: &'a Suite,
    how: How,
}

enum How {
    /// By attest's own command line of the first machine; all have the same.
    Qemu(Vec<String>),
    Nspawn,
}

impl<'a> Floor<'a> {
    /// `None`: nobody starts machines of this backend by hand here; it takes root.
    pub(crate) fn prepare(suite: &'a Suite, backend: Backend) -> Result<Option<Self>> {
        let how = match backend {
            Backend::Qemu if Uid::effective().is_root() => How::Qemu(qemu::attests(suite)?),
            Backend::Nspawn if attest_vmm::nspawn::probe().is_ok() => How::Nspawn,
            _ => return Ok(None),
        };
        Ok(Some(Self { suite, how }))
    }

    /// From nothing to the end of the last machine.
    ///
    /// # Errors
    /// A script failed.
    pub(crate) fn run(&self) -> Result<Times> {
        let began = Instant::now();
        let ran = match &self.how {
            How::Qemu(attests) => qemu::run(self.suite, attests),
            How::Nspawn => nspawn::run(self.suite),
        }?;
        Ok(ran.times(began))
    }
}

/// When what was done. The machines have ended when it is there.
struct Ran {
    /// The networks stand.
    set_up: Instant,
    /// What the machines boot from is there.
    root: Instant,
    said: Said,
}

impl Ran {
    fn times(&self, began: Instant) -> Times {
        let ended = Instant::now();
        let mut before = began;
        let mut part = |part, until: Instant| {
            let took = until.saturating_duration_since(before);
            before = until;
            (part, took)
        };
        let parts: Vec<(Part, Duration)> = vec![
            part(Part::SetUp, self.set_up),
            part(Part::Root, self.root),
            part(Part::Boot, self.said.began),
            part(Part::Test, self.said.ended),
            part(Part::Shutdown, ended),
        ];
        Times::new(ended - began, parts)
    }
}

/// Where the script is in its machine.
pub(super) const SCRIPT: &str = "/floor/script";
/// What runs it.
pub(super) const RUNNER: &str = "/floor/run";
const UNIT: &str = "\
[Unit]
Description=The whole test
DefaultDependencies=no
After=multi-user.target

[Service]
Environment=HOME=/root
ExecStart=/floor/run
";
const WANTED: &str = "[Unit]\nWants=floor.service\n";

/// What a machine does in the suite, as a shell script: after what all of them have in common.
pub(super) fn script(suite: &Suite, machine: &MachinePlan) -> Result<String> {
    let read = |path: &Path| {
        let read = std::fs::read_to_string(path);
        read.map_err(|error| format!("{}: {error}", path.display()))
    };
    let common = read(&suite.directory.with_file_name("floor.sh"))?;
    let own = suite.directory.join(format!("floor/{}.sh", machine.name));
    Ok(format!("{common}\n{}", read(&own)?))
}

/// All machines, each with its script.
fn nodes(suite: &Suite) -> Result<Vec<Node>> {
    let machines = suite.plan.machines.iter();
    machines
        .map(|machine| suite.node(machine, files(suite, machine)?))
        .collect()
}

/// What a machine has beside its own files: the script, what runs it, and what gives its cards their addresses.
fn files(suite: &Suite, machine: &MachinePlan) -> Result<Vec<GuestFile>> {
    let file = |path: &str, mode: u32, text: &str| GuestFile {
        path: path.to_owned(),
        mode,
        contents: text.as_bytes().to_vec(),
    };
    let systemd = "/etc/systemd/system";
    let mut files = vec![
        file(SCRIPT, 0o755, &script(suite, machine)?),
        file(RUNNER, 0o755, &console::runner(SCRIPT, "/dev/console")),
        file(&format!("{systemd}/floor.service"), 0o644, UNIT),
        file(
            &format!("{systemd}/multi-user.target.d/floor.conf"),
            0o644,
            WANTED,
        ),
    ];
    files.extend(attest_fixture::cards());
    Ok(files)
}

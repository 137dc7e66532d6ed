//! Other drivers of virtual machines, as far as they can run a suite: they know single machines, and run a command in each.
//! So they run what the floor runs, [`floor`](super::floor)'s script, in the suite's image on its kernel.

mod virtme;
mod vmtest;

use std::io::{Read as _, Seek as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use attest::manifest::MachinePlan;
use attest_fixture::GuestFile;
use attest_vmm::probe::{KvmProbe, kvm};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::floor::console::{Consoles, Said, runner};
use super::floor::{RUNNER, SCRIPT, script};
use super::suite::Suite;
use super::times::{Part, Times};
use crate::{Result, programs};

pub(crate) const NAMES: [&str; 2] = [virtme::NAME, vmtest::NAME];

/// A suite that is ready to run by such a driver.
pub(crate) trait Peer {
    /// From nothing to the end of the driver on the last machine.
    ///
    /// # Errors
    /// A script failed, or the driver did.
    fn run(&self) -> Result<Times>;

    /// What is not as it is with attest: for whoever reads the results.
    fn notes(&self) -> &'static [&'static str];

    /// As the driver says it.
    fn version(&self) -> &str;
}

/// One by its name; or why it cannot run this suite here.
pub(crate) fn prepare<'a>(
    name: &str,
    suite: &'a Suite,
) -> Result<std::result::Result<Box<dyn Peer + 'a>, String>> {
    if !suite.vlans().is_empty() {
        return Ok(Err(format!("{name} knows no networks between machines")));
    }
    match name {
        virtme::NAME => virtme::prepare(suite),
        _ => vmtest::prepare(suite),
    }
}

/// On `PATH`, and what it says its version is; or that it is not there.
fn found(program: &str) -> std::result::Result<(PathBuf, String), String> {
    let found =
        programs::on_path(program).ok_or_else(|| format!("there is no `{program}` on PATH"))?;
    let said = Command::new(&found).arg("--version").output();
    let said = said.map_err(|error| format!("{}: {error}", found.display()))?;
    let said = String::from_utf8_lossy(&said.stdout).trim().to_owned();
    Ok((found, said))
}

/// Where there is a `/dev/kvm` that runs no guests, both would take it.
fn runs_on_kvm() -> bool {
    matches!(kvm(), KvmProbe::Usable)
}

/// Whether the kernel shares directories with the host that way; those for clouds do not.
fn knows_9p(suite: &Suite) -> bool {
    let modules = suite.kernel.modules.as_ref();
    let list = modules.map(|modules| std::fs::read_to_string(modules.join("modules.dep")));
    list.is_some_and(|list| list.is_ok_and(|list| list.contains("/9p.ko")))
}

/// A machine's own files, and what is run in it.
fn files(suite: &Suite, machine: &MachinePlan) -> Result<Vec<GuestFile>> {
    let mut files = suite.files(machine)?;
    files.push(file(SCRIPT, 0o755, &script(suite, machine)?));
    files.push(file(RUNNER, 0o755, &runner(SCRIPT, "&1")));
    Ok(files)
}

fn file(path: &str, mode: u32, text: &str) -> GuestFile {
    GuestFile {
        path: path.to_owned(),
        mode,
        contents: text.as_bytes().to_vec(),
    }
}

/// The driver on some machines. What it started ends with this.
struct Running {
    consoles: Consoles,
    drivers: Vec<Driver>,
}

struct Driver {
    machine: String,
    process: Child,
    /// What it said beside the script.
    log: std::fs::File,
}

impl Running {
    fn new() -> Self {
        Self {
            consoles: Consoles::new(),
            drivers: Vec::new(),
        }
    }

    /// Start it for one more; it writes to stdout what the command in its machine does.
    fn start(&mut self, machine: &str, mut command: Command) -> Result<()> {
        let log = tempfile::tempfile()?;
        let mut process = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.try_clone()?)
            .process_group(0)
            .spawn()?;
        let stdout = process.stdout.take().ok_or("no stdout")?;
        self.consoles.add(machine, stdout);
        self.drivers.push(Driver {
            machine: machine.to_owned(),
            process,
            log,
        });
        Ok(())
    }

    /// Wait for all scripts, and then for the driver.
    fn wait(mut self) -> Result<Said> {
        let said = match self.consoles.wait() {
            Ok(said) => said,
            Err(error) => {
                let logs: Vec<String> = self.drivers.iter_mut().map(Driver::log).collect();
                return Err(format!("{error}\n{}", logs.join("\n")).into());
            }
        };
        for driver in &mut self.drivers {
            let status = driver.process.wait()?;
            if !status.success() {
                let (machine, log) = (driver.machine.clone(), driver.log());
                return Err(format!("the driver of {machine} ended with {status}:\n{log}").into());
            }
        }
        Ok(said)
    }
}

impl Driver {
    /// The end of it.
    fn log(&mut self) -> String {
        const LINES: usize = 20;
        let mut text = Vec::new();
        let read = self.log.rewind();
        let _ = read.and_then(|()| self.log.read_to_end(&mut text));
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // They start their VMM as a child, which is in their group; where all is well, it has ended.
        if let Ok(group) = i32::try_from(self.process.id())
            && matches!(self.process.try_wait(), Ok(None))
        {
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
        let _ = self.process.wait();
    }
}

/// The driver's start counts to the boot: from outside, there is no sign between them.
fn times(began: Instant, root: Instant, said: &Said) -> Times {
    let ended = Instant::now();
    let parts = vec![
        (Part::Root, root - began),
        (Part::Boot, said.began - root),
        (Part::Test, said.ended - said.began),
        (Part::Shutdown, ended - said.ended),
    ];
    Times::new(ended - began, parts)
}

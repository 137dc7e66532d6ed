//! QEMU alone, going on from a state: the floor of every restore.
//!
//! The same QEMU with the same options loads the same devices over the same file of memory. Nothing
//! else of attest takes part: no lab, no agent, no set-up of the guest.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use serde_json::{Value, json};

use crate::Result;

/// A machine as it is kept, and how QEMU is started for it.
#[derive(Debug)]
pub(crate) struct Bare {
    /// As attest starts it.
    pub(crate) command: Vec<String>,
    pub(crate) memory: PathBuf,
    pub(crate) devices: PathBuf,
}

/// Start QEMU for each of these at once, each with these TAPs; how long it takes until the guests of
/// all run.
pub(crate) fn go_on(machines: &[Bare], taps: &[Vec<OwnedFd>]) -> Result<Duration> {
    // QEMU is to inherit them.
    for tap in taps.iter().flatten() {
        fcntl(tap, FcntlArg::F_SETFD(FdFlag::empty()))?;
    }
    let began = Instant::now();
    let qemus = machines.iter().zip(taps);
    let mut qemus = qemus
        .map(|(machine, taps)| Qemu::start(machine, taps))
        .collect::<Result<Vec<_>>>()?;
    // All load, and then all run: as a lab does.
    at_once(&mut qemus, Qemu::load)?;
    at_once(&mut qemus, Qemu::run)?;
    Ok(began.elapsed())
}

fn at_once(qemus: &mut [Qemu], does: fn(&mut Qemu) -> Result<()>) -> Result<()> {
    std::thread::scope(|scope| {
        let doing: Vec<_> = qemus
            .iter_mut()
            .map(|qemu| scope.spawn(move || does(qemu)))
            .collect();
        for one in doing {
            one.join().map_err(|_| "a thread panicked")??;
        }
        Ok(())
    })
}

/// One that waits for a state, or runs; it ends with this.
struct Qemu {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    devices: File,
}

impl Qemu {
    fn start(machine: &Bare, taps: &[OwnedFd]) -> Result<Self> {
        let (program, arguments) = machine.command.split_first().ok_or("no command line")?;
        let arguments = rewritten(arguments, &machine.memory, taps);
        let devices = File::open(&machine.devices)?;
        fcntl(&devices, FcntlArg::F_SETFD(FdFlag::empty()))?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let to = child.stdin.take().ok_or("no stdin")?;
        let from = BufReader::new(child.stdout.take().ok_or("no stdout")?);
        Ok(Self {
            child,
            to,
            from,
            devices,
        })
    }

    fn load(&mut self) -> Result<()> {
        self.until(|said| said.get("QMP").is_some())?;
        self.command("qmp_capabilities", &json!({}))?;
        let capabilities = json!({ "capabilities": [
            { "capability": "events", "state": true },
            { "capability": "x-ignore-shared", "state": true },
        ] });
        self.command("migrate-set-capabilities", &capabilities)?;
        let place = json!({ "uri": format!("fd:{}", self.devices.as_raw_fd()) });
        self.send("migrate-incoming", &place)?;
        self.until(|said| said["event"] == "MIGRATION" && said["data"]["status"] == "completed")
    }

    fn run(&mut self) -> Result<()> {
        self.command("cont", &json!({}))
    }

    fn command(&mut self, name: &str, arguments: &Value) -> Result<()> {
        self.send(name, arguments)?;
        self.until(|said| said.get("return").is_some())
    }

    fn send(&mut self, name: &str, arguments: &Value) -> Result<()> {
        let command = json!({ "execute": name, "arguments": arguments });
        Ok(writeln!(self.to, "{command}")?)
    }

    fn until(&mut self, is_it: impl Fn(&Value) -> bool) -> Result<()> {
        let mut line = String::new();
        loop {
            line.clear();
            if self.from.read_line(&mut line)? == 0 {
                return Err("QEMU ended before it went on".into());
            }
            let said: Value = serde_json::from_str(&line)?;
            if said.get("error").is_some() || said["data"]["status"] == "failed" {
                return Err(format!("QEMU said {said}").into());
            }
            if is_it(&said) {
                return Ok(());
            }
        }
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// attest's arguments, with its sockets, memory and TAPs replaced.
fn rewritten(arguments: &[String], memory: &Path, taps: &[OwnedFd]) -> Vec<String> {
    let mut taps = taps.iter();
    let rewrite = |argument: &String| {
        let mut parts: Vec<String> = argument.split(',').map(str::to_owned).collect();
        if argument.starts_with("socket,id=qmp,") {
            parts = vec!["stdio,id=qmp".to_owned()];
        } else if parts[0] == "socket" {
            "null".clone_into(&mut parts[0]);
            parts.truncate(2);
        } else if parts[0] == "tap" {
            let tap = taps.next().map_or(-1, AsRawFd::as_raw_fd);
            for part in parts.iter_mut().filter(|part| part.starts_with("fd=")) {
                *part = format!("fd={tap}");
            }
        } else if parts[0] == "memory-backend-file" {
            for part in parts
                .iter_mut()
                .filter(|part| part.starts_with("mem-path="))
            {
                *part = format!("mem-path={}", memory.display());
            }
        }
        parts.join(",")
    };
    arguments.iter().map(rewrite).collect()
}

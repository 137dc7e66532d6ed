//! A run of `attest` that is watched from outside while it runs: what it says, and what its processes
//! have used up to then.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use attest::events::{Event, EventKind};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

use crate::Result;
use crate::host::family;
use crate::runs::Ran;

/// A run that has said nothing for so long does nothing.
const QUIET: Duration = Duration::from_millis(250);
/// What attest's processes call themselves.
const LAB: &str = "attest-lab";
const AGENT: &str = "@attest-agent";

/// It runs.
pub(crate) struct Watched {
    child: Child,
    began: Instant,
    said: fs::File,
    coming: Receiver<Event>,
    events: Vec<Event>,
}

/// What processes have used and have, when all is quiet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing {
    /// Processor time of the driver since its start.
    pub(crate) driver_cpu: Duration,
    /// Of the lab's own processes.
    pub(crate) lab_cpu: Duration,
    /// Bytes of memory that are theirs.
    pub(crate) driver: u64,
    pub(crate) lab: u64,
    /// Of agents and of what they started, in containers.
    pub(crate) agents: u64,
}

/// It passed.
pub(crate) struct Ended {
    pub(crate) ran: Ran,
    /// Processor time of the driver, from its start to its end.
    pub(crate) driver_cpu: Duration,
    /// The most bytes that the driver had resident, its program among them.
    pub(crate) peak: u64,
}

impl Watched {
    /// Of a command that writes events to stdout.
    pub(crate) fn start(mut command: Command) -> Result<Self> {
        let said = tempfile::tempfile()?;
        let began = Instant::now();
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(said.try_clone()?)
            .spawn()?;
        let stdout = BufReader::new(child.stdout.take().ok_or("no stdout")?);
        let (sender, coming) = channel();
        // Ends with the run, whose stdout it reads.
        std::thread::spawn(move || {
            let lines = stdout.lines().map_while(std::result::Result::ok);
            let events = lines.map_while(|line| serde_json::from_str(&line).ok());
            for event in events {
                if sender.send(event).is_err() {
                    // Whoever wanted to know has gone, and with it the run.
                    break;
                }
            }
        });
        Ok(Self {
            child,
            began,
            said,
            coming,
            events: Vec::new(),
        })
    }

    /// Wait until this step begins, and tell how long after the run.
    pub(crate) fn step(&mut self, number: u32) -> Result<Duration> {
        let is_it = |kind: &EventKind| matches!(kind, EventKind::StepStarted { step, .. } if *step == number);
        while let Ok(event) = self.coming.recv() {
            let (at, is_it) = (event.at_ns, is_it(&event.kind));
            self.events.push(event);
            if is_it {
                return Ok(Duration::from_nanos(at));
            }
        }
        let ended = self.end()?;
        Err(format!(
            "the run ended after {:?} without step {number}",
            ended.ran.took
        )
        .into())
    }

    /// When nothing has happened for a while in a step that does nothing.
    pub(crate) fn standing(&mut self) -> Result<Standing> {
        loop {
            match self.coming.recv_timeout(QUIET) {
                Ok(event) => {
                    let is_over = matches!(event.kind, EventKind::StepStarted { .. });
                    self.events.push(event);
                    if is_over {
                        return Err("the run was at no time quiet while it paused".into());
                    }
                }
                Err(RecvTimeoutError::Timeout) => return Standing::of(self.child.id()),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err("the run ended while it paused".into());
                }
            }
        }
    }

    /// Wait for its end.
    ///
    /// # Errors
    /// It did not pass.
    pub(crate) fn end(&mut self) -> Result<Ended> {
        let is_last = |event: &Event| matches!(event.kind, EventKind::RunEnded { .. });
        while let Ok(event) = self.coming.recv() {
            self.events.push(event);
            if self.events.last().is_some_and(is_last) {
                break;
            }
        }
        let pid = self.child.id();
        // What it writes last it may need the most memory for: looked at until it is gone.
        let mut peak = 0;
        while let Some(now) = resident_peak(pid) {
            peak = now;
        }
        self.events.extend(self.coming.iter());
        // The clock of a process is there until somebody has waited for it.
        let id = Id::Pid(Pid::from_raw(pid.try_into()?));
        waitid(id, WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)?;
        let driver_cpu = cpu(pid)?;
        let took = self.began.elapsed();
        let status = self.child.wait()?;
        let mut said = Vec::new();
        self.said.rewind()?;
        self.said.read_to_end(&mut said)?;
        let events = std::mem::take(&mut self.events);
        Ok(Ended {
            ran: Ran { took, events }.passed(status, &said)?,
            driver_cpu,
            peak,
        })
    }
}

impl Drop for Watched {
    /// Where it was given up. It removes what it made when it is interrupted.
    fn drop(&mut self) {
        if let (Ok(None), Ok(pid)) = (self.child.try_wait(), i32::try_from(self.child.id())) {
            // It may have ended meanwhile.
            let _ = nix::sys::signal::kill(Pid::from_raw(pid), nix::sys::signal::Signal::SIGINT);
            let _ = self.child.wait();
        }
    }
}

impl Standing {
    fn of(driver: u32) -> Result<Self> {
        let (mut labs, mut agents) = (Vec::new(), Vec::new());
        for pid in family(driver)? {
            // Other processes of machines come and go.
            let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let program = command.split(|byte| *byte == 0).next().unwrap_or_default();
            if program == LAB.as_bytes() {
                labs.push(pid);
            } else if program == AGENT.as_bytes() {
                agents.extend(family(pid)?);
            }
        }
        let mut standing = Self {
            driver_cpu: cpu(driver)?,
            lab_cpu: Duration::ZERO,
            driver: own_memory(driver)?,
            lab: 0,
            agents: 0,
        };
        for pid in labs {
            standing.lab_cpu += cpu(pid)?;
            standing.lab += own_memory(pid)?;
        }
        for pid in agents {
            // What they started may end.
            standing.agents += own_memory(pid).unwrap_or_default();
        }
        Ok(standing)
    }
}

/// User and system time of all its threads, also of those that ended; without its children.
fn cpu(pid: u32) -> Result<Duration> {
    attest::cpu_of_process(pid).ok_or_else(|| format!("process {pid} has gone").into())
}

/// Its share of memory that no file of a disk has: heap, stacks, files in memory. A program's own file
/// is mapped once, however many machines there are, and shared with every other run of it.
fn own_memory(pid: u32) -> Result<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let kilobytes = |name| field(&rollup, name).ok_or_else(|| format!("no {name} in smaps_rollup"));
    Ok((kilobytes("Pss_Anon:")? + kilobytes("Pss_Shmem:")?) << 10)
}

/// In bytes. None when it has ended.
fn resident_peak(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    field(&status, "VmHWM:").map(|kilobytes| kilobytes << 10)
}

fn field(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

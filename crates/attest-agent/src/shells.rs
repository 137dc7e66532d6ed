//! Shells started ahead: starting bash is most of what a small command costs, so a few wait for
//! theirs.
//!
//! Each serves exactly one command, so nothing of one reaches another. It waits in `read`, with
//! the command's pipes already in place, takes the text that `bash -c` would have been given into
//! the very variable where `bash -c` keeps it, and evaluates that. What is left to observe is in
//! `tests/agent.rs`: the process's own command line (as `ps` shows it), `eval:` in the message of
//! a syntax error, and that `bash -c` becomes its last program where this one starts a child.
//!
//! The first are started after the first command that took a shell, or before the machine is saved,
//! for those that go on from there. Before that they would stand in the way of the system's boot.

use std::cell::{Cell, RefCell};
use std::os::fd::{AsRawFd as _, RawFd};
use std::rc::Rc;
use std::time::Duration;

use attest_protocol::message::{Exec, Failure, Program, RawBytes};
use tokio::sync::watch;
use tokio::task::spawn_local;

use crate::exec::Running;
use crate::failure::os;
use crate::pipes;
use crate::session::Agent;
use crate::spawn::{self, STRICT};

/// How many wait. Two: the next command's is ready while the one after it is started.
const AHEAD: usize = 2;
/// Longest time for them to come to wait before a machine is saved: an emulated guest needs a tenth of it. Those that
/// do not are saved as they are.
const STARTING: Duration = Duration::from_secs(2);
/// Longest command for them: bash reads it byte by byte from a pipe.
const LONGEST: usize = 4096;
/// Stdin carries the command, and is what a command without stdin has, afterwards. `SECONDS` and
/// `$_` are what they are in a shell that has just begun.
const WAITING: &str = r#"IFS= read -r -d "" BASH_EXECUTION_STRING || exit 125; exec </dev/null; SECONDS=0; : "$BASH"; eval "$BASH_EXECUTION_STRING""#;

/// The shells that wait.
#[derive(Default)]
pub(crate) struct Shells {
    waiting: RefCell<Vec<Running>>,
    refilling: Cell<bool>,
    /// Whether a command has taken a shell: more like it are to be expected.
    are_used: Cell<bool>,
    /// How many of them have not come that far.
    starting: watch::Sender<usize>,
}

impl std::fmt::Debug for Shells {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shells")
            .field("waiting", &self.waiting.borrow().len())
            .finish_non_exhaustive()
    }
}

impl Shells {
    /// How many are there for commands to come, also those that do not wait yet.
    pub(crate) fn started(&self) -> u64 {
        self.waiting.borrow().len() as u64
    }

    /// How many wait now.
    pub(crate) fn count(&self) -> u64 {
        self.started()
            .saturating_sub(*self.starting.borrow() as u64)
    }

    /// Forget them: they were started with another environment.
    pub(crate) fn invalidate(&self) {
        self.waiting.borrow_mut().clear();
    }

    /// A waiting shell that has been given this command, if one can take it unobserved.
    pub(crate) fn take(agent: &Rc<Agent>, exec: &Exec) -> Option<Running> {
        if let Program::Shell(_) = exec.program {
            agent.shells.are_used.set(true);
        }
        let command = fitting(exec)?;
        loop {
            let mut running = agent.shells.waiting.borrow_mut().pop()?;
            let stdin = running.take_stdin()?;
            let mut text = STRICT.as_bytes().to_vec();
            text.extend_from_slice(command);
            text.push(0);
            // A pipe takes this much at once, so nothing needs to be awaited.
            if running.is_alive() && stdin.write_now(&text) {
                return Some(running);
            }
        }
    }

    /// Start what is missing, in a moment: first comes what the command's end brings.
    pub(crate) fn refill_soon(agent: &Rc<Agent>) {
        if !agent.shells.are_used.get() || agent.shells.refilling.replace(true) {
            return;
        }
        let agent = Rc::clone(agent);
        spawn_local(async move {
            tokio::task::yield_now().await;
            agent.shells.refilling.set(false);
            Self::refill(&agent).await;
        });
    }

    /// Have all of them wait, for whoever goes on from here.
    pub(crate) async fn ready(agent: &Rc<Agent>) {
        Self::refill(agent).await;
        let mut starting = agent.shells.starting.subscribe();
        let all = starting.wait_for(|starting| *starting == 0);
        // Those that take longer are at hand as well, only later.
        let _ = tokio::time::timeout(STARTING, all).await;
    }

    async fn refill(agent: &Rc<Agent>) {
        if !spawn::shell(agent).ends_with("bash") {
            return;
        }
        while agent.shells.waiting.borrow().len() < AHEAD {
            let Ok(running) = Self::start(agent) else {
                return;
            };
            agent.shells.waiting.borrow_mut().insert(0, running);
            tokio::task::yield_now().await;
        }
    }

    fn start(agent: &Rc<Agent>) -> Result<Running, Failure> {
        let failed = |error: std::io::Error| os("a shell cannot be started ahead", &error);
        let (closed, end) = pipes::inherited().map_err(failed)?;
        let spawned = spawn::spawn(agent, &waiting_shell(agent, end.as_raw_fd()))?;
        drop(end);
        let running = Running::adopt(agent, spawned);
        agent.shells.starting.send_modify(|starting| *starting += 1);
        let agent = Rc::clone(agent);
        spawn_local(async move {
            // Also when it ends.
            let _ = closed.read().await;
            agent.shells.starting.send_modify(|starting| *starting -= 1);
        });
        Ok(running)
    }
}

/// The command's text, when nothing about it needs a shell of its own.
fn fitting(exec: &Exec) -> Option<&[u8]> {
    let Program::Shell(command) = &exec.program else {
        return None;
    };
    let plain = exec.environment.is_empty()
        && exec.directory.is_none()
        && exec.user.is_none()
        && exec.pty.is_none()
        && !exec.stdin
        && command.len() <= LONGEST
        && !command.contains(&0)
        && !traces(command);
    plain.then_some(command.as_slice())
}

/// Whether it may switch tracing on, which shows how deep `eval` is: `++` in place of `+`.
fn traces(command: &[u8]) -> bool {
    let has = |part: &[u8]| command.windows(part.len()).any(|window| window == part);
    has(b"xtrace")
        || command.windows(2).enumerate().any(|(at, pair)| {
            let options = command[at + 1..]
                .iter()
                .take_while(|byte| byte.is_ascii_alphabetic());
            matches!(pair, [b'-', _])
                && options.into_iter().any(|byte| *byte == b'x')
                && has(b"set ")
        })
}

/// What it closes says that it is about to wait.
fn waiting_shell(agent: &Agent, closes: RawFd) -> Exec {
    let text = format!("exec {closes}>&-; {WAITING}");
    let argv = [spawn::shell(agent), "-c", &text];
    Exec {
        program: Program::Argv(
            argv.iter()
                .map(|word| RawBytes::from(word.as_bytes().to_vec()))
                .collect(),
        ),
        environment: Vec::new(),
        directory: None,
        user: None,
        stdin: true,
        pty: None,
        timeout_ms: None,
    }
}

//! Waits as values: for ports, files, sockets, commands, processes, console texts and units.

use std::future::IntoFuture;
use std::time::{Duration, Instant};

use attest_protocol::message::{Condition, Request, Response};
use attest_vmm::BoxFuture;

use crate::command::{Command, milliseconds};
use crate::error::{Error, Result};
use crate::machine::Machine;
use crate::pattern;
use crate::systemd::UnitCondition;

/// What the agent may take beyond a wait's own deadline, before the host gives up on it.
const AGENT_GRACE: Duration = Duration::from_secs(15);

/// A wait for something in a machine. It returns when the thing happens, not at the next poll.
///
/// ```no_run
/// # use std::time::Duration;
/// # async fn f(machine: attest::Machine) -> attest::Result<()> {
/// machine.wait_for_port(80).timeout(Duration::from_secs(5)).await?;
/// # Ok(()) }
/// ```
///
/// Errors: [`Error::TimedOut`] says what was last seen. Dropping the future ends the wait.
#[must_use = "a wait does nothing until it is awaited or run"]
#[derive(Debug)]
pub struct Wait {
    machine: Machine,
    target: Target,
    timeout: Duration,
}

#[derive(Debug)]
enum Target {
    Guest(Condition),
    Console(String),
    Unit(UnitCondition),
}

/// A wait that ended well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Met {
    /// How long it took, as the host saw it.
    pub elapsed: Duration,
    /// The last try, when a command was waited for; the end of its output.
    pub output: Option<Vec<u8>>,
    /// The match, when a console text was waited for.
    pub matched: Option<String>,
}

impl Wait {
    pub(crate) fn guest(machine: &Machine, condition: Condition) -> Self {
        Self {
            machine: machine.clone(),
            target: Target::Guest(condition),
            timeout: machine.timeouts().command,
        }
    }

    pub(crate) fn console(machine: &Machine, pattern: String) -> Self {
        Self {
            machine: machine.clone(),
            target: Target::Console(pattern),
            timeout: machine.timeouts().command,
        }
    }

    pub(crate) fn unit(machine: &Machine, condition: UnitCondition, timeout: Duration) -> Self {
        Self {
            machine: machine.clone(),
            target: Target::Unit(condition),
            timeout,
        }
    }

    pub(crate) fn command(machine: &Machine, command: Command, succeeds: bool) -> Self {
        let exec = command.into_exec();
        let condition = if succeeds {
            Condition::CommandSucceeds(exec)
        } else {
            Condition::CommandFails(exec)
        };
        Self::guest(machine, condition)
    }

    /// For a port: at this host instead of `localhost`, as seen from the machine.
    pub fn host(mut self, name: impl Into<String>) -> Self {
        if let Target::Guest(Condition::PortOpen(host, _) | Condition::PortClosed(host, _)) =
            &mut self.target
        {
            *host = name.into();
        }
        self
    }

    /// For a unit: keep waiting when it is inactive and nothing is queued that could start it.
    /// It is for a unit that a timer, a socket, a device or the test itself will start.
    pub fn patient(mut self) -> Self {
        if let Target::Unit(condition) = &mut self.target {
            condition.set_patient();
        }
        self
    }

    /// Give up after this long. Default: the lab's wait time-out.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    async fn wait(self) -> Result<Met> {
        let subject = self.subject();
        let machine = self.machine.clone();
        machine.operation("wait", &subject, |_| self.until()).await
    }

    async fn until(self) -> Result<Met> {
        let began = Instant::now();
        match &self.target {
            Target::Guest(condition) => self.in_guest(condition.clone(), began).await,
            Target::Console(pattern) => self.on_console(pattern, began).await,
            Target::Unit(condition) => match condition.wait(self.timeout).await? {
                None => Ok(Met {
                    elapsed: began.elapsed(),
                    output: None,
                    matched: None,
                }),
                Some(seen) => Err(self.timed_out(seen)),
            },
        }
    }

    async fn in_guest(&self, condition: Condition, began: Instant) -> Result<Met> {
        let session = self.machine.session();
        let wait = attest_protocol::message::Wait {
            condition,
            timeout_ms: milliseconds(self.timeout),
        };
        let request = Request::Wait(wait);
        let call = session.call(&request);
        match tokio::time::timeout(self.timeout.saturating_add(AGENT_GRACE), call).await {
            Ok(Ok(Response::Met(seen))) => Ok(Met {
                elapsed: began.elapsed(),
                output: seen.map(|seen| seen.stdout.to_vec()),
                matched: None,
            }),
            Ok(Ok(_)) => Err(session.unexpected("wait")),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(self.timed_out("the agent did not answer".to_owned())),
        }
    }

    async fn on_console(&self, pattern: &str, began: Instant) -> Result<Met> {
        let regex = pattern::compile(pattern).map_err(|error| {
            Error::Assertion(format!("/{pattern}/ is no regular expression: {error}"))
        })?;
        let console = self.machine.console();
        tokio::select! {
            found = tokio::time::timeout(self.timeout, console.wait_for(&regex)) => match found {
                Ok(found) => Ok(Met {
                    elapsed: began.elapsed(),
                    output: None,
                    matched: Some(String::from_utf8_lossy(&found).into_owned()),
                }),
                Err(_) => Err(self.timed_out(console.last_line())),
            },
            ended = self.machine.ended() => Err(ended),
        }
    }

    fn timed_out(&self, last_seen: String) -> Error {
        Error::TimedOut {
            machine: self.machine.name().to_owned(),
            subject: format!("{} did not come within {:?}", self.subject(), self.timeout),
            last_seen: Some(last_seen),
        }
    }

    fn subject(&self) -> String {
        let path = |path: &attest_protocol::message::RawBytes| {
            crate::command::from_raw(path)
                .to_string_lossy()
                .into_owned()
        };
        match &self.target {
            Target::Console(pattern) => format!("console text /{pattern}/"),
            Target::Unit(condition) => condition.subject(),
            Target::Guest(condition) => match condition {
                Condition::PortOpen(host, port) => format!("port {host}:{port} open"),
                Condition::PortClosed(host, port) => format!("port {host}:{port} closed"),
                Condition::FileExists(file) => format!("file {}", path(file)),
                Condition::FileVanished(file) => format!("file {} gone", path(file)),
                Condition::FileMatches(file, regex) => {
                    format!("file {} with /{regex}/", path(file))
                }
                Condition::UnixSocket(file) => format!("socket {}", path(file)),
                Condition::CommandSucceeds(exec) => {
                    format!("`{}` succeeds", exec.program.text())
                }
                Condition::CommandFails(exec) => format!("`{}` fails", exec.program.text()),
                Condition::ProcessExists(regex) => format!("process /{regex}/"),
                Condition::ProcessVanished(regex) => format!("process /{regex}/ gone"),
            },
        }
    }
}

impl IntoFuture for Wait {
    type Output = Result<Met>;
    type IntoFuture = BoxFuture<'static, Result<Met>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.wait())
    }
}

impl Met {
    /// The output of the command that was waited for, as text.
    pub fn text(&self) -> String {
        self.output
            .as_deref()
            .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
            .unwrap_or_default()
    }
}

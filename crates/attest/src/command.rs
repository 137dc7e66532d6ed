//! Commands as values: built, then awaited for their output or spawned to be talked with.

use std::ffi::{OsStr, OsString};
use std::future::IntoFuture;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::Duration;

use attest_events::{EventKind, OutputStream};
use attest_protocol::link::{Channel, Incoming, Sender, Stream};
use attest_protocol::message::{
    Control, Exec, ExitStatus, Exited, Notice, Program, RawBytes, Request, Response, TerminalSize,
};
use attest_vmm::BoxFuture;
use bytes::Bytes;

use crate::error::{CommandFailure, Error, Result, status_text};
use crate::machine::Machine;

/// Bytes of stdout, and of stderr, that [`Command`] keeps by default.
pub const DEFAULT_OUTPUT_LIMIT: usize = 64 * 1024 * 1024;
/// Bytes of each output that a failure shows.
const SHOWN: usize = 8 * 1024;
/// A longer line for a shell is not a part of its request, bytes: a message has 64 KiB, and Linux takes
/// 128 KiB in one argument (`MAX_ARG_STRLEN`).
const LONGEST_LINE: usize = 32 * 1024;
/// Reads the line for a shell from stdin, which is as empty as ever after it.
const READ_PROGRAM: &str = "exec 3<&0 </dev/null; eval \"$(cat <&3; exec 3<&-)\" 3<&-";
/// What the agent may take beyond a command's own time-out, before the host gives up on it.
const AGENT_GRACE: Duration = Duration::from_secs(15);

/// A program to run in a machine. Awaiting it (or [`run`](crate::Run::run)) gives its
/// [`Output`], and an error unless it ends as expected: by default, with exit code 0.
///
/// ```no_run
/// # async fn f(machine: attest::Machine) -> attest::Result<()> {
/// let text = machine.shell("uname -r").await?.text();
/// let output = machine.exec(["grep", "-q", "root", "/etc/passwd"]).ignore_status().await?;
/// # Ok(()) }
/// ```
///
/// Dropping the future ends the command: its process group is killed.
#[must_use = "a command does nothing until it is awaited, run or spawned"]
#[derive(Debug, Clone)]
pub struct Command {
    machine: Machine,
    exec: Exec,
    subject: String,
    stdin: Option<Bytes>,
    expected: Expected,
    output_limit: usize,
    errors_on_console: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Code(i32),
    Failure,
    Anything,
}

impl Expected {
    fn holds(self, status: ExitStatus) -> bool {
        match self {
            Self::Code(code) => status == ExitStatus::Code(code),
            Self::Failure => status != ExitStatus::Code(0),
            Self::Anything => true,
        }
    }

    fn text(self) -> String {
        match self {
            Self::Code(code) => format!("exit code {code}"),
            Self::Failure => "a failure".to_owned(),
            Self::Anything => "any status".to_owned(),
        }
    }
}

impl Command {
    pub(crate) fn shell(machine: &Machine, command: impl AsRef<OsStr>) -> Self {
        let command = command.as_ref();
        Self::new(
            machine,
            Program::Shell(raw(command)),
            command.to_string_lossy().into_owned(),
        )
    }

    pub(crate) fn argv<I>(machine: &Machine, argv: I) -> Self
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        let argv: Vec<OsString> = argv
            .into_iter()
            .map(|word| word.as_ref().to_owned())
            .collect();
        let subject = argv
            .iter()
            .map(|word| word.to_string_lossy())
            .collect::<Vec<_>>()
            .join(" ");
        Self::new(
            machine,
            Program::Argv(argv.iter().map(|word| raw(word)).collect()),
            subject,
        )
    }

    fn new(machine: &Machine, program: Program, subject: String) -> Self {
        let exec = Exec {
            program,
            environment: Vec::new(),
            directory: None,
            user: None,
            stdin: false,
            pty: None,
            timeout_ms: Some(milliseconds(machine.timeouts().command)),
        };
        Self {
            machine: machine.clone(),
            exec,
            subject,
            stdin: None,
            expected: Expected::Code(0),
            output_limit: DEFAULT_OUTPUT_LIMIT,
            errors_on_console: false,
        }
    }

    /// Add a variable to the environment.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.exec
            .environment
            .push((raw(name.as_ref()), raw(value.as_ref())));
        self
    }

    /// Run in this directory. Default: `/root`, or the user's home.
    pub fn directory(mut self, path: impl AsRef<OsStr>) -> Self {
        self.exec.directory = Some(raw(path.as_ref()));
        self
    }

    /// Run as this user of the guest. Default: root.
    pub fn user(mut self, name: impl Into<String>) -> Self {
        self.exec.user = Some(name.into());
        self
    }

    /// Feed these bytes to stdin. Default: `/dev/null`.
    pub fn stdin(mut self, bytes: impl Into<Bytes>) -> Self {
        self.stdin = Some(bytes.into());
        self.exec.stdin = true;
        self
    }

    /// End it after this long: SIGTERM to its process group, SIGKILL a second later. Default:
    /// the lab's command time-out.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.exec.timeout_ms = Some(milliseconds(timeout));
        self
    }

    /// Let it take as long as it takes.
    pub fn without_timeout(mut self) -> Self {
        self.exec.timeout_ms = None;
        self
    }

    /// Run on a pseudo-terminal; all output is stdout then.
    pub fn terminal(mut self, size: TerminalSize) -> Self {
        self.exec.pty = Some(size);
        self.exec.stdin = true;
        self
    }

    /// Keep at most this many bytes of stdout, and of stderr; more is
    /// [`Error::OutputTooLarge`]. Default: 64 MiB.
    pub fn output_limit(mut self, bytes: usize) -> Self {
        self.output_limit = bytes;
        self
    }

    /// What it prints to stderr is printed by the console, too: waits for the console's text see
    /// it, and its lines are events. So it is where stderr leads to the console by itself.
    pub fn errors_on_console(mut self) -> Self {
        self.errors_on_console = true;
        self
    }

    /// Any exit status is well.
    pub fn ignore_status(mut self) -> Self {
        self.expected = Expected::Anything;
        self
    }

    /// Only this exit code is well.
    pub fn expect_code(mut self, code: i32) -> Self {
        self.expected = Expected::Code(code);
        self
    }

    /// Only a failure is well: any exit status but 0.
    pub fn expect_failure(mut self) -> Self {
        self.expected = Expected::Failure;
        self
    }

    /// The command as the agent takes it, for waits.
    pub(crate) fn into_exec(self) -> Exec {
        self.exec
    }

    /// Start it, to talk with it while it runs.
    pub async fn spawn(mut self) -> Result<Child> {
        self.exec.stdin = true;
        let channel = self
            .machine
            .session()
            .open(&Request::Exec(self.exec.clone()))
            .await?;
        Ok(Child {
            machine: self.machine,
            subject: self.subject,
            timeout: Duration::from_millis(self.exec.timeout_ms.unwrap_or(u64::MAX)),
            channel,
        })
    }

    /// A program that is too long for a message is what its shell reads first.
    fn fitted(mut self) -> Self {
        let Program::Shell(line) = &self.exec.program else {
            return self;
        };
        if line.len() > LONGEST_LINE && self.stdin.is_none() && self.exec.pty.is_none() {
            self.stdin = Some(Bytes::from(line.to_vec()));
            self.exec.stdin = true;
            self.exec.program = Program::Shell(raw(OsStr::new(READ_PROGRAM)));
        }
        self
    }

    async fn output(self) -> Result<Output> {
        let this = self.fitted();
        let machine = this.machine.clone();
        let subject = this.subject.clone();
        machine
            .operation("exec", &subject, |id| this.collect(id))
            .await
    }

    async fn collect(self, id: u64) -> Result<Output> {
        let session = self.machine.session();
        let mut channel = session.open(&Request::Exec(self.exec.clone())).await?;
        let feeding = feed(channel.sender.clone(), self.stdin.clone());
        let collecting = async {
            let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
            loop {
                match session.next(&mut channel).await? {
                    Incoming::Data(stream, bytes) => {
                        if stream == Stream::Err && self.errors_on_console {
                            self.machine
                                .console()
                                .print(&bytes, &self.machine.inner.recorder);
                        }
                        let kept = if stream == Stream::Err {
                            &mut stderr
                        } else {
                            &mut stdout
                        };
                        if kept.len() + bytes.len() > self.output_limit {
                            return Err(self.too_large());
                        }
                        kept.extend_from_slice(&bytes);
                    }
                    Incoming::Finished(Ok(Response::Exited(exited))) => {
                        return Ok((exited, stdout, stderr));
                    }
                    Incoming::Finished(Ok(_)) => return Err(session.unexpected("exec")),
                    Incoming::Finished(Err(failure)) => {
                        return Err(session.failure("exec", failure));
                    }
                    _ => {}
                }
            }
        };
        let deadline = Duration::from_millis(self.exec.timeout_ms.unwrap_or(u64::MAX / 4));
        let bounded = tokio::time::timeout(deadline.saturating_add(AGENT_GRACE), collecting);
        // Feeding ends by itself when the command no longer reads; the result must not wait for it.
        let (exited, stdout, stderr) = tokio::select! {
            biased;
            collected = bounded => collected.map_err(|_| self.agent_silent(deadline))??,
            never = async { feeding.await; std::future::pending::<std::convert::Infallible>().await } => match never {},
        };
        let output = Output::new(exited, stdout, stderr);
        self.record_output(id, &output);
        self.judge(output, deadline)
    }

    fn judge(&self, output: Output, timeout: Duration) -> Result<Output> {
        if self.expected.holds(output.status) && !output.timed_out {
            return Ok(output);
        }
        Err(Error::Command(Box::new(CommandFailure {
            machine: self.machine.name().to_owned(),
            command: self.subject.clone(),
            status: output.status,
            expected: self.expected.text(),
            timed_out: output.timed_out.then_some(timeout),
            stdout: end_of(&output.stdout, SHOWN),
            stderr: end_of(&output.stderr, SHOWN),
        })))
    }

    fn record_output(&self, id: u64, output: &Output) {
        for (stream, bytes) in [
            (OutputStream::Stdout, &output.stdout),
            (OutputStream::Stderr, &output.stderr),
        ] {
            if !bytes.is_empty() {
                let text = end_of(bytes, SHOWN);
                self.machine.record(EventKind::Output { id, stream, text });
            }
        }
    }

    fn too_large(&self) -> Error {
        Error::OutputTooLarge {
            machine: self.machine.name().to_owned(),
            command: attest_protocol::one_line(&self.subject),
            limit: self.output_limit,
        }
    }

    fn agent_silent(&self, deadline: Duration) -> Error {
        Error::TimedOut {
            machine: self.machine.name().to_owned(),
            subject: format!(
                "`{}`: the agent said nothing of its end, {AGENT_GRACE:?} after its time of {deadline:?}",
                attest_protocol::one_line(&self.subject)
            ),
            last_seen: None,
        }
    }
}

impl IntoFuture for Command {
    type Output = Result<Output>;
    type IntoFuture = BoxFuture<'static, Result<Output>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.output())
    }
}

async fn feed(sender: Sender, stdin: Option<Bytes>) {
    // A command that ends without reading all of its stdin is none the worse for it.
    if let Some(bytes) = stdin
        && sender.data(Stream::In, bytes).await.is_ok()
    {
        let _ = sender.eof(Stream::In);
    }
}

/// What a command left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// How it ended. A shell command that a signal ended has the code 128 + signal.
    pub status: ExitStatus,
    /// All of its stdout.
    pub stdout: Vec<u8>,
    /// All of its stderr.
    pub stderr: Vec<u8>,
    /// From fork to end, in the guest.
    pub duration: Duration,
    /// Processes that still held its stdout or stderr at its end, as `pid name`.
    pub holders: Vec<String>,
    timed_out: bool,
}

impl Output {
    fn new(exited: Exited, stdout: Vec<u8>, stderr: Vec<u8>) -> Self {
        Self {
            status: exited.status,
            stdout,
            stderr,
            duration: Duration::from_nanos(exited.duration_ns),
            holders: exited.holders,
            timed_out: exited.timed_out,
        }
    }

    /// stdout as text; what is not UTF-8 is replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// stderr as text; what is not UTF-8 is replaced.
    pub fn error_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Whether it ended with exit code 0.
    pub fn success(&self) -> bool {
        self.status == ExitStatus::Code(0)
    }

    /// `exit code 3` or `signal 9`.
    pub fn status_text(&self) -> String {
        status_text(self.status)
    }
}

/// A command that runs. Dropping it kills its process group.
#[derive(Debug)]
pub struct Child {
    machine: Machine,
    subject: String,
    timeout: Duration,
    channel: Channel,
}

/// Something that a [`Child`] did.
#[derive(Debug)]
pub enum ChildEvent {
    /// It runs, as this process of the guest.
    Started(u32),
    /// Bytes of its stdout (or terminal).
    Stdout(Bytes),
    /// Bytes of its stderr.
    Stderr(Bytes),
    /// It ended; nothing follows.
    Exited(ExitStatus),
}

/// Feeds and signals a [`Child`], apart from reading it.
#[derive(Debug, Clone)]
pub struct ChildInput {
    sender: Sender,
}

impl Child {
    /// What it does next. That its time-out ended it is [`Error::Command`].
    pub async fn next(&mut self) -> Result<ChildEvent> {
        let session = self.machine.session();
        loop {
            match session.next(&mut self.channel).await? {
                Incoming::Data(Stream::Err, bytes) => return Ok(ChildEvent::Stderr(bytes)),
                Incoming::Data(_, bytes) => return Ok(ChildEvent::Stdout(bytes)),
                Incoming::Notice(Notice::Started(pid)) => return Ok(ChildEvent::Started(pid)),
                Incoming::Finished(Ok(Response::Exited(exited))) if exited.timed_out => {
                    return Err(self.timed_out(exited.status));
                }
                Incoming::Finished(Ok(Response::Exited(exited))) => {
                    return Ok(ChildEvent::Exited(exited.status));
                }
                Incoming::Finished(Ok(_)) => return Err(session.unexpected("exec")),
                Incoming::Finished(Err(failure)) => return Err(session.failure("exec", failure)),
                _ => {}
            }
        }
    }

    fn timed_out(&self, status: ExitStatus) -> Error {
        Error::Command(Box::new(CommandFailure {
            machine: self.machine.name().to_owned(),
            command: self.subject.clone(),
            status,
            expected: Expected::Anything.text(),
            timed_out: Some(self.timeout),
            // Whoever reads it has read it.
            stdout: String::new(),
            stderr: String::new(),
        }))
    }

    /// Wait for its end, dropping what it prints.
    pub async fn wait(mut self) -> Result<ExitStatus> {
        loop {
            if let ChildEvent::Exited(status) = self.next().await? {
                return Ok(status);
            }
        }
    }

    /// Wait for its end, keeping this many bytes of its stdout.
    pub(crate) async fn printed(mut self, limit: usize) -> Result<Vec<u8>> {
        self.input().close();
        let mut printed = Vec::new();
        loop {
            match self.next().await? {
                ChildEvent::Stdout(bytes) => {
                    let room = limit - printed.len();
                    printed.extend_from_slice(&bytes[..bytes.len().min(room)]);
                }
                ChildEvent::Exited(_) => return Ok(printed),
                ChildEvent::Started(_) | ChildEvent::Stderr(_) => {}
            }
        }
    }

    /// The part that feeds and signals it.
    pub fn input(&self) -> ChildInput {
        ChildInput {
            sender: self.channel.sender.clone(),
        }
    }
}

impl ChildInput {
    /// Write to its stdin, waiting until there is room. False when it is gone.
    pub async fn write(&self, bytes: impl Into<Bytes>) -> bool {
        self.sender.data(Stream::In, bytes.into()).await.is_ok()
    }

    /// End its stdin.
    pub fn close(&self) {
        let _ = self.sender.eof(Stream::In);
    }

    /// Send a signal to its process group.
    pub fn signal(&self, signal: i32) {
        let _ = self.sender.control(&Control::Signal(signal));
    }

    /// Tell it its terminal's new size.
    pub fn resize(&self, size: TerminalSize) {
        let _ = self.sender.control(&Control::Resize(size));
    }
}

pub(crate) fn raw(text: &OsStr) -> RawBytes {
    RawBytes::from(text.as_bytes().to_vec())
}

pub(crate) fn from_raw(bytes: &RawBytes) -> OsString {
    OsString::from_vec(bytes.to_vec())
}

pub(crate) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The end of some output, as text, beginning at a whole line where there is one.
pub(crate) fn end_of(bytes: &[u8], limit: usize) -> String {
    let cut = bytes.len().saturating_sub(limit);
    let mut end = &bytes[cut..];
    if cut > 0
        && let Some(newline) = end.iter().position(|byte| *byte == b'\n')
        && newline + 1 < end.len()
    {
        end = &end[newline + 1..];
    }
    String::from_utf8_lossy(end).into_owned()
}

//! A start script from its start until its machine runs: what it is given, what it says, and why it
//! failed.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use attest_lab::{LabError, ProcessExit};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::sync::mpsc;

use super::ending;
use crate::output::Output;
use crate::qemu::console;
use crate::{Launched, Launcher, Program, SIGKILL, Told, VmmError};

/// Runs the line of a script. Every host has it.
const SHELL: &str = "/bin/sh";
/// A script that has closed its stderr has ended within milliseconds.
const ENDS: Duration = Duration::from_secs(1);
/// Bytes of its stdout that the words of a script that failed are taken from.
const PRINTED: usize = 64 * 1024;
/// Lines of that.
const PRINTED_LINES: usize = 5;
/// Lines of its stderr that are told; all of them are in its log.
const TOLD_LINES: usize = 1000;

/// Our ends of what the script has as stdin, stdout and stderr. They are pipes, as scripts expect: a
/// socket cannot be opened by the name `/dev/stdout`.
pub(super) struct Ends {
    pub(super) typed: pipe::Sender,
    pub(super) printed: pipe::Receiver,
    pub(super) words: OwnedFd,
}

/// The shell with this line, to which arguments and environment are to be added.
pub(super) fn program() -> io::Result<(Program, Ends)> {
    let (input, typed) = io::pipe()?;
    let (printed, output) = io::pipe()?;
    let (words, errors) = io::pipe()?;
    let program = Program {
        path: PathBuf::from(SHELL),
        args: Vec::new(),
        environment: Vec::new(),
        directory: None,
        input: Some(input.into()),
        output: output.into(),
        errors: Some(errors.into()),
        fds: Vec::new(),
        listens: false,
        on_host_network: false,
        own_group: false,
    };
    let ends = Ends {
        typed: pipe::Sender::from_owned_fd(typed.into())?,
        printed: pipe::Receiver::from_owned_fd(printed.into())?,
        words: words.into(),
    };
    Ok((program, ends))
}

/// Tells the lines of a script's stderr, as far as they are not too many for people.
pub(super) fn words(tell: mpsc::UnboundedSender<Told>) -> Box<dyn FnMut(&str) + Send> {
    let mut left = TOLD_LINES;
    Box::new(move |line| {
        if left > 0 && !line.is_empty() {
            left -= 1;
            // Whoever listens may be done.
            let _ = tell.send(Told::Words(line.to_owned()));
        }
    })
}

/// A script that was started. Given up, it ends, and what it started.
pub(super) struct Run {
    pub(super) name: String,
    pub(super) process: Arc<dyn Launched>,
    pub(super) output: Output,
    pub(super) console: console::Watch,
    driver: UnixStream,
    within: Duration,
    unfinished: Unfinished,
}

/// Ends a script whose start is given up, and what it started.
struct Unfinished(Option<Arc<dyn Launched>>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(process) = &self.0 {
            process.signal_group(SIGKILL);
        }
    }
}

/// What becomes of a script whose machine runs.
pub(super) struct Up {
    pub(super) name: String,
    pub(super) process: Arc<dyn Launched>,
    pub(super) output: Output,
    pub(super) console: console::Watch,
    /// The driver's end of the console.
    pub(super) driver: UnixStream,
}

/// How a script is followed.
pub(super) struct Follow<P> {
    pub(super) name: String,
    /// What it prints on stdout.
    pub(super) printed: P,
    pub(super) typed: pipe::Sender,
    pub(super) output: Output,
    /// How long its machine may take to run.
    pub(super) within: Duration,
}

impl Run {
    pub(super) async fn start<P>(
        program: Program,
        follow: Follow<P>,
        launcher: &dyn Launcher,
    ) -> Result<Self, VmmError>
    where
        P: AsyncRead + Unpin + Send + 'static,
    {
        let name = follow.name;
        let failed = VmmError::host(&name, "its sockets cannot be made");
        let (ours, driver) = UnixStream::pair().map_err(failed)?;
        let lab = |source: LabError| VmmError::Lab {
            machine: name.clone(),
            source,
        };
        let process = launcher.launch(program).await.map_err(lab)?;
        Ok(Self {
            name,
            unfinished: Unfinished(Some(Arc::clone(&process))),
            process,
            output: follow.output,
            console: console::tee(follow.printed, follow.typed, ours),
            driver,
            within: follow.within,
        })
    }

    /// Wait until its machine runs; `None`: that failed.
    pub(super) async fn until<T>(
        &mut self,
        runs: impl Future<Output = Option<T>>,
    ) -> Result<T, VmmError> {
        let process = Arc::clone(&self.process);
        tokio::select! {
            ran = tokio::time::timeout(self.within, runs) => match ran {
                Ok(Some(ran)) => Ok(ran),
                Ok(None) => Err(self.failure().await),
                Err(_) => Err(self.idle()),
            },
            exit = process.exited() => Err(self.ended(exit).await),
        }
    }

    /// Its machine runs.
    pub(super) fn up(mut self) -> Up {
        self.unfinished.0 = None;
        Up {
            name: self.name,
            process: self.process,
            output: self.output,
            console: self.console,
            driver: self.driver,
        }
    }

    /// It went half-way: most often because it ends.
    async fn failure(&mut self) -> VmmError {
        match tokio::time::timeout(ENDS, self.process.exited()).await {
            Ok(exit) => self.ended(exit).await,
            Err(_) => self.idle(),
        }
    }

    fn idle(&self) -> VmmError {
        VmmError::ScriptIdle {
            machine: self.name.clone(),
            within: self.within,
            words: self.output.last_words(),
        }
    }

    async fn ended(&mut self, exit: ProcessExit) -> VmmError {
        let machine = self.name.clone();
        let how = match exit {
            ProcessExit::LabEnded => return VmmError::LabEnded { machine },
            ProcessExit::Code(code) => format!("exit code {code}"),
            ProcessExit::Signal(signal) => format!("signal {signal}"),
        };
        // What it left running may hold them open.
        let read = async {
            self.output.at_end().await;
            self.console.at_end().await;
        };
        let _ = tokio::time::timeout(ENDS, read).await;
        let mut words = self.output.last_words();
        let printed = self.printed().await;
        if !printed.is_empty() {
            words = format!("{words}; on stdout: {printed}");
        }
        VmmError::ScriptEnded {
            advice: ending::advice(&words),
            machine,
            how,
            words,
        }
    }

    /// The end of what it printed on stdout, as one line.
    async fn printed(&mut self) -> String {
        let mut printed = Vec::new();
        let mut stream = (&mut self.driver).take(PRINTED as u64);
        // The end follows, unless something of the script's lives on.
        let _ = tokio::time::timeout(ENDS, stream.read_to_end(&mut printed)).await;
        let printed = String::from_utf8_lossy(&printed);
        let lines: Vec<_> = printed
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        lines[lines.len().saturating_sub(PRINTED_LINES)..].join("; ")
    }
}

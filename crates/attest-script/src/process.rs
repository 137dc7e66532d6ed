//! A CPython that runs a script.

use std::net::Shutdown;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream as StdStream;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use attest_rpc::{Served, Session};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use crate::error::ScriptError;
use crate::package::Package;
use crate::python::Python;

/// Tells the client which descriptor its socket is.
const FD_VARIABLE: &str = "ATTEST_RPC_FD";

/// A running CPython. It is killed when dropped, and when attest dies.
#[derive(Debug)]
pub struct ScriptProcess {
    child: Child,
    program: std::path::PathBuf,
    /// The same socket as the one that is served.
    socket: StdStream,
    // Not removed before its end.
    _package: Package,
}

/// Our end of its socket.
#[derive(Debug)]
pub struct ScriptSocket {
    stream: UnixStream,
    again: StdStream,
}

impl ScriptSocket {
    /// Serve the script until it leaves, as [`attest_rpc::serve`] does. A script that cannot be
    /// understood finds its socket closed.
    pub async fn serve(self, session: Arc<Session>) -> Served {
        let (reader, writer) = self.stream.into_split();
        let served = attest_rpc::serve(reader, writer, session).await;
        // The process has the same socket, so that it is not closed by being dropped.
        let _ = self.again.shutdown(Shutdown::Both);
        served
    }
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// With this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl Ending {
    /// What is told of a script whose runner told nothing itself.
    pub fn unexplained(self) -> String {
        match self {
            Self::Code(code) => {
                format!("the script's Python ended with exit code {code}, and did not say why")
            }
            Self::Signal(signal) => format!("the script's Python was ended by signal {signal}"),
        }
    }
}

impl ScriptProcess {
    /// Start it. It has to be called on a thread that lives as long as the script shall: with that
    /// thread, the kernel ends it. Nothing answers it until its socket is served.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(
        python: &Python,
        package: Package,
        directory: Option<&Path>,
        output: Option<(OwnedFd, OwnedFd)>,
    ) -> Result<(Self, ScriptSocket), ScriptError> {
        let failed = |source| ScriptError::Start {
            program: python.program().to_owned(),
            source,
        };
        let (ours, theirs) = StdStream::pair().map_err(failed)?;
        ours.set_nonblocking(true).map_err(failed)?;
        let socket = ScriptSocket {
            again: ours.try_clone().map_err(failed)?,
            stream: UnixStream::from_std(ours.try_clone().map_err(failed)?).map_err(failed)?,
        };
        let mut command = Command::new(python.program());
        command
            .arg(package.start())
            .env(FD_VARIABLE, theirs.as_raw_fd().to_string())
            .kill_on_drop(true);
        if let Some(directory) = directory {
            command.current_dir(directory);
        }
        if let Some((stdout, stderr)) = output {
            command
                .stdin(Stdio::null())
                .stdout(Stdio::from(stdout))
                .stderr(Stdio::from(stderr));
        }
        inherit::with_parent(&mut command, theirs.as_fd());
        let child = command.spawn().map_err(failed)?;
        let process = Self {
            child,
            program: python.program().to_owned(),
            socket: ours,
            _package: package,
        };
        Ok((process, socket))
    }

    /// Its number, as long as it has not been waited for.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Wait for its end. What is served then ends with what it has sent, also when processes that
    /// it forked still hold their ends of the socket.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub async fn ended(&mut self) -> Result<Ending, ScriptError> {
        let status = self
            .child
            .wait()
            .await
            .map_err(|source| ScriptError::Start {
                program: self.program.clone(),
                source,
            })?;
        // It may be closed already.
        let _ = self.socket.shutdown(Shutdown::Read);
        Ok(ending(status))
    }

    /// Send it a signal; nothing happens when it has ended.
    pub fn signal(&self, signal: Signal) {
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok());
        if let Some(pid) = pid {
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }
}

fn ending(status: ExitStatus) -> Ending {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => Ending::Code(code),
        (None, signal) => Ending::Signal(signal.unwrap_or_default()),
    }
}

impl Ending {
    /// As a shell has it.
    pub fn code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
        }
    }
}

mod inherit {
    #![expect(unsafe_code, reason = "what is done between fork and exec")]

    use std::io;
    use std::os::fd::{AsRawFd as _, BorrowedFd};

    use nix::fcntl::{FcntlArg, FdFlag, fcntl};
    use nix::sys::prctl::set_pdeathsig;
    use nix::sys::signal::Signal;
    use tokio::process::Command;

    /// It keeps this descriptor, and ends with the thread that starts it.
    pub(super) fn with_parent(command: &mut Command, fd: BorrowedFd<'_>) {
        let fd = fd.as_raw_fd();
        // SAFETY: both calls are system calls and nothing else, as signal-safety(7) demands
        // after fork; the descriptor is open until the command was spawned, for its owner outlives
        // that.
        unsafe {
            command.pre_exec(move || {
                set_pdeathsig(Signal::SIGKILL)?;
                let fd = BorrowedFd::borrow_raw(fd);
                fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty())).map_err(io::Error::from)?;
                Ok(())
            });
        }
    }
}

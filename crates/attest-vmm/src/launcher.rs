//! Where VMMs are started: inside a lab process, or for tests anywhere else.

use std::ffi::OsString;
use std::fmt;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::Arc;

use attest_lab::{Directory, LabError, LabProcess, Process, ProcessExit, Spawn};

use crate::BoxFuture;

/// A program to start, with nothing but inherited descriptors.
#[derive(Debug)]
pub struct Program {
    /// Its path.
    pub path: PathBuf,
    /// Arguments after its name.
    pub args: Vec<OsString>,
    /// Its whole environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Working directory; `/` when absent.
    pub directory: Option<PathBuf>,
    /// stdin; `/dev/null` when absent.
    pub input: Option<OwnedFd>,
    /// stdout.
    pub output: OwnedFd,
    /// stderr; where stdout goes when absent.
    pub errors: Option<OwnedFd>,
    /// What it finds under the numbers from 3 on, in order.
    pub fds: Vec<OwnedFd>,
    /// Whether it takes them by systemd's protocol for socket activation.
    pub listens: bool,
    /// Whether its network is the host's, where that of the lab is another.
    pub on_host_network: bool,
    /// Whether it has a control group of its own, as what manages such groups needs.
    pub own_group: bool,
}

impl Program {
    /// Hand it a descriptor; returns the number under which it will find it.
    pub fn pass(&mut self, fd: OwnedFd) -> RawFd {
        self.fds.push(fd);
        2 + RawFd::try_from(self.fds.len()).expect("few descriptors")
    }
}

/// Starts programs.
pub trait Launcher: fmt::Debug + Send + Sync {
    /// Start one.
    fn launch(&self, program: Program) -> BoxFuture<'_, Result<Arc<dyn Launched>, LabError>>;

    /// Show a file under this name in a directory of a program's.
    fn show<'a>(
        &'a self,
        directory: &'a Directory,
        name: &'a str,
        file: BorrowedFd<'a>,
    ) -> BoxFuture<'a, Result<(), LabError>>;
}

/// A program that was started.
pub trait Launched: fmt::Debug + Send + Sync {
    /// Its number on the host.
    fn pid(&self) -> u32;

    /// Wait for its end; any number of times.
    fn exited(&self) -> BoxFuture<'_, ProcessExit>;

    /// Send a signal; nothing happens when it has ended.
    fn signal(&self, signal: i32);

    /// Send a signal to it and to what it started, as far as that is in its process group; nothing
    /// happens when it has ended.
    fn signal_group(&self, signal: i32);
}

impl Launcher for LabProcess {
    fn launch(&self, program: Program) -> BoxFuture<'_, Result<Arc<dyn Launched>, LabError>> {
        let mut spawn = Spawn::default();
        spawn.program = program.path;
        spawn.args = program.args;
        spawn.environment = program.environment;
        spawn.directory = program.directory;
        spawn.input = program.input;
        spawn.output = Some(program.output);
        spawn.errors = program.errors;
        spawn.listens = program.listens;
        spawn.on_host_network = program.on_host_network;
        spawn.own_group = program.own_group;
        for fd in program.fds {
            spawn.pass(fd);
        }
        Box::pin(async move {
            let process: Arc<dyn Launched> = Arc::new(self.spawn(spawn).await?);
            Ok(process)
        })
    }

    fn show<'a>(
        &'a self,
        directory: &'a Directory,
        name: &'a str,
        file: BorrowedFd<'a>,
    ) -> BoxFuture<'a, Result<(), LabError>> {
        Box::pin(Self::show(self, directory, name, file))
    }
}

impl<L: Launcher + ?Sized> Launcher for Arc<L> {
    fn launch(&self, program: Program) -> BoxFuture<'_, Result<Arc<dyn Launched>, LabError>> {
        (**self).launch(program)
    }

    fn show<'a>(
        &'a self,
        directory: &'a Directory,
        name: &'a str,
        file: BorrowedFd<'a>,
    ) -> BoxFuture<'a, Result<(), LabError>> {
        (**self).show(directory, name, file)
    }
}

impl Launched for Process {
    fn pid(&self) -> u32 {
        Self::pid(self)
    }

    fn exited(&self) -> BoxFuture<'_, ProcessExit> {
        Box::pin(Self::exited(self))
    }

    fn signal(&self, signal: i32) {
        Self::signal(self, signal);
    }

    fn signal_group(&self, signal: i32) {
        Self::signal_group(self, signal);
    }
}

//! A launcher without a lab.

use std::os::fd::BorrowedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use attest_lab::{Directory, LabError, ProcessExit};
use attest_vmm::{BoxFuture, Launched, Launcher, Program};
use command_fds::{CommandFdExt, FdMapping};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::watch;

/// Starts programs as children of the test.
#[derive(Debug)]
pub(crate) struct Children;

#[derive(Debug)]
struct Child {
    pid: u32,
    exit: watch::Receiver<Option<ProcessExit>>,
}

impl Launcher for Children {
    fn launch(&self, program: Program) -> BoxFuture<'_, Result<Arc<dyn Launched>, LabError>> {
        let mut command = std::process::Command::new(&program.path);
        let null = Stdio::null;
        let errors = match program.errors {
            Some(errors) => errors,
            None => program.output.try_clone().unwrap(),
        };
        command
            .args(&program.args)
            .env_clear()
            .current_dir(program.directory.as_deref().unwrap_or(Path::new("/")))
            .stdin(program.input.map_or_else(null, Stdio::from))
            .stdout(program.output)
            .stderr(errors);
        let mappings = (3..).zip(program.fds);
        let mappings = mappings.map(|(child_fd, parent_fd)| FdMapping {
            parent_fd,
            child_fd,
        });
        command.fd_mappings(mappings.collect()).unwrap();
        let mut child = tokio::process::Command::from(command)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let pid = child.id().unwrap();
        let (sender, exit) = watch::channel(None);
        tokio::spawn(async move {
            let status = child.wait().await.unwrap();
            let exit = match status.signal() {
                Some(signal) => ProcessExit::Signal(signal),
                None => ProcessExit::Code(status.code().unwrap()),
            };
            sender.send_replace(Some(exit));
        });
        let launched: Arc<dyn Launched> = Arc::new(Child { pid, exit });
        Box::pin(async { Ok(launched) })
    }

    fn show<'a>(
        &'a self,
        _: &'a Directory,
        _: &'a str,
        _: BorrowedFd<'a>,
    ) -> BoxFuture<'a, Result<(), LabError>> {
        panic!("there are no jails without a lab")
    }
}

impl Launched for Child {
    fn pid(&self) -> u32 {
        self.pid
    }

    fn exited(&self) -> BoxFuture<'_, ProcessExit> {
        let mut exit = self.exit.clone();
        Box::pin(async move { exit.wait_for(Option::is_some).await.unwrap().unwrap() })
    }

    fn signal_group(&self, signal: i32) {
        self.signal(signal);
    }

    fn signal(&self, signal: i32) {
        if self.exit.borrow().is_none() {
            send(self.pid, Signal::try_from(signal).unwrap());
        }
    }
}

/// Send a signal to a process.
pub(crate) fn send(pid: u32, signal: Signal) {
    let _ = kill(Pid::from_raw(pid.try_into().unwrap()), signal);
}

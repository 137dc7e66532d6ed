//! A launcher without a lab, and short ways to start and to read.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use attest_lab::{LabError, ProcessExit};
use attest_vmm::{
    Accelerator, Backend, Body, BoxFuture, Ending, Jailer, Launched, Launcher, MachineConfig,
    MachineType, Program, Qemu, QemuOptions, Ram, Reboots, Started, VirtualConfig, VmmError,
};
use command_fds::{CommandFdExt, FdMapping};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
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
        command.args(&program.args).env_clear().stdin(Stdio::null());
        command
            .stdout(program.output.try_clone().unwrap())
            .stderr(program.output);
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

/// Whether this host has QEMU; if not, the test is skipped by name.
pub(crate) fn no_qemu() -> bool {
    let directory = tempfile::tempdir().unwrap();
    let found = attest_vmm::qemu::find(None, directory.path());
    if let Err(missing) = &found {
        eprintln!("SKIPPED: {missing}");
    }
    found.is_err()
}

/// A machine with a kernel, and nothing else.
pub(crate) fn machine(kernel: &std::path::Path) -> VirtualConfig {
    VirtualConfig {
        memory: 128 << 20,
        ram: Ram::Own,
        waits: false,
        vcpus: 2,
        kernel: kernel.to_owned(),
        // QEMU wants one that is not empty; a bare-metal kernel does not look at it.
        initrd: kernel.to_owned(),
        kernel_arguments: Vec::new(),
        cards: Vec::new(),
        disks: Vec::new(),
        balloon: false,
        jailer: Jailer::Auto,
        qemu: QemuOptions {
            machine: MachineType::Microvm,
            accelerator: Some(Accelerator::Tcg),
            ..QemuOptions::default()
        },
    }
}

pub(crate) async fn start(machine: VirtualConfig) -> Result<Started, VmmError> {
    start_logged(machine, None).await
}

pub(crate) async fn start_logged(
    machine: VirtualConfig,
    log: Option<PathBuf>,
) -> Result<Started, VmmError> {
    let machine = MachineConfig {
        name: "web".to_owned(),
        body: Body::Virtual(Box::new(machine)),
        log,
        tell: tokio::sync::mpsc::unbounded_channel().0,
    };
    let memo = tempfile::tempdir().unwrap();
    Qemu::new(memo.path()).start(machine, &Children).await
}

/// Read until this text has come; what came is returned.
pub(crate) async fn read_until(stream: &mut UnixStream, text: &str) -> String {
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains(text) {
        // A connection that is reset has ended, too.
        let count = stream.read_buf(&mut seen).await.unwrap_or(0);
        let seen = String::from_utf8_lossy(&seen);
        assert!(count > 0, "the end came before {text:?}, after {seen:?}");
    }
    String::from_utf8_lossy(&seen).into_owned()
}

/// Let it end by itself, reading its console meanwhile.
pub(crate) async fn end(mut started: Started) -> (Ending, String) {
    let mut console = Vec::new();
    started.console.read_to_end(&mut console).await.unwrap();
    (
        started.running.ended().await,
        String::from_utf8_lossy(&console).into_owned(),
    )
}

/// Whether a reset by the guest boots it again, from now on.
pub(crate) async fn allow_reboot(started: &Started, allow: bool) {
    let Reboots::InPlace(reboots) = started.running.reboots() else {
        panic!("QEMU goes on running");
    };
    reboots.allow_reboot(allow).await.unwrap();
}

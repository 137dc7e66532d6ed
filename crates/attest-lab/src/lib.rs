//! The lab process: owns the namespaces of one lab and everything that runs in them.
//!
//! A lab is one process in its own mount, pid, net, ipc and uts namespaces (and a user
//! namespace when the caller is not root). It is PID 1 there: when it dies, however it dies,
//! the kernel ends every process of the lab and removes its TAPs, bridges and mounts. It ends
//! by itself when its control socket closes, so the death of the driver ends it too.
//!
//! This library is the driver's side; the binary `attest-lab` is the process, carried inside
//! attest as bytes and run from memory, so that it needs no file.

use std::ffi::OsString;
use std::net::IpAddr;
use std::os::fd::{OwnedFd, RawFd};
use std::path::PathBuf;

/// A running lab process. Dropping it ends the lab.
#[derive(Debug)]
pub struct LabProcess {}

/// A network to make: one bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkSpec {
    /// As in the manifest; the bridge's own name is derived and short.
    pub name: String,
    /// Bytes.
    pub mtu: u32,
    /// The bridge's own addresses (the lab process's place on the network), with prefix length;
    /// usually empty: machines only.
    pub addresses: Vec<(IpAddr, u8)>,
}

/// A program to run inside the lab.
#[derive(Debug, Default)]
pub struct Spawn {
    /// Path, or a name searched in the driver's `PATH`.
    pub program: PathBuf,
    /// Arguments after the program's name.
    pub args: Vec<OsString>,
    /// The whole environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Working directory; `/` by default.
    pub directory: Option<PathBuf>,
    /// stdout and stderr; `/dev/null` when absent. stdin is `/dev/null`.
    pub output: Option<OwnedFd>,
    fds: Vec<OwnedFd>,
}

impl Spawn {
    /// Hand a descriptor to the program; returns the number under which it will find it.
    pub fn pass(&mut self, fd: OwnedFd) -> RawFd {
        self.fds.push(fd);
        2 + RawFd::try_from(self.fds.len()).expect("few descriptors")
    }
}

/// A program that runs, or ran, inside the lab.
#[derive(Debug)]
pub struct Process {}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessExit {
    /// With this exit code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// The lab process itself is gone, and the program with it.
    LabEnded,
}

/// What can go wrong with a lab process.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LabError {
    /// The helper refines this list.
    #[error("the lab process ended: {0}")]
    Ended(String),
}

impl LabProcess {
    /// Start the program (the bytes of the static `attest-lab`), with its networks made.
    pub async fn start(program: &[u8], networks: &[NetworkSpec]) -> Result<Self, LabError> {
        let _ = (program, networks);
        todo!()
    }

    /// A new TAP on this network, up, enslaved to the bridge, with its MTU: the open queue.
    /// With `vnet_hdr`, so that offloads work.
    pub async fn tap(&self, network: &str) -> Result<OwnedFd, LabError> {
        let _ = network;
        todo!()
    }

    /// Run a program in the lab.
    pub async fn spawn(&self, spawn: Spawn) -> Result<Process, LabError> {
        let _ = spawn;
        todo!()
    }

    /// The host's number of the process that is PID 1 inside.
    pub fn pid(&self) -> u32 {
        todo!()
    }

    /// Resolves when the lab process has ended without being asked, with what is known of why.
    pub async fn ended(&self) -> LabError {
        todo!()
    }

    /// End everything in the lab, and return when the kernel has.
    pub async fn end(self) {
        todo!()
    }
}

impl Process {
    /// Its number outside the lab, for messages and for fault injection.
    pub fn pid(&self) -> u32 {
        todo!()
    }

    /// Wait for its end. May be called any number of times, also afterwards.
    pub async fn exited(&self) -> ProcessExit {
        todo!()
    }

    /// Send a signal; nothing happens when it has ended.
    pub fn signal(&self, signal: i32) {
        let _ = signal;
        todo!()
    }
}

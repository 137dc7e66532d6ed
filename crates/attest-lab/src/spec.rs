//! What a driver asks of a lab.

use std::ffi::OsString;
use std::net::IpAddr;
use std::os::fd::{OwnedFd, RawFd};
use std::path::PathBuf;

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
    pub(crate) fds: Vec<OwnedFd>,
}

impl Spawn {
    /// Hand a descriptor to the program; returns the number under which it will find it. At
    /// most 200 of them: one message carries 253 (`SCM_MAX_FD` of the kernel).
    pub fn pass(&mut self, fd: OwnedFd) -> RawFd {
        self.fds.push(fd);
        2 + RawFd::try_from(self.fds.len()).expect("few descriptors")
    }
}

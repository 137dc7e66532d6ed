//! What a driver asks of a lab.

use std::ffi::OsString;
use std::net::IpAddr;
use std::os::fd::{OwnedFd, RawFd};
use std::path::PathBuf;

/// What will run in a lab.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LabContent {
    /// Programs, as VMMs are.
    #[default]
    Programs,
    /// Containers, too.
    Containers,
    /// Start scripts of whole machines, which bring their networks themselves.
    Scripts(Scripts),
}

/// A lab for start scripts: only processes and mounts are its own; network, IPC and names are the
/// host's, and so is the user. It has no networks of [`NetworkSpec`].
///
/// With containers, the network is its own, too, for their bridges have the same names in every lab;
/// programs that need the host's say so ([`Spawn::on_host_network`]).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scripts {
    /// Whether some of them run containers. That needs root.
    pub containers: bool,
    /// Whether `/dev/kvm` is to be of no use there: one that opens, but runs no guests, is worse
    /// than none.
    pub without_kvm: bool,
}

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
    /// stdin; `/dev/null` when absent.
    pub input: Option<OwnedFd>,
    /// stdout; `/dev/null` when absent.
    pub output: Option<OwnedFd>,
    /// stderr; where stdout goes when absent.
    pub errors: Option<OwnedFd>,
    /// Whether it takes the descriptors that are passed by systemd's protocol for socket
    /// activation (sd_listen_fds(3)).
    pub listens: bool,
    /// Whether its network is the host's, where that of the lab is not. Only in labs for scripts.
    pub on_host_network: bool,
    /// Whether it has a control group of its own, below that of the lab: two that manage groups would be in each other's
    /// way. Only in labs with containers.
    pub own_group: bool,
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

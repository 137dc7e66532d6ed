//! What this host allows, each with the reason for a no: for `attest doctor`.
#![expect(
    unsafe_code,
    reason = "unshare(2) of a user namespace needs a forked, single-threaded child"
)]

use std::fs::OpenOptions;
use std::io;

use nix::errno::Errno;
use nix::libc;
use nix::sched::CloneFlags;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::ForkResult;

use crate::NetError;

/// Something that a lab needs of the host.
#[derive(Debug)]
pub struct Check {
    /// As `network namespaces`.
    pub what: &'static str,
    /// The reason for a no.
    pub result: Result<(), ProbeError>,
}

/// Why a host cannot hold a lab.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// Namespaces are refused.
    #[error(
        "unshare(2) was refused; as another user than root, the kernel must allow unprivileged user \
         namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, \
         kernel.apparmor_restrict_unprivileged_userns); in a container, its seccomp profile must allow unshare"
    )]
    Namespace(#[source] io::Error),
    /// The probing child could not be started, or was killed.
    #[error("the probe itself could not run")]
    Probe(#[source] io::Error),
    /// No TUN device.
    #[error(transparent)]
    Net(NetError),
}

/// All checks, in the order in which a lab needs them.
pub fn probe() -> Vec<Check> {
    let user = if nix::unistd::geteuid().is_root() {
        CloneFlags::empty()
    } else {
        CloneFlags::CLONE_NEWUSER
    };
    let namespaces = [
        ("user namespaces", CloneFlags::CLONE_NEWUSER),
        ("network namespaces", user | CloneFlags::CLONE_NEWNET),
        ("process namespaces", user | CloneFlags::CLONE_NEWPID),
        ("mount namespaces", user | CloneFlags::CLONE_NEWNS),
    ];
    let mut checks: Vec<Check> = namespaces
        .into_iter()
        .map(|(what, flags)| Check {
            what,
            result: can_unshare(flags),
        })
        .collect();
    checks.push(Check {
        what: "TAP devices",
        result: tun_device().map_err(ProbeError::Net),
    });
    checks
}

/// Whether `/dev/net/tun` opens for reading and writing. Whether a TAP can be made also depends
/// on CAP_NET_ADMIN, which a lab has in its own namespace.
pub fn tun_device() -> Result<(), NetError> {
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/net/tun");
    opened.map(drop).map_err(NetError::TunDevice)
}

/// Try it in a child, which ends at once.
pub fn can_unshare(flags: CloneFlags) -> Result<(), ProbeError> {
    let probe = |errno: Errno| ProbeError::Probe(errno.into());
    // SAFETY: the caller may have threads, so the child only makes async-signal-safe calls:
    // unshare and _exit.
    match unsafe { nix::unistd::fork() }.map_err(probe)? {
        ForkResult::Child => {
            let code = nix::sched::unshare(flags).map_or_else(|errno| errno as i32, |()| 0);
            // SAFETY: ends the process, without running anything that the parent registered.
            unsafe { libc::_exit(code) }
        }
        ForkResult::Parent { child } => loop {
            match waitpid(child, None) {
                Ok(WaitStatus::Exited(_, 0)) => return Ok(()),
                Ok(WaitStatus::Exited(_, code)) => {
                    return Err(ProbeError::Namespace(io::Error::from_raw_os_error(code)));
                }
                Err(Errno::EINTR) => {}
                Ok(_) => return Err(probe(Errno::ECHILD)),
                Err(errno) => return Err(probe(errno)),
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_carries_the_kernels_reason() {
        // A flag that unshare does not know.
        let answer = can_unshare(CloneFlags::from_bits_retain(libc::CLONE_PARENT_SETTID));
        let Err(ProbeError::Namespace(reason)) = answer else {
            panic!("{answer:?}")
        };
        assert_eq!(reason.raw_os_error(), Some(libc::EINVAL));
    }

    #[test]
    fn every_check_names_something_else() {
        let names: std::collections::BTreeSet<_> = probe().iter().map(|check| check.what).collect();
        assert_eq!(names.len(), 5);
    }
}

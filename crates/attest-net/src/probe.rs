//! What this host allows, each with the reason for a no: for `attest doctor`.
#![expect(
    unsafe_code,
    reason = "unshare(2) of a user namespace needs a forked, single-threaded child"
)]

use std::io;

use nix::errno::Errno;
use nix::libc;
use nix::sched::CloneFlags;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::ForkResult;

use crate::{NetError, tap};

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
    /// No TUN device, or no packet sockets.
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
    checks.push(Check {
        what: "packet sockets",
        result: packet_sockets(user | CloneFlags::CLONE_NEWNET),
    });
    checks
}

/// Whether frames can be relayed where there are no TAPs, in a network of one's own.
fn packet_sockets(flags: CloneFlags) -> Result<(), ProbeError> {
    let opens = || {
        // SAFETY: takes numbers; the child that calls it ends at once, and closes what is opened.
        let socket = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW, 0) };
        Errno::result(socket).map(drop)
    };
    // Where there is no network of one's own, that is what is told of.
    can_unshare(flags)?;
    in_child(|| nix::sched::unshare(flags).and_then(|()| opens()))?
        .map_err(|error| ProbeError::Net(NetError::Packets(error)))
}

/// Whether there is a `/dev/net/tun` that makes TAPs, for this user. Whether one can be made also depends on
/// CAP_NET_ADMIN, which a lab has in its own namespace.
pub fn tun_device() -> Result<(), NetError> {
    tap::probe()
}

/// Try it in a child, which ends at once.
pub fn can_unshare(flags: CloneFlags) -> Result<(), ProbeError> {
    in_child(|| nix::sched::unshare(flags))?.map_err(ProbeError::Namespace)
}

/// What a child gets that tries this, which must make nothing but system calls.
fn in_child(tries: impl FnOnce() -> nix::Result<()>) -> Result<io::Result<()>, ProbeError> {
    let probe = |errno: Errno| ProbeError::Probe(errno.into());
    // SAFETY: the caller may have threads, so the child only makes async-signal-safe calls:
    // what it tries, and _exit.
    match unsafe { nix::unistd::fork() }.map_err(probe)? {
        ForkResult::Child => {
            let code = tries().map_or_else(|errno| errno as i32, |()| 0);
            // SAFETY: ends the process, without running anything that the parent registered.
            unsafe { libc::_exit(code) }
        }
        ForkResult::Parent { child } => loop {
            match waitpid(child, None) {
                Ok(WaitStatus::Exited(_, 0)) => return Ok(Ok(())),
                Ok(WaitStatus::Exited(_, code)) => {
                    return Ok(Err(io::Error::from_raw_os_error(code)));
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
        assert_eq!(names.len(), 6);
    }
}

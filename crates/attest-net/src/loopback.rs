//! The loopback interface.
#![expect(
    unsafe_code,
    reason = "SIOCSIFFLAGS is an ioctl, and no safe wrapper of it exists"
)]

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::libc;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use crate::NetError;

mod ioctl {
    nix::ioctl_write_ptr_bad!(siocsifflags, nix::libc::SIOCSIFFLAGS, nix::libc::ifreq);
}

/// For requests about interfaces any socket will do, also where there is no IPv4.
pub(crate) fn any_socket() -> Result<OwnedFd, NetError> {
    let opened = socket(
        AddressFamily::Unix,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    );
    opened.map_err(|error| NetError::Socket(error.into()))
}

/// Switch on the loopback interface of the network namespace that the caller is in. By an ioctl:
/// the first thing that a guest needs should not cost it a conversation through netlink, which
/// takes an emulated one 20 ms.
pub fn loopback_up() -> Result<(), NetError> {
    let socket = any_socket()?;
    let mut name = [0; libc::IFNAMSIZ];
    for (to, from) in name.iter_mut().zip(b"lo") {
        *to = libc::c_char::from_ne_bytes([*from]);
    }
    let request = libc::ifreq {
        ifr_name: name,
        ifr_ifru: libc::__c_anonymous_ifr_ifru {
            ifru_flags: libc::c_short::try_from(libc::IFF_UP | libc::IFF_RUNNING)
                .expect("these flags have 16 bits"),
        },
    };
    // SAFETY: SIOCSIFFLAGS reads one `struct ifreq`; `request` is one, whole and alive for the
    // call, and the descriptor is open.
    let answer = unsafe { ioctl::siocsifflags(socket.as_raw_fd(), &raw const request) };
    answer
        .map(drop)
        .map_err(|errno| NetError::from_errno("switch on", "lo", io::Error::from(errno)))
}

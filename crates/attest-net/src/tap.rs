//! TAP devices.
#![expect(
    unsafe_code,
    reason = "TUNSETIFF is an ioctl, and no safe wrapper of it exists"
)]

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use nix::libc;

use crate::NetError;

/// Whether each packet of a TAP starts with a virtio-net header, so that checksum and
/// segmentation offloads work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VnetHeader {
    /// Bare Ethernet frames.
    No,
    /// `struct virtio_net_hdr` before each frame.
    Yes,
}

mod ioctl {
    nix::ioctl_write_ptr_bad!(tunsetiff, nix::libc::TUNSETIFF, nix::libc::ifreq);
    nix::ioctl_write_int!(tunsetpersist, b'T', 203);
    nix::ioctl_write_int!(tunsetowner, b'T', 204);
}

/// Make a TAP of this name in the current network namespace; it lives as long as the
/// descriptor (and its duplicates). One queue, no packet information header.
pub fn tap(name: &str, header: VnetHeader) -> Result<OwnedFd, NetError> {
    let device = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_CLOEXEC | libc::O_NONBLOCK)
        .open("/dev/net/tun")
        .map_err(NetError::TunDevice)?;
    let mut flags = libc::IFF_TAP | libc::IFF_NO_PI;
    if header == VnetHeader::Yes {
        flags |= libc::IFF_VNET_HDR;
    }
    let request = libc::ifreq {
        ifr_name: interface_name(name)?,
        ifr_ifru: libc::__c_anonymous_ifr_ifru {
            ifru_flags: libc::c_short::try_from(flags).expect("these flags have 16 bits"),
        },
    };
    // The kernel writes the name back, while the macro takes a const pointer.
    let request = std::cell::UnsafeCell::new(request);
    // SAFETY: TUNSETIFF reads and writes one `struct ifreq`; `request` is one, whole, alive for
    // the call and open to writes, and the descriptor is open.
    let answer = unsafe { ioctl::tunsetiff(device.as_raw_fd(), request.get()) };
    answer.map_err(|errno| NetError::from_errno("make the TAP", name, io::Error::from(errno)))?;
    Ok(device.into())
}

/// Make a TAP of this name that stays until it is removed, for a VMM that opens it by its name; with a header as of
/// [`VnetHeader::Yes`]. Besides those who administer the network, only its owner may open it, by default nobody.
pub fn lasting_tap(name: &str, owner: Option<u32>) -> Result<(), NetError> {
    let queue = tap(name, VnetHeader::Yes)?;
    let failed = |errno| NetError::from_errno("keep the TAP", name, io::Error::from(errno));
    let queue = queue.as_raw_fd();
    if let Some(owner) = owner {
        // SAFETY: the request takes a number, no pointer, and the descriptor is open.
        unsafe { ioctl::tunsetowner(queue, owner.into()) }.map_err(failed)?;
    }
    // SAFETY: as above.
    unsafe { ioctl::tunsetpersist(queue, 1) }.map_err(failed)?;
    Ok(())
}

/// The kernel's form of an interface name: zero-filled.
fn interface_name(name: &str) -> Result<[libc::c_char; libc::IFNAMSIZ], NetError> {
    let wrong = |byte: u8| byte <= b' ' || b"/:%".contains(&byte);
    if name.is_empty() || name.len() >= libc::IFNAMSIZ || name.bytes().any(wrong) {
        return Err(NetError::Name(name.to_owned()));
    }
    let mut out = [0; libc::IFNAMSIZ];
    for (to, from) in out.iter_mut().zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_the_kernel_would_change_or_refuse_are_refused() {
        // `tap%d` would make the kernel choose a number.
        for name in ["", "sixteen-bytes-xx", "a b", "a/b", "a:b", "tap%d", "a\0b"] {
            assert!(
                matches!(interface_name(name), Err(NetError::Name(_))),
                "{name:?}"
            );
        }
        assert!(interface_name("fifteen-bytes-x").is_ok());
    }
}

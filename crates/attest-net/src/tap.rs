//! TAP devices.
#![expect(
    unsafe_code,
    reason = "TUNSETIFF is an ioctl, and no safe wrapper of it exists"
)]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use nix::errno::Errno;
use nix::libc;

use crate::NetError;
use crate::name::kernel_form;

const DEVICE: &str = "/dev/net/tun";

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
    nix::ioctl_read!(tungetfeatures, b'T', 207, nix::libc::c_uint);
}

/// Make a TAP of this name in the current network namespace; it lives as long as the
/// descriptor (and its duplicates). One queue, no packet information header.
pub fn tap(name: &str, header: VnetHeader) -> Result<OwnedFd, NetError> {
    let device = open()?;
    let mut flags = libc::IFF_TAP | libc::IFF_NO_PI;
    if header == VnetHeader::Yes {
        flags |= libc::IFF_VNET_HDR;
    }
    let request = libc::ifreq {
        ifr_name: kernel_form(name)?,
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

/// Whether there is a device that makes TAPs, with headers for offloads. Whether one can be made also depends on
/// CAP_NET_ADMIN, which a lab has in its own namespace.
pub(crate) fn probe() -> Result<(), NetError> {
    let device = open()?;
    let mut features = 0;
    // SAFETY: TUNGETFEATURES writes one unsigned int; `features` is one, alive for the call, and the descriptor is open.
    let answer = unsafe { ioctl::tungetfeatures(device.as_raw_fd(), &raw mut features) };
    let refused = |errno: Errno| NetError::from_errno("ask the TUN device", DEVICE, errno.into());
    answer.map_err(refused)?;
    let needed = (libc::IFF_TAP | libc::IFF_VNET_HDR).cast_unsigned();
    if features & needed == needed {
        Ok(())
    } else {
        Err(refused(Errno::EOPNOTSUPP))
    }
}

fn open() -> Result<File, NetError> {
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_CLOEXEC | libc::O_NONBLOCK)
        .open(DEVICE);
    opened.map_err(NetError::TunDevice)
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

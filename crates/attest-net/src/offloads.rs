//! What a network card is left to do for the kernel.
#![expect(
    unsafe_code,
    reason = "SIOCETHTOOL is an ioctl, and no safe wrapper of it exists"
)]

use std::io;
use std::os::fd::AsRawFd;

use nix::libc;

use crate::NetError;
use crate::loopback::any_socket;
use crate::name::kernel_form;

/// `ETHTOOL_STXCSUM` of linux/ethtool.h: what is sent has its checksums, or gets them from the card.
const TRANSMIT_CHECKSUMS: u32 = 0x17;

/// `struct ethtool_value` of linux/ethtool.h.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

mod ioctl {
    nix::ioctl_write_ptr_bad!(siocethtool, nix::libc::SIOCETHTOOL, nix::libc::ifreq);
}

/// Let the kernel itself write checksums into what goes out through this interface, and cut it into packets: no card
/// can cut what it makes no checksums for, so that the kernel switches all of that off at once.
pub(crate) fn no_offloads(name: &str) -> Result<(), NetError> {
    let socket = any_socket()?;
    let mut value = Value {
        command: TRANSMIT_CHECKSUMS,
        data: 0,
    };
    let request = libc::ifreq {
        ifr_name: kernel_form(name)?,
        ifr_ifru: libc::__c_anonymous_ifr_ifru {
            ifru_data: (&raw mut value).cast(),
        },
    };
    // SAFETY: SIOCETHTOOL reads one `struct ifreq`, and what that points to, which this command only reads: both are
    // whole and alive for the call, and the descriptor is open.
    let answer = unsafe { ioctl::siocethtool(socket.as_raw_fd(), &raw const request) };
    answer.map(drop).map_err(|errno| {
        NetError::from_errno("switch off the offloads of", name, io::Error::from(errno))
    })
}

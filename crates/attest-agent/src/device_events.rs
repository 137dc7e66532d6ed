//! The kernel's word that devices came or changed.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};
use tokio::io::unix::AsyncFd;

/// The kernel's own multicast group of device events (lib/kobject_uevent.c).
const KERNEL: u32 = 1;

/// What happens from its opening on.
#[derive(Debug)]
pub(crate) struct DeviceEvents(AsyncFd<OwnedFd>);

impl DeviceEvents {
    pub(crate) fn open() -> io::Result<Self> {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Datagram,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkKObjectUEvent,
        )?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, KERNEL))?;
        crate::async_fd::register(socket).map(Self)
    }

    /// Something happened: what it was is looked up, not read.
    pub(crate) async fn next(&self) -> io::Result<()> {
        let mut event = [0; 4096];
        loop {
            let mut ready = self.0.readable().await?;
            let taken = ready.try_io(|events| {
                Ok(recv(events.as_raw_fd(), &mut event, MsgFlags::empty()).map(drop)?)
            });
            match taken {
                // More came than it holds: none of them is missed, for all are looked up.
                Ok(Err(error)) if error.raw_os_error() == Some(nix::libc::ENOBUFS) => {
                    return Ok(());
                }
                Ok(outcome) => return outcome,
                Err(_) => {}
            }
        }
    }
}

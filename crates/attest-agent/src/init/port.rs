//! The port to the host: found by its name, among the virtio-serial ports.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};
use tokio::io::unix::AsyncFd;

/// The host's end of this virtio-serial port is the driver.
const NAME: &str = "attest.0";
/// The kernel's own multicast group of device events (lib/kobject_uevent.c).
const KERNEL: u32 = 1;

/// Open the port to the host.
///
/// # Errors
/// It cannot be had, as one line for the console.
pub async fn open() -> Result<OwnedFd, String> {
    let device = appeared()
        .await
        .map_err(|error| format!("no virtio-serial port named {NAME}: {error}"))?;
    File::options()
        .read(true)
        .write(true)
        .open(&device)
        .map(OwnedFd::from)
        .map_err(|error| format!("{device} cannot be opened: {error}"))
}

/// The driver makes the port a moment after it was loaded, and names it another moment later:
/// it says both by device events.
async fn appeared() -> io::Result<String> {
    let events = device_events()?;
    loop {
        if let Some(device) = find() {
            return Ok(device);
        }
        let mut ready = events.readable().await?;
        // What happened is looked up, not read.
        let mut event = [0; 4096];
        let taken = ready.try_io(|events| {
            Ok(recv(events.as_raw_fd(), &mut event, MsgFlags::empty()).map(drop)?)
        });
        match taken {
            // More came than it holds: none of them is missed, for all are looked up.
            Ok(Err(error)) if error.raw_os_error() != Some(nix::libc::ENOBUFS) => {
                return Err(error);
            }
            _ => {}
        }
    }
}

fn device_events() -> io::Result<AsyncFd<OwnedFd>> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkKObjectUEvent,
    )?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, KERNEL))?;
    crate::async_fd::register(socket)
}

fn find() -> Option<String> {
    for port in fs::read_dir("/sys/class/virtio-ports").ok()?.flatten() {
        let name = fs::read_to_string(port.path().join("name")).unwrap_or_default();
        let device = format!("/dev/{}", port.file_name().to_string_lossy());
        if name.trim() == NAME && Path::new(&device).exists() {
            return Some(device);
        }
    }
    None
}

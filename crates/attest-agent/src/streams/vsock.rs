//! The host over vsock(7): the agent connects to a port of it, and listens on the same port of the
//! guest, for a host that goes on with a saved machine whose connection it does not have.

use std::cell::OnceCell;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc::{VMADDR_CID_ANY, VMADDR_CID_HOST};
use nix::sys::socket::sockopt::SocketError;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, VsockAddr, bind, connect, getpeername, getsockopt,
    listen, socket,
};
use tokio::io::unix::AsyncFd;

use super::Peer;
use crate::device_events::DeviceEvents;

/// Connections that wait to be accepted: one host makes one after the other.
const BACKLOG: i32 = 4;

/// A peer over vsock.
#[derive(Debug)]
pub struct Vsock {
    cid: u32,
    port: u32,
    /// Made as soon as there is a device.
    listener: OnceCell<AsyncFd<OwnedFd>>,
}

impl Vsock {
    /// The host of this machine.
    pub fn host(port: u32) -> Self {
        Self::new(VMADDR_CID_HOST, port)
    }

    fn new(cid: u32, port: u32) -> Self {
        Self {
            cid,
            port,
            listener: OnceCell::new(),
        }
    }

    async fn connect_now(&self) -> io::Result<OwnedFd> {
        let socket = new_socket()?;
        match connect(socket.as_raw_fd(), &VsockAddr::new(self.cid, self.port)) {
            Ok(()) => return Ok(socket),
            Err(Errno::EINPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        // Watched from here on: before, it would be said to be ready for writing. What is not
        // answered is given up by the kernel after two seconds (net/vmw_vsock/af_vsock.c).
        let socket = crate::async_fd::register(socket)?;
        loop {
            let mut ready = socket.writable().await?;
            let error = getsockopt(&socket, SocketError)?;
            if error != 0 {
                return Err(io::Error::from_raw_os_error(error));
            }
            match getpeername::<VsockAddr>(socket.as_raw_fd()) {
                Ok(_) => break,
                Err(Errno::ENOTCONN) => ready.clear_ready(),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(socket.into_inner())
    }

    fn listen(&self) -> io::Result<&AsyncFd<OwnedFd>> {
        if let Some(listener) = self.listener.get() {
            return Ok(listener);
        }
        let socket = new_socket()?;
        bind(
            socket.as_raw_fd(),
            &VsockAddr::new(VMADDR_CID_ANY, self.port),
        )?;
        listen(&socket, Backlog::new(BACKLOG)?)?;
        let listener = crate::async_fd::register(socket)?;
        Ok(self.listener.get_or_init(|| listener))
    }

    /// A connection of the peer's, if one waits; others are none of ours.
    fn accept_from_peer(&self, listener: &OwnedFd) -> nix::Result<Option<OwnedFd>> {
        let connected = accepting::accept(listener)?;
        let from = getpeername::<VsockAddr>(connected.as_raw_fd())?;
        Ok((from.cid() == self.cid).then_some(connected))
    }
}

impl Peer for Vsock {
    fn name(&self) -> String {
        let whose = match self.cid {
            VMADDR_CID_HOST => "the host's".to_owned(),
            cid => format!("machine {cid}'s"),
        };
        format!("{whose} vsock port {}", self.port)
    }

    async fn connect(&self) -> io::Result<OwnedFd> {
        with_device(async || self.connect_now().await).await
    }

    async fn accept(&self) -> io::Result<OwnedFd> {
        let listener = with_device(async || self.listen()).await?;
        loop {
            let mut ready = listener.readable().await?;
            match ready.try_io(|listener| Ok(self.accept_from_peer(listener.get_ref())?)) {
                Ok(Ok(Some(connected))) => return Ok(connected),
                // It is gone again before it was accepted.
                Ok(Err(error)) if is_gone(&error) => {}
                Ok(Err(error)) => return Err(error),
                Ok(Ok(None)) | Err(_) => {}
            }
        }
    }
}

fn new_socket() -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socket(AddressFamily::Vsock, SockType::Stream, flags, None)
}

fn is_gone(error: &io::Error) -> bool {
    let gone = [Errno::ECONNABORTED, Errno::ECONNRESET, Errno::ENOTCONN];
    gone.into_iter()
        .any(|gone| error.raw_os_error() == Some(gone as i32))
}

/// Do it as soon as the kernel has what it takes. The driver may be loaded by the system, and the
/// device may be found, after the agent began: both are told by device events.
async fn with_device<T>(mut act: impl AsyncFnMut() -> io::Result<T>) -> io::Result<T> {
    let mut events = None;
    loop {
        match act().await {
            Err(error) if is_missing(&error) => {}
            done => return done,
        }
        match &events {
            // It may have come before these were listened to.
            None => events = Some(DeviceEvents::open()?),
            Some(events) => events.next().await?,
        }
    }
}

/// No driver at all, or none that has found its device.
fn is_missing(error: &io::Error) -> bool {
    let missing = [Errno::EAFNOSUPPORT, Errno::ENODEV];
    missing
        .into_iter()
        .any(|missing| error.raw_os_error() == Some(missing as i32))
}

mod accepting {
    #![expect(unsafe_code, reason = "accept4(2) gives a number")]

    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

    use nix::sys::socket::{SockFlag, accept4};

    pub(super) fn accept(listener: &OwnedFd) -> nix::Result<OwnedFd> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let accepted = accept4(listener.as_raw_fd(), flags)?;
        // SAFETY: the kernel has just given us this descriptor, and nobody else knows it.
        Ok(unsafe { OwnedFd::from_raw_fd(accepted) })
    }
}

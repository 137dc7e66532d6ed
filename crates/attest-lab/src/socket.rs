//! The control socket: datagrams with descriptors and credentials, for tokio.
#![expect(
    unsafe_code,
    reason = "tokio's AsyncFd asks for a promise about the descriptor"
)]

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, Shutdown, UCred,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::wire::{FDS_MAX, MESSAGE_MAX};

/// Room for the most that one message carries.
const CONTROL_SPACE: usize = rustix::cmsg_space!(ScmRights(FDS_MAX), ScmCredentials(1));

/// One end of the control socket.
#[derive(Debug)]
pub(crate) struct Socket(AsyncFd<OwnedFd>);

/// A received datagram.
#[derive(Debug)]
pub(crate) struct Datagram {
    pub(crate) bytes: Vec<u8>,
    pub(crate) fds: Vec<OwnedFd>,
    /// The sender's process number, or the one that it named, in our numbering.
    pub(crate) pid: Option<u32>,
}

impl Socket {
    /// Must be called inside a runtime with I/O.
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        // SAFETY: an OwnedFd always gives the same descriptor, and keeps it open until it is
        // dropped; AsyncFd owns it, and hands it out by shared reference only.
        let fd = unsafe { AsyncFd::register(fd) }?;
        Ok(Self(fd))
    }

    /// Send one datagram; all of it or nothing, also when the future is dropped.
    pub(crate) async fn send(
        &self,
        bytes: &[u8],
        fds: &[BorrowedFd<'_>],
        credentials: Option<UCred>,
    ) -> io::Result<()> {
        self.0
            .async_io(Interest::WRITABLE, |fd| send(fd, bytes, fds, credentials))
            .await
    }

    /// Send one datagram if that need not wait.
    pub(crate) fn send_now(&self, bytes: &[u8]) -> io::Result<()> {
        send(self.0.get_ref(), bytes, &[], None)
    }

    /// The next datagram; `None` when the other end is closed. Nothing is lost when the future
    /// is dropped.
    pub(crate) async fn receive(&self) -> io::Result<Option<Datagram>> {
        self.0.async_io(Interest::READABLE, receive).await
    }

    /// Close it for both sides, although others still hold this end.
    pub(crate) fn shut(&self) {
        // Fails only where the other end is gone already.
        let _ = rustix::net::shutdown(self.0.get_ref(), Shutdown::Both);
    }
}

/// Send without waiting.
pub(crate) fn send(
    socket: impl AsFd,
    bytes: &[u8],
    fds: &[BorrowedFd<'_>],
    credentials: Option<UCred>,
) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); CONTROL_SPACE];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fits = (fds.is_empty() || control.push(SendAncillaryMessage::ScmRights(fds)))
        && credentials.is_none_or(|it| control.push(SendAncillaryMessage::ScmCredentials(it)));
    if !fits || bytes.len() > MESSAGE_MAX {
        return Err(Errno::MSGSIZE.into());
    }
    let parts = [IoSlice::new(bytes)];
    rustix::net::sendmsg(socket, &parts, &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

fn receive(socket: &OwnedFd) -> io::Result<Option<Datagram>> {
    let mut bytes = vec![0; MESSAGE_MAX];
    let mut space = [MaybeUninit::uninit(); CONTROL_SPACE];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let got = match rustix::net::recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)
    {
        Err(Errno::CONNRESET) => return Ok(None),
        other => other?,
    };
    let mut datagram = Datagram {
        bytes: Vec::new(),
        fds: Vec::new(),
        pid: None,
    };
    for message in control.drain() {
        match message {
            RecvAncillaryMessage::ScmRights(fds) => datagram.fds.extend(fds),
            RecvAncillaryMessage::ScmCredentials(sender) => {
                datagram.pid = u32::try_from(sender.pid.as_raw_nonzero().get()).ok();
            }
            _ => {}
        }
    }
    if got
        .flags
        .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
    {
        return Err(Errno::MSGSIZE.into());
    }
    if got.bytes == 0 {
        return Ok(None);
    }
    bytes.truncate(got.bytes);
    // Most messages are short; the buffer is not.
    bytes.shrink_to_fit();
    datagram.bytes = bytes;
    Ok(Some(datagram))
}

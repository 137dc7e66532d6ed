//! Descriptors in the runtime's reactor.

#![expect(
    unsafe_code,
    reason = "tokio wants the promise that a descriptor stays what it is"
)]

use std::io;
use std::os::fd::OwnedFd;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use tokio::io::unix::AsyncFd;

/// Made non-blocking, and watched.
pub(crate) fn register(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL)?);
    fcntl(&fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    // SAFETY: an `OwnedFd` keeps its one descriptor open until it is dropped, and the `AsyncFd`
    // that owns it only lends it out by shared reference.
    let registered = unsafe { AsyncFd::register(fd) };
    registered.map_err(io::Error::from)
}

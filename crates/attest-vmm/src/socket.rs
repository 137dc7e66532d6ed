//! Streams between the driver and what it starts.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as Socket;

use tokio::net::UnixStream;

/// Our end of a socket pair, and that of the program.
pub(crate) fn pair() -> io::Result<(UnixStream, OwnedFd)> {
    let (near, far) = Socket::pair()?;
    near.set_nonblocking(true)?;
    Ok((UnixStream::from_std(near)?, far.into()))
}

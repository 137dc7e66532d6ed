//! A container's console: a pseudo-terminal that systemd-nspawn takes for its own.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as Socket;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::pty::{OpenptyResult, openpty};
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};
use tokio::net::UnixStream;

/// Threads that only carry bytes need little.
const STACK: usize = 64 * 1024;
const CHUNK: usize = 16 * 1024;

/// Both ends of it.
#[derive(Debug)]
pub(super) struct Terminal {
    /// For systemd-nspawn.
    pub(super) guest: OwnedFd,
    /// For us.
    pub(super) driver: Driver,
}

/// Our end.
#[derive(Debug)]
pub(super) struct Driver(OwnedFd);

impl Terminal {
    /// A new one, which changes nothing of what goes through it.
    pub(super) fn open() -> io::Result<Self> {
        let OpenptyResult { master, slave } = openpty(None, None)?;
        let mut settings = tcgetattr(&slave)?;
        cfmakeraw(&mut settings);
        tcsetattr(&slave, SetArg::TCSANOW, &settings)?;
        // No program of ours may inherit it: it would hide the container's end.
        for end in [&master, &slave] {
            fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        }
        Ok(Self {
            guest: slave,
            driver: Driver(master),
        })
    }
}

impl Driver {
    /// As a stream that ends with the container. A terminal has no asynchronous form, so two
    /// threads carry its bytes.
    pub(super) fn carry(self) -> io::Result<UnixStream> {
        let (ours, theirs) = Socket::pair()?;
        theirs.set_nonblocking(true)?;
        let (from_guest, mut to_guest) = (File::from(self.0.try_clone()?), File::from(self.0));
        let mut typed = ours.try_clone()?;
        thread("console-out", move || show(from_guest, &ours))?;
        thread("console-in", move || {
            // Ends with either side.
            let _ = io::copy(&mut typed, &mut to_guest);
        })?;
        UnixStream::from_std(theirs)
    }
}

fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let builder = std::thread::Builder::new().name(name.to_owned());
    builder.stack_size(STACK).spawn(work).map(drop)
}

/// A driver that is gone must not stop the guest: then what it prints is dropped.
fn show(mut guest: File, mut driver: &Socket) {
    let mut chunk = [0; CHUNK];
    // An error (EIO) is the end: nobody has the other end any more.
    while let Ok(count @ 1..) = guest.read(&mut chunk) {
        let _ = driver.write_all(&chunk[..count]);
    }
    let _ = driver.shutdown(std::net::Shutdown::Both);
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn bytes_pass_as_they_are_and_the_end_is_seen() {
        let Terminal { guest, driver } = Terminal::open().unwrap();
        let mut stream = driver.carry().unwrap();
        let mut guest = File::from(guest);
        stream.write_all(b"\x03typed\r").await.unwrap();
        let mut typed = [0; 7];
        guest.read_exact(&mut typed).unwrap();
        assert_eq!(&typed, b"\x03typed\r");
        let all: Vec<u8> = (0..=255).collect();
        guest.write_all(&all).unwrap();
        drop(guest);
        let mut shown = Vec::new();
        stream.read_to_end(&mut shown).await.unwrap();
        assert_eq!(shown, all);
    }
}

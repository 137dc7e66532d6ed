//! The serial console of a VMM that has it on its stdin and stdout, or on a socket.

use std::io;
use std::os::fd::OwnedFd;

use nix::fcntl::{FcntlArg, fcntl};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;

use crate::qemu::console::{Watch, tee};

/// Bytes that a VMM can write before anybody reads; what does not fit, some drop. The most that Linux gives a user who
/// is not root (`fs.pipe-max-size`), which is two seconds of the fastest guest.
const ROOM: i32 = 1 << 20;

/// The ends of a console that goes through two pipes.
pub(crate) struct Pipes {
    /// For the VMM's stdin and stdout.
    pub(crate) theirs: (OwnedFd, OwnedFd),
    typed: pipe::Sender,
    printed: pipe::Receiver,
}

impl Pipes {
    pub(crate) fn new() -> io::Result<Self> {
        let (input, typed) = io::pipe()?;
        let (printed, output) = io::pipe()?;
        let printed = OwnedFd::from(printed);
        // Who may not have more has the default, of 64 KiB.
        let _ = fcntl(&printed, FcntlArg::F_SETPIPE_SZ(ROOM));
        Ok(Self {
            theirs: (input.into(), output.into()),
            typed: pipe::Sender::from_owned_fd(typed.into())?,
            printed: pipe::Receiver::from_owned_fd(printed)?,
        })
    }
}

/// What a driver has of a console: its own end, and what is announced there.
pub(crate) struct Console {
    pub(crate) drivers: UnixStream,
    pub(crate) watch: Watch,
}

impl Console {
    /// Read from now on, as fast as it is printed.
    pub(crate) fn follow(typed: pipe::Sender, printed: pipe::Receiver) -> io::Result<Self> {
        let (ours, drivers) = UnixStream::pair()?;
        Ok(Self {
            drivers,
            watch: tee(printed, typed, ours),
        })
    }

    /// Through pipes.
    pub(crate) fn of_pipes(pipes: Pipes) -> io::Result<(Self, (OwnedFd, OwnedFd))> {
        let Pipes {
            theirs,
            typed,
            printed,
        } = pipes;
        Ok((Self::follow(typed, printed)?, theirs))
    }
}

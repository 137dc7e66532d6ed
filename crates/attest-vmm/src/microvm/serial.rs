//! The serial console of a VMM that has it on its stdin and stdout.

use std::io;
use std::os::fd::OwnedFd;

use nix::fcntl::{FcntlArg, fcntl};
use rustix::io::ioctl_fionbio;
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
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
        Self::typed_by(input.into(), pipe::Sender::from_owned_fd(typed.into())?)
    }

    /// For a VMM that listens to its stdin only where that is a terminal.
    pub(crate) fn with_terminal() -> io::Result<Self> {
        let (typed, input) = terminal()?;
        // It is none, but read and written like one.
        Self::typed_by(input, pipe::Sender::from_owned_fd_unchecked(typed)?)
    }

    fn typed_by(input: OwnedFd, typed: pipe::Sender) -> io::Result<Self> {
        let (printed, output) = io::pipe()?;
        let printed = OwnedFd::from(printed);
        // Who may not have more has the default, of 64 KiB.
        let _ = fcntl(&printed, FcntlArg::F_SETPIPE_SZ(ROOM));
        Ok(Self {
            theirs: (input, output.into()),
            typed,
            printed: pipe::Receiver::from_owned_fd(printed)?,
        })
    }
}

/// A terminal that changes nothing of what is typed there: our end, which does not block, and the program's.
fn terminal() -> io::Result<(OwnedFd, OwnedFd)> {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&ours)?;
    unlockpt(&ours)?;
    let theirs = ioctl_tiocgptpeer(
        &ours,
        OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC,
    )?;
    let mut modes = tcgetattr(&theirs)?;
    modes.make_raw();
    tcsetattr(&theirs, OptionalActions::Now, &modes)?;
    ioctl_fionbio(&ours, true)?;
    Ok((ours, theirs))
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

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_terminal_passes_every_byte_on_and_none_back() {
        let pipes = Pipes::with_terminal().unwrap();
        let (mut console, (input, output)) = Console::of_pipes(pipes).unwrap();
        let mut input = std::fs::File::from(input);
        let mut output = std::fs::File::from(output);
        let all: Vec<u8> = (0..=255).collect();
        console.drivers.write_all(&all).await.unwrap();
        let read = tokio::task::spawn_blocking(move || {
            let mut read = [0; 256];
            input.read_exact(&mut read).unwrap();
            output.write_all(b"said").unwrap();
            read
        });
        assert_eq!(&read.await.unwrap()[..], &all[..]);
        let mut said = Vec::new();
        console.drivers.read_to_end(&mut said).await.unwrap();
        assert_eq!(said, b"said");
    }
}

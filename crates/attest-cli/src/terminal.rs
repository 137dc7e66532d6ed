//! The terminal that attest itself runs on: its colours, its size, its raw mode.

use std::io::{IsTerminal, stderr, stdin, stdout};
use std::os::fd::{AsFd, BorrowedFd};

use attest::TerminalSize;
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

use crate::failure::Failure;

/// Whether stderr takes colours.
pub(crate) fn stderr_has_color() -> bool {
    anstream::AutoStream::choice(&stderr()) != anstream::ColorChoice::Never
}

/// Whether a person sits at stdin and stdout.
pub(crate) fn is_interactive() -> bool {
    stdin().is_terminal() && stdout().is_terminal()
}

/// The terminal's size; 24 × 80, the size of a VT100, where it has none.
pub(crate) fn size() -> TerminalSize {
    let size = terminal_size::terminal_size_of(stdout());
    let (columns, rows) = size.map_or((80, 24), |(width, height)| (width.0, height.0));
    TerminalSize { rows, columns }
}

/// Raw mode on stdin until dropped: every key goes to the guest, Ctrl-C too.
#[derive(Debug)]
pub(crate) struct RawMode {
    before: Termios,
}

impl RawMode {
    pub(crate) fn enter() -> nix::Result<Self> {
        let before = tcgetattr(stdin().as_fd())?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(stdin().as_fd(), SetArg::TCSANOW, &raw)?;
        Ok(Self { before })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        let input = stdin();
        let fd: BorrowedFd<'_> = input.as_fd();
        // The shell that gets the terminal back sets it anew at worst.
        let _ = tcsetattr(fd, SetArg::TCSANOW, &self.before);
    }
}

/// Print what a command is for to stdout; colours only where it has some. A reader that has seen enough is no error.
pub(crate) fn print(text: impl AsRef<[u8]>) -> Result<(), Failure> {
    use std::io::Write as _;
    match anstream::AutoStream::auto(stdout()).write_all(text.as_ref()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(
            Failure::infrastructure(format!("error: stdout cannot be written: {error}")),
        ),
        _ => Ok(()),
    }
}

/// Print a line to stderr. The exit code says the same where nothing can be printed.
pub(crate) fn tell(line: &str) {
    use std::io::Write as _;
    let _ = writeln!(anstream::stderr(), "{line}");
}

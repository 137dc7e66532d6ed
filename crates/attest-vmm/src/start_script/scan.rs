//! What the output of a container's start script says of it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::watch;

/// What was said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// Which process is systemd-nspawn, as the script numbers processes.
    pub(super) monitor: Option<u32>,
    /// Whether the container's init runs.
    pub(super) is_up: bool,
}

/// Longest line that is looked at, bytes.
const LONGEST: usize = 1024;
/// By this a script says which process it becomes, or started.
const MONITOR: &str = "systemd-nspawn's PID is ";
/// By one of these systemd says that it runs.
const UP: [&str; 2] = ["Welcome to ", "systemd[1]: Startup finished in"];

/// Hands on what is read, and looks at it.
pub(super) struct Scanned<R> {
    inner: R,
    line: Vec<u8>,
    said: watch::Sender<Said>,
}

impl<R> Scanned<R> {
    pub(super) fn new(inner: R) -> (Self, watch::Receiver<Said>) {
        let (said, receiver) = watch::channel(Said::default());
        let scanned = Self {
            inner,
            line: Vec::new(),
            said,
        };
        (scanned, receiver)
    }

    fn look(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = LONGEST.saturating_sub(self.line.len());
            self.line.extend_from_slice(&piece[..piece.len().min(room)]);
            if piece.ends_with(b"\n") {
                let line = String::from_utf8_lossy(&self.line).into_owned();
                self.said.send_if_modified(|said| said.take(&line));
                self.line.clear();
            }
        }
    }
}

impl Said {
    /// Take a line in; whether that was news. A later boot is told like the first.
    fn take(&mut self, line: &str) -> bool {
        let before = *self;
        if let Some(number) = line.strip_prefix(MONITOR) {
            self.monitor = number.trim().parse().ok();
        }
        self.is_up |= self.monitor.is_some() && UP.iter().any(|up| line.contains(up));
        *self != before
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Scanned<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(context, buffer))?;
        let fresh = buffer.filled()[before..].to_vec();
        self.look(&fresh);
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn the_monitor_and_the_start_of_the_init_are_found() {
        let text = "before\nsystemd-nspawn's PID is 42\nSpawning container a on /x.\n\
                    Welcome to \u{1b}[0;34mNixOS 25.11\u{1b}[0m!\nrest";
        let (mut scanned, mut said) = Scanned::new(text.as_bytes());
        let mut read = String::new();
        scanned.read_to_string(&mut read).await.unwrap();
        assert_eq!(read, text, "it is handed on as it is");
        let expected = Said {
            monitor: Some(42),
            is_up: true,
        };
        assert_eq!(*said.borrow_and_update(), expected);
        // Without a number there is nothing to enter.
        let (mut scanned, said) = Scanned::new("Welcome to nowhere\n".as_bytes());
        scanned.read_to_string(&mut read).await.unwrap();
        assert_eq!(*said.borrow(), Said::default());
    }
}

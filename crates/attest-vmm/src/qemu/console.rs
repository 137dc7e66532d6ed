//! The console between QEMU and the driver: passed on byte for byte, and watched for the lines
//! with which a kernel announces its end.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::{Notify, watch};

/// How long a panicking kernel may take to print its trace and to reset, before it is taken for
/// one that stays. With `panic=-1` it resets at once.
pub(crate) const PANIC_TAKES: Duration = Duration::from_secs(5);

/// What the guest's kernel announced.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Announced {
    /// It panicked, with its first message.
    pub(crate) panic: Option<String>,
    /// How often it announced a reset. Counted, for reboots may be allowed.
    pub(crate) resets: u32,
    /// It is off, or halted: nothing follows.
    pub(crate) off: bool,
}

impl Announced {
    /// Take a line in; whether that was news.
    fn take(&mut self, line: &str) -> bool {
        // At the start of the line, or after the kernel's time stamp, which may itself follow
        // what a program left on the line.
        let after = |text: &str| {
            let at = line.find(text)?;
            (at == 0 || line[..at].ends_with("] ")).then(|| &line[at + text.len()..])
        };
        let any = |texts: &[&str]| texts.iter().any(|text| after(text).is_some());
        if let Some(message) = after(PANIC) {
            let news = self.panic.is_none();
            self.panic.get_or_insert_with(|| message.to_owned());
            news
        } else if any(&["reboot: Restarting system", "sysrq: Resetting"]) {
            self.resets += 1;
            true
        } else if any(&["reboot: Power down", "reboot: System halted"]) {
            !std::mem::replace(&mut self.off, true)
        } else {
            false
        }
    }
}

const PANIC: &str = "Kernel panic - not syncing: ";

/// Bytes that wait for a slow driver before QEMU has to wait, too.
const WAITING: usize = 256 * 1024;

/// Watches a console until its end.
#[derive(Debug)]
pub(crate) struct Watch {
    announced: watch::Receiver<Announced>,
    ended: watch::Receiver<bool>,
    gone: Arc<Notify>,
}

impl Watch {
    /// What was announced, once the console has been read to its end. To be called when QEMU is
    /// gone: from here on nothing waits for the driver.
    pub(crate) async fn at_end(&self) -> Announced {
        self.gone.notify_one();
        let mut ended = self.ended.clone();
        // An error would mean that nothing reads any more.
        let _ = ended.wait_for(|ended| *ended).await;
        self.announced.borrow().clone()
    }

    /// Changes with each announcement.
    pub(crate) fn announced(&self) -> watch::Receiver<Announced> {
        self.announced.clone()
    }
}

/// Stand between QEMU's console, what it prints and what is typed, and the driver's end of it.
pub(crate) fn tee<R, W>(output: R, mut input: W, drivers: UnixStream) -> Watch
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let (sender, announced) = watch::channel(Announced::default());
    let (ended_sender, ended) = watch::channel(false);
    let gone = Arc::new(Notify::new());
    let (mut typed, shown) = drivers.into_split();
    let tee = Tee {
        output,
        shown,
        gone: Arc::clone(&gone),
        lines: Lines::default(),
        announced: sender,
    };
    tokio::spawn(async move {
        let typing = tokio::spawn(async move {
            // Ends with either side.
            let _ = tokio::io::copy(&mut typed, &mut input).await;
        });
        tee.run(ended_sender).await;
        typing.abort();
    });
    Watch {
        announced,
        ended,
        gone,
    }
}

struct Tee<R> {
    output: R,
    shown: OwnedWriteHalf,
    gone: Arc<Notify>,
    lines: Lines,
    announced: watch::Sender<Announced>,
}

impl<R: AsyncRead + Unpin> Tee<R> {
    async fn run(mut self, ended: watch::Sender<bool>) {
        let mut waiting = Vec::new();
        let mut fresh = vec![0; 16 * 1024];
        let (mut reading, mut last) = (true, false);
        while reading {
            let room = last || waiting.len() < WAITING;
            tokio::select! {
                // What was said before the end is read before the end is believed.
                biased;
                read = self.output.read(&mut fresh), if room => {
                    let read = &fresh[..read.unwrap_or(0)];
                    reading = !read.is_empty();
                    self.lines.push(read, &self.announced);
                    waiting.extend_from_slice(read);
                }
                written = self.shown.write(&waiting), if !waiting.is_empty() && !last => match written {
                    Ok(count) => drop(waiting.drain(..count)),
                    // A driver that is gone must not stop the guest.
                    Err(_) => waiting.clear(),
                },
                // The rest is what the socket holds: bounded, so it need not wait for anyone.
                () = self.gone.notified(), if !last => last = true,
            }
        }
        self.lines.line_ended(&self.announced);
        ended.send_replace(true);
        let _ = self.shown.write_all(&waiting).await;
    }
}

/// Finds announcements in pieces of text.
#[derive(Default)]
struct Lines {
    line: Vec<u8>,
}

impl Lines {
    /// Longest line that is looked at, in bytes.
    const LONGEST: usize = 1024;

    fn push(&mut self, bytes: &[u8], sender: &watch::Sender<Announced>) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = Self::LONGEST.saturating_sub(self.line.len());
            self.line.extend_from_slice(&piece[..piece.len().min(room)]);
            if piece.ends_with(b"\n") {
                self.line_ended(sender);
            }
        }
    }

    fn line_ended(&mut self, sender: &watch::Sender<Announced>) {
        let line = String::from_utf8_lossy(&self.line);
        sender.send_if_modified(|announced| announced.take(line.trim()));
        self.line.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch_text(pieces: &[&str]) -> Announced {
        let (sender, receiver) = watch::channel(Announced::default());
        let mut lines = Lines::default();
        for piece in pieces {
            lines.push(piece.as_bytes(), &sender);
        }
        receiver.borrow().clone()
    }

    #[test]
    fn a_panic_is_seen_whatever_stands_around_it() {
        let panic = |text: &[&str]| watch_text(text).panic;
        let text = [
            "[ 1.0] Kernel panic - not syn",
            "cing: sysrq triggered crash\r\n",
            "Kernel panic - not syncing: again\n",
        ];
        assert_eq!(panic(&text).as_deref(), Some("sysrq triggered crash"));
        assert_eq!(
            panic(&["login: [    9.1] Kernel panic - not syncing: Oops\n"]).as_deref(),
            Some("Oops")
        );
    }

    #[test]
    fn only_the_kernel_announces() {
        for text in [
            "login: \n",
            "it said Kernel panic - not syncing: no\n",
            "grep 'reboot: Power down' log\n",
            "\u{fffd}\n",
        ] {
            assert_eq!(watch_text(&[text]), Announced::default(), "{text}");
        }
        assert!(watch_text(&["reboot: Power down\n"]).off);
        let twice = [
            "[ 3.1] reboot: Restarting system\n",
            "[ 4.1] reboot: Restarting system with command 'x'\n",
        ];
        assert_eq!(watch_text(&twice).resets, 2);
    }

    #[tokio::test]
    async fn the_end_does_not_wait_for_a_driver_that_does_not_read() {
        let (mut guest, qemu) = UnixStream::pair().unwrap();
        let (ours, mut driver) = UnixStream::pair().unwrap();
        let (output, input) = qemu.into_split();
        let watch = tee(output, input, ours);
        let text = "x".repeat(1 << 20) + "\nKernel panic - not syncing: late\n";
        let writing = async {
            // More than all buffers hold: QEMU is still writing when it is over.
            guest.write_all(text.as_bytes()).await.unwrap();
            drop(guest);
        };
        let (announced, ()) = tokio::join!(watch.at_end(), writing);
        assert_eq!(announced.panic.as_deref(), Some("late"));
        let mut shown = Vec::new();
        driver.read_to_end(&mut shown).await.unwrap();
        assert_eq!(shown.len(), text.len());
    }
}

//! The console between QEMU and the driver: passed on byte for byte, and watched for the lines
//! with which a kernel announces its end.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::VmmError;

/// What the guest's kernel or agent announced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Announced {
    /// Nothing yet.
    Nothing,
    /// The kernel panicked, with its message.
    Panic(String),
    /// A reset follows.
    Reset,
    /// It is off, or halted: nothing follows.
    Off,
}

/// Watches a console until its end.
#[derive(Debug)]
pub(super) struct Watch {
    announced: watch::Receiver<Announced>,
    reading: Mutex<Option<JoinHandle<()>>>,
}

const PANIC: &str = "Kernel panic - not syncing: ";

fn announcement(line: &str) -> Option<Announced> {
    if let Some(at) = line.find(PANIC) {
        return Some(Announced::Panic(line[at + PANIC.len()..].trim_end().to_owned()));
    }
    if line.contains("reboot: Restarting system") || line.contains("attest: reboot") {
        return Some(Announced::Reset);
    }
    let off = ["reboot: Power down", "reboot: System halted", "attest: power off"];
    off.iter().any(|text| line.contains(text)).then_some(Announced::Off)
}

impl Watch {
    /// What was announced, once the console has been read to its end.
    pub(super) async fn at_end(&self) -> Announced {
        let reading = self.reading.lock().expect("not poisoned").take();
        if let Some(reading) = reading {
            let _ = reading.await;
        }
        self.announced.borrow().clone()
    }

    /// Resolves when the guest is off although its VMM still runs.
    pub(super) fn announced(&self) -> watch::Receiver<Announced> {
        self.announced.clone()
    }
}

/// Stand between QEMU's console and the driver's end of it.
pub(super) fn tee(qemu: UnixStream, machine: &str) -> Result<(Arc<Watch>, UnixStream), VmmError> {
    let (ours, drivers) = UnixStream::pair()
        .map_err(|source| VmmError::Host { machine: machine.to_owned(), action: "a socket pair cannot be made", source })?;
    let (sender, announced) = watch::channel(Announced::Nothing);
    let reading = tokio::spawn(async move {
        let (mut output, mut input) = qemu.into_split();
        let (mut typed, mut shown) = ours.into_split();
        let typing = tokio::spawn(async move {
            // Ends with either side.
            let _ = tokio::io::copy(&mut typed, &mut input).await;
        });
        let mut lines = Lines::default();
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(count @ 1..) = output.read(&mut buffer).await {
            lines.push(&buffer[..count], &sender);
            // A driver that no longer reads must not stop the guest.
            let _ = shown.write_all(&buffer[..count]).await;
        }
        typing.abort();
    });
    Ok((Arc::new(Watch { announced, reading: Mutex::new(Some(reading)) }), drivers))
}

/// Finds announcements in pieces of text.
#[derive(Default)]
struct Lines {
    line: Vec<u8>,
}

impl Lines {
    /// Longest line that is looked at.
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
        let found = announcement(&String::from_utf8_lossy(&self.line));
        self.line.clear();
        let Some(found) = found else { return };
        sender.send_if_modified(|announced| {
            // A panic stays one, whatever its reboot prints.
            let news = !matches!(announced, Announced::Panic(_)) && *announced != found;
            if news {
                *announced = found;
            }
            news
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch_text(pieces: &[&str]) -> Announced {
        let (sender, receiver) = watch::channel(Announced::Nothing);
        let mut lines = Lines::default();
        for piece in pieces {
            lines.push(piece.as_bytes(), &sender);
        }
        receiver.borrow().clone()
    }

    #[test]
    fn a_panic_is_seen_whatever_follows() {
        let text = ["[ 1.0] Kernel panic - not syn", "cing: sysrq triggered crash\r\n", "reboot: Restarting system\n"];
        assert_eq!(watch_text(&text), Announced::Panic("sysrq triggered crash".to_owned()));
    }

    #[test]
    fn ordinary_text_announces_nothing() {
        assert_eq!(watch_text(&["login: \n", "the kernel did not panic\n"]), Announced::Nothing);
        assert_eq!(watch_text(&["reboot: Power down\n"]), Announced::Off);
        assert_eq!(watch_text(&["[ 3.1] reboot: Restarting system\n"]), Announced::Reset);
    }
}

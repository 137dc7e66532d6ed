//! What a VMM gives its guest: memory, a serial port, and processors that run or stand still.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::watch;

use super::vsock::Vsock;

/// Bytes.
pub(crate) const PAGE: usize = 4096;

/// A guest's memory, and what of it the guest has touched.
#[derive(Debug)]
pub(crate) struct Memory {
    bytes: Vec<u8>,
    touched: BTreeSet<usize>,
}

impl Memory {
    pub(crate) fn new(bytes: usize) -> Self {
        Self {
            bytes: vec![0; bytes],
            touched: BTreeSet::new(),
        }
    }

    /// As in a file, which must have all of it.
    pub(crate) fn load(file: &File, bytes: usize) -> io::Result<Self> {
        let mut memory = Self::new(bytes);
        file.read_exact_at(&mut memory.bytes, 0)?;
        Ok(memory)
    }

    /// The same, where it need not have all: the rest is zero, or whoever looks at it is ended.
    pub(crate) fn load_what_there_is(file: &File, bytes: usize) -> io::Result<Self> {
        let mut memory = Self::new(bytes);
        let mut at = 0;
        while let count @ 1.. = file.read_at(&mut memory.bytes[at..], at as u64)? {
            at += count;
        }
        Ok(memory)
    }

    /// The guest writes text into a page.
    pub(crate) fn write(&mut self, page: usize, text: &[u8]) {
        let at = page * PAGE;
        self.bytes[at..at + PAGE].fill(0);
        self.bytes[at..at + text.len()].copy_from_slice(text);
        self.touched.insert(page);
    }

    /// The text in a page.
    pub(crate) fn read(&self, page: usize) -> &[u8] {
        let page = &self.bytes[page * PAGE..][..PAGE];
        let end = page.iter().position(|byte| *byte == 0).unwrap_or(PAGE);
        &page[..end]
    }

    /// Write all of it.
    pub(crate) fn save(&self, file: &File) -> io::Result<()> {
        file.write_all_at(&self.bytes, 0)
    }

    /// Write what was touched. What else is in the file stays.
    pub(crate) fn save_touched(&self, file: &File) -> io::Result<()> {
        self.touched.iter().try_for_each(|page| {
            let at = page * PAGE;
            file.write_all_at(&self.bytes[at..at + PAGE], at as u64)
        })
    }
}

/// How a guest ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GuestEnd {
    /// It tells its board that it is off.
    Off,
    /// It is reset: by itself, or by a triple fault.
    Reset,
    /// Its VMM ends with this exit code, whatever the guest did.
    Breaks(i32),
}

/// What one guest has.
#[derive(Clone)]
pub(crate) struct Board {
    pub(crate) runs: watch::Receiver<bool>,
    pub(crate) memory: Arc<Mutex<Memory>>,
    pub(crate) serial: Serial,
    /// What is typed to it.
    pub(crate) typed: Arc<tokio::sync::Mutex<Option<pipe::Receiver>>>,
    pub(crate) vsock: Option<Arc<Vsock>>,
    /// What its VMM does when the guest is at its end.
    pub(crate) ends: Arc<dyn Fn(GuestEnd) + Send + Sync>,
    /// Whether a guest that goes on is told nothing of that: then its agent waits until it is called.
    pub(crate) is_called: bool,
    /// The guest writes to this address that it has booted.
    pub(crate) booted: Arc<dyn Fn(u64) + Send + Sync>,
    /// Of its kernel.
    pub(crate) command_line: String,
}

impl Board {
    /// Until its processors run.
    pub(crate) async fn runs(&self) {
        let mut runs = self.runs.clone();
        // The VMM ends, and the guest with it.
        let _ = runs.wait_for(|runs| *runs).await;
    }

    /// Print what is typed, as a terminal does.
    pub(crate) async fn echo(&self) {
        let mut typed = self.typed.lock().await;
        let Some(typed) = &mut *typed else {
            return;
        };
        let mut bytes = [0; 256];
        while let Ok(count @ 1..) = typed.read(&mut bytes).await {
            self.runs().await;
            self.serial.print(&bytes[..count]);
        }
    }

    /// Nothing follows.
    pub(crate) async fn end(&self, end: GuestEnd) -> ! {
        (self.ends)(end);
        std::future::pending().await
    }
}

/// A serial port whose other side is a VMM's stdout.
#[derive(Clone)]
pub(crate) struct Serial(Arc<File>);

impl Serial {
    /// Fact: it puts `O_NONBLOCK` on stdout's open file description.
    pub(crate) fn on(output: OwnedFd) -> Self {
        fcntl(&output, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        Self(Arc::new(output.into()))
    }

    /// Fact: a full pipe loses output silently. Byte for byte, as a guest's driver writes it, but in one piece.
    pub(crate) fn print(&self, text: &[u8]) {
        let mut rest = text;
        while !rest.is_empty() {
            match (&*self.0).write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(_) => return,
            }
        }
    }
}

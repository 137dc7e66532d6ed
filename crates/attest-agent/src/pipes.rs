//! Pipes and pseudo-terminals as asynchronous streams.

use std::cell::RefCell;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;

use bytes::Bytes;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use tokio::io::unix::AsyncFd;

use crate::async_fd::register;

/// Read at once: a pipe's default capacity, and one full frame.
const CHUNK: usize = 64 * 1024;

thread_local! {
    /// Read into by all streams in turn: fresh memory for each read would cost the emulated guest
    /// more than the copy out of this one.
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; CHUNK].into_boxed_slice());
}

/// A pipe that a program writes to: our end, and its.
pub(crate) fn from_program() -> io::Result<(PipeReader, OwnedFd)> {
    let (reader, writer) = io::pipe()?;
    Ok((PipeReader::new(reader.into())?, writer.into()))
}

/// A pipe of which the next program that is started inherits the writing end, with its number: our end, and its.
pub(crate) fn inherited() -> io::Result<(PipeReader, OwnedFd)> {
    let (reader, end) = from_program()?;
    fcntl(&end, FcntlArg::F_SETFD(FdFlag::empty()))?;
    Ok((reader, end))
}

/// A pipe that a program reads from: its end, and ours.
pub(crate) fn to_program() -> io::Result<(OwnedFd, PipeWriter)> {
    let (reader, writer) = io::pipe()?;
    Ok((reader.into(), PipeWriter::new(writer.into())?))
}

/// The reading end.
#[derive(Debug)]
pub(crate) struct PipeReader(AsyncFd<OwnedFd>);

impl PipeReader {
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        register(fd).map(Self)
    }

    /// The next bytes; `None` at the end. Cancel-safe.
    pub(crate) async fn read(&self) -> io::Result<Option<Bytes>> {
        loop {
            let mut ready = self.0.readable().await?;
            match ready.try_io(|fd| read(fd.get_ref())) {
                Ok(result) => return result,
                Err(_would_block) => {}
            }
        }
    }

    /// What is there now: `Err(WouldBlock)` when nothing is, but more may come.
    pub(crate) fn read_now(&self) -> io::Result<Option<Bytes>> {
        read(self.0.get_ref())
    }

    /// Who else still holds the other end, as `pid name`.
    pub(crate) fn holders(&self) -> Vec<String> {
        let Ok(own) = nix::sys::stat::fstat(self.0.get_ref()) else {
            return Vec::new();
        };
        let link = format!("pipe:[{}]", own.st_ino);
        let mut holders = Vec::new();
        for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let name = process.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            if pid == std::process::id() {
                continue;
            }
            let mut fds = fs::read_dir(process.path().join("fd"))
                .into_iter()
                .flatten()
                .flatten();
            if fds.any(|fd| {
                fs::read_link(fd.path()).is_ok_and(|target| target.as_os_str() == link.as_str())
            }) {
                let comm = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
                holders.push(format!("{pid} {}", comm.trim()));
            }
        }
        holders
    }
}

fn read(fd: &OwnedFd) -> io::Result<Option<Bytes>> {
    match read_shared(fd, CHUNK, Bytes::copy_from_slice) {
        // A pseudo-terminal whose last user is gone answers so.
        Err(Errno::EIO) => Ok(None),
        Ok(bytes) => Ok(Some(bytes).filter(|bytes| !bytes.is_empty())),
        Err(error) => Err(error.into()),
    }
}

/// Read up to this many bytes into the shared buffer, and use them there; none at the end.
pub(crate) fn read_shared<T>(
    fd: &OwnedFd,
    most: usize,
    take: impl FnOnce(&[u8]) -> T,
) -> nix::Result<T> {
    BUFFER.with_borrow_mut(|buffer| {
        let count = nix::unistd::read(fd, &mut buffer[..most.min(CHUNK)])?;
        Ok(take(&buffer[..count]))
    })
}

/// The writing end. Closed by dropping.
#[derive(Debug)]
pub(crate) struct PipeWriter(AsyncFd<OwnedFd>);

impl PipeWriter {
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        register(fd).map(Self)
    }

    /// Write some of the bytes. Cancel-safe.
    pub(crate) async fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.0.writable().await?;
            match ready.try_io(|fd| Ok(nix::unistd::write(fd.get_ref(), bytes)?)) {
                Ok(result) => return result,
                Err(_would_block) => {}
            }
        }
    }

    /// Write all of it now; false when there is no room or no reader.
    pub(crate) fn write_now(&self, bytes: &[u8]) -> bool {
        nix::unistd::write(self.0.get_ref(), bytes) == Ok(bytes.len())
    }
}

//! Names for files that have none, for as long as the kernel wants one: it shows no others elsewhere.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{AtFlags, CWD, OFlags, linkat};

/// An open file that has a name now.
pub(crate) enum Named<'a> {
    /// It had one.
    Already(BorrowedFd<'a>),
    /// It has one until this is dropped, some microseconds later. It can be given none again.
    ForNow(File, PathBuf),
}

impl<'a> Named<'a> {
    pub(crate) fn of(file: BorrowedFd<'a>) -> io::Result<Self> {
        /// Names so far, so that none is given twice.
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let itself = File::from(file.try_clone_to_owned()?);
        if itself.metadata()?.nlink() > 0 {
            return Ok(Self::Already(file));
        }
        let link = format!("/proc/self/fd/{}", file.as_raw_fd());
        // Of a file without a name the kernel still tells where it is: `/directory/#inode (deleted)`.
        let place = fs::read_link(&link)?;
        let directory = place.parent().unwrap_or(Path::new("/"));
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = directory.join(format!(".attest-{}-{number}", std::process::id()));
        linkat(CWD, &link, CWD, &name, AtFlags::SYMLINK_FOLLOW)?;
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        // Opened by that name, for what is open already still has none.
        let opened = rustix::fs::open(&name, flags, rustix::fs::Mode::empty());
        let named = opened.map(|file| Self::ForNow(file.into(), name.clone()));
        named.map_err(|errno| {
            let _ = fs::remove_file(&name);
            errno.into()
        })
    }

    pub(crate) fn file(&self) -> BorrowedFd<'_> {
        match self {
            Self::Already(file) => *file,
            Self::ForNow(file, _) => file.as_fd(),
        }
    }
}

impl Drop for Named<'_> {
    fn drop(&mut self) {
        if let Self::ForNow(_, name) = self {
            let _ = fs::remove_file(name);
        }
    }
}

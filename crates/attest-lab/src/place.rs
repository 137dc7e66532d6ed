//! What a lab has for one program: a directory, TAPs. It goes when nobody holds it any more.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::socket::Socket;
use crate::wire::{Order, Request, encode};

/// What takes something away from the lab again.
#[derive(Debug)]
pub(crate) struct Removal {
    pub(crate) socket: Arc<Socket>,
    pub(crate) request: Request,
}

impl Drop for Removal {
    fn drop(&mut self) {
        // A lab that is ending takes all with it.
        let _ = self.socket.send_now(&encode(&self.request));
    }
}

impl Removal {
    pub(crate) fn new(socket: &Arc<Socket>, id: u32, order: Order) -> Self {
        Self {
            socket: Arc::clone(socket),
            request: Request { id, order },
        }
    }
}

/// A directory for one program: in a lab, which alone has it, or anywhere. That of a lab is removed when this is dropped.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    itself: OwnedFd,
    _removal: Option<Removal>,
}

impl Directory {
    pub(crate) fn of_lab(path: PathBuf, itself: OwnedFd, removal: Removal) -> Self {
        Self {
            path,
            itself,
            _removal: Some(removal),
        }
    }

    /// One that is there, and stays: for programs that are in no lab.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn existing(path: &Path) -> std::io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            itself: std::fs::File::open(path)?.into(),
            _removal: None,
        })
    }

    /// Where the program finds it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the driver finds what is in it: short, whatever the length of the path.
    pub fn entry(&self, name: &str) -> PathBuf {
        format!("/proc/self/fd/{}/{name}", self.itself.as_raw_fd()).into()
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.itself.as_fd()
    }
}

/// A TAP of a lab that stays until this is dropped: programs open it by its name.
#[derive(Debug)]
pub struct LastingTap {
    name: String,
    _removal: Option<Removal>,
}

impl LastingTap {
    pub(crate) fn of_lab(name: String, removal: Removal) -> Self {
        Self {
            name,
            _removal: Some(removal),
        }
    }

    /// One that is there, and stays.
    pub fn existing(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            _removal: None,
        }
    }

    /// As the program opens it.
    pub fn name(&self) -> &str {
        &self.name
    }
}

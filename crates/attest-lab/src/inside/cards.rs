//! Network namespaces of containers, with their cards in them: they are there before the
//! container is, and stay when it boots again.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use super::failed;
use crate::wire::Failure;

/// All of a lab's.
#[derive(Debug, Default)]
pub(super) struct Namespaces(HashMap<String, Namespace>);

/// That of one container.
#[derive(Debug)]
pub(super) struct Namespace {
    file: File,
    path: PathBuf,
    /// The other ends of its cards.
    pub(super) ports: Vec<String>,
}

impl Namespace {
    /// The name of the next card: as a virtual machine's kernel would name it.
    pub(super) fn next_card(&self) -> String {
        format!("eth{}", self.ports.len())
    }

    pub(super) fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Namespaces {
    /// A new one for the container of this name, below the directory; its path.
    pub(super) fn make(&mut self, name: &str, below: &Path) -> Result<PathBuf, Failure> {
        let path = below.join(name);
        let file = namespace(&path).map_err(failed("make the network namespace of a container"))?;
        let made = Namespace {
            file,
            path: path.clone(),
            ports: Vec::new(),
        };
        self.0.insert(name.to_owned(), made);
        Ok(path)
    }

    pub(super) fn get(&mut self, name: &str) -> Option<&mut Namespace> {
        self.0.get_mut(name)
    }

    /// The names of the other ends of a container's cards.
    pub(super) fn ports(&self, name: &str) -> Vec<String> {
        let of = self.0.get(name);
        of.map(|of| of.ports.clone()).unwrap_or_default()
    }

    /// The container has ended.
    pub(super) fn discard(&mut self, name: &str) {
        if let Some(was) = self.0.remove(name) {
            let _ = umount2(&was.path, MntFlags::MNT_DETACH);
            let _ = std::fs::remove_file(&was.path);
        }
    }
}

/// With its loopback switched on, kept by a mount at this path.
fn namespace(path: &Path) -> io::Result<File> {
    File::create_new(path)?;
    // A thread may have a network of its own, and end; the lab's stays as it is.
    let made = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            attest_net::loopback_up().map_err(io::Error::other)?;
            let own = Some("/proc/thread-self/ns/net");
            mount(own, path, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
            Ok(())
        });
        thread.join()
    });
    made.unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))
        .and_then(|()| File::open(path))
}

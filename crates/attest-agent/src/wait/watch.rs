//! inotify as a future.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::unix::AsyncFd;

/// Whatever can make a path begin to exist, change or vanish.
const EVERYTHING: AddWatchFlags = AddWatchFlags::IN_CREATE
    .union(AddWatchFlags::IN_MOVED_TO)
    .union(AddWatchFlags::IN_MOVED_FROM)
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_DELETE_SELF)
    .union(AddWatchFlags::IN_MOVE_SELF)
    .union(AddWatchFlags::IN_MODIFY)
    .union(AddWatchFlags::IN_CLOSE_WRITE)
    .union(AddWatchFlags::IN_ATTRIB);

#[derive(Debug)]
pub(super) struct Watch {
    inotify: Inotify,
    /// The same descriptor, for the reactor.
    events: AsyncFd<OwnedFd>,
}

impl Watch {
    pub(super) fn new() -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let events = crate::async_fd::register(inotify.as_fd().try_clone_to_owned()?)?;
        Ok(Self { inotify, events })
    }

    /// Watch this file or directory too.
    pub(super) fn add(&self, path: &Path) -> io::Result<()> {
        self.inotify.add_watch(path, EVERYTHING)?;
        Ok(())
    }

    /// Until something changed; everything that did since is taken.
    pub(super) async fn changed(&self) -> io::Result<()> {
        loop {
            let mut ready = self.events.readable().await?;
            let read = ready.try_io(|_| match self.inotify.read_events() {
                Err(Errno::EAGAIN) => Err(io::ErrorKind::WouldBlock.into()),
                other => Ok(other?),
            });
            if let Ok(events) = read {
                events?;
                return Ok(());
            }
        }
    }
}

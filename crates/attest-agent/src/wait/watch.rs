//! inotify as a future.

use std::cell::RefCell;
use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
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

thread_local! {
    /// Instances without watches. To close one takes the kernel 20 ms: it waits for all that may
    /// still look at its watches.
    static IDLE: RefCell<Vec<Rc<Inotify>>> = const { RefCell::new(Vec::new()) };
}

#[derive(Debug)]
pub(super) struct Watch {
    inotify: Rc<Inotify>,
    /// The same descriptor, for the reactor.
    events: AsyncFd<OwnedFd>,
    places: RefCell<HashSet<WatchDescriptor>>,
}

impl Watch {
    pub(super) fn new() -> io::Result<Self> {
        let inotify = match IDLE.with_borrow_mut(Vec::pop) {
            Some(inotify) => inotify,
            None => Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?.into(),
        };
        let events = crate::async_fd::register(inotify.as_fd().try_clone_to_owned()?)?;
        Ok(Self {
            inotify,
            events,
            places: RefCell::default(),
        })
    }

    /// Watch this file or directory too.
    pub(super) fn add(&self, path: &Path) -> io::Result<()> {
        let place = self.inotify.add_watch(path, EVERYTHING)?;
        self.places.borrow_mut().insert(place);
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

impl Drop for Watch {
    fn drop(&mut self) {
        for place in self.places.take() {
            // What was deleted is no longer watched.
            let _ = self.inotify.rm_watch(place);
        }
        while self.inotify.read_events().is_ok() {}
        IDLE.with_borrow_mut(|idle| idle.push(Rc::clone(&self.inotify)));
    }
}

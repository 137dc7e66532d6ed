//! Machines as one starts them without attest: containers and virtual machines with the options that attest gives its
//! own, but for the agent.

pub(crate) mod container;
pub(crate) mod qemu;
mod serving;

use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::Result;

pub(crate) use serving::until_serving;

/// Do this in a directory and with mounts of its own, and in what else these flags say. All of it is a thread's, and goes
/// with it.
pub(crate) fn apart<T: Send>(
    flags: CloneFlags,
    work: impl FnOnce(&Path) -> Result<T> + Send,
) -> Result<T> {
    // Removed by who does not see the mounts in it.
    let place = tempfile::tempdir()?;
    std::thread::scope(|scope| {
        let work = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNS | flags)?;
            let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            mount(None::<&str>, "/", None::<&str>, private, None::<&str>)?;
            work(place.path())
        });
        work.join().map_err(|_| "the thread panicked")?
    })
}

//! Directories of programs: their sockets, and the files that they find by name.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, umount2};
use rustix::fs::CWD;
use rustix::mount::{MoveMountFlags, move_mount};

use super::failed;
use crate::wire::Failure;

/// The directories that are there, with what is shown in each.
#[derive(Debug, Default)]
pub(super) struct Directories {
    shown: HashMap<PathBuf, Vec<PathBuf>>,
    /// Directories so far.
    count: u32,
}

impl Directories {
    /// A new one in this place, for its owner only, by default the lab's user: its path, and itself.
    pub(super) fn make(
        &mut self,
        place: &Path,
        name: &str,
        owner: Option<u32>,
    ) -> Result<(PathBuf, OwnedFd), Failure> {
        let path = place.join(format!("{name}.{}", self.count));
        self.count += 1;
        let made = || {
            // Others of the lab pass through to what is theirs.
            DirBuilder::new()
                .recursive(true)
                .mode(0o711)
                .create(place)?;
            DirBuilder::new().mode(0o700).create(&path)?;
            if owner.is_some() {
                chown(&path, owner, owner)?;
            }
            let mut options = File::options();
            let directory = options
                .read(true)
                .custom_flags(nix::libc::O_PATH | nix::libc::O_DIRECTORY | nix::libc::O_NOFOLLOW)
                .open(&path)?;
            Ok(directory.into())
        };
        let directory = made().map_err(failed("make a directory for a program"))?;
        self.shown.insert(path.clone(), Vec::new());
        Ok((path, directory))
    }

    /// Show a mount that is nowhere yet, of a file, under this path.
    pub(super) fn show(&mut self, path: &Path, mount: &OwnedFd) -> Result<(), Failure> {
        let mut all = self.shown.iter_mut();
        let own = all.find(|(directory, _)| path.starts_with(directory));
        let Some((_, shown)) = own else {
            return Err(Failure::new(
                "find the directory of a file",
                nix::errno::Errno::ENOENT,
            ));
        };
        let done = || -> io::Result<()> {
            File::create_new(path)?;
            let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
            Ok(move_mount(mount, "", CWD, path, flags)?)
        };
        done().map_err(failed("show a file to a program"))?;
        shown.push(path.to_owned());
        Ok(())
    }

    /// Whatever still uses what is in there keeps it.
    pub(super) fn remove(&mut self, path: &Path) {
        let Some(shown) = self.shown.remove(path) else {
            return;
        };
        for mount in shown {
            let _ = umount2(&mount, MntFlags::MNT_DETACH);
        }
        let _ = fs::remove_dir_all(path);
    }
}

//! The place of one VMM: what it finds by a short name below its working directory.

use std::fs::{DirBuilder, File};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{
    DirBuilderExt, MetadataExt, OpenOptionsExt, chown, fchown, lchown, symlink,
};
use std::path::{Path, PathBuf};

use attest_lab::Directory;

use crate::{Launcher, Program, VmmError};

/// Whoever may read a file that is shown to all.
const ALL_READ: u32 = 0o004;

/// Where a VMM finds its files and makes its sockets. Names are the same in every place, so that what was saved in one
/// is found in another, without anything being written anew.
#[derive(Debug)]
pub(crate) struct Place {
    directory: Directory,
    jail: Option<Jail>,
}

/// Where a VMM has only its place, and what is shown to it there.
#[derive(Debug)]
struct Jail {
    /// Its user and group.
    owner: u32,
    /// Of its root, below the directory.
    root: String,
}

/// What a VMM does with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    Reads,
    Writes,
}

impl Place {
    /// The directory itself.
    pub(crate) fn open(directory: Directory) -> Self {
        Self {
            directory,
            jail: None,
        }
    }

    /// A root below the directory, with nothing else, for a program of this user.
    pub(crate) fn jailed(directory: Directory, root: String, owner: u32) -> std::io::Result<Self> {
        let inside = directory.entry(&root);
        DirBuilder::new()
            .recursive(true)
            .mode(0o711)
            .create(&inside)?;
        chown(&inside, Some(owner), Some(owner))?;
        Ok(Self {
            directory,
            jail: Some(Jail { owner, root }),
        })
    }

    /// Where the VMM is started.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// What the VMM knows by this name, as the driver reaches it.
    pub(crate) fn entry(&self, name: &str) -> PathBuf {
        match &self.jail {
            Some(jail) => self.directory.entry(&format!("{}/{name}", jail.root)),
            None => self.directory.entry(name),
        }
    }

    /// The user that the VMM is, where that is another.
    pub(crate) fn owner(&self) -> Option<u32> {
        self.jail.as_ref().map(|jail| jail.owner)
    }

    /// Let the VMM find a file under this name. One that is not jailed inherits it, and finds it through a link; so what
    /// has no name needs none.
    pub(crate) async fn give(
        &self,
        machine: &str,
        name: &str,
        file: OwnedFd,
        how: Use,
        program: &mut Program,
        launcher: &dyn Launcher,
    ) -> Result<(), VmmError> {
        let failed = || VmmError::host(machine, "its files cannot be shown to its VMM");
        let Some(jail) = &self.jail else {
            let number = program.pass(file);
            return symlink(format!("/proc/self/fd/{number}"), self.entry(name)).map_err(failed());
        };
        let file = File::from(file);
        let metadata = file.metadata().map_err(failed())?;
        let is_theirs = metadata.uid() == jail.owner;
        if how == Use::Writes {
            fchown(&file, Some(jail.owner), Some(jail.owner)).map_err(failed())?;
        } else if !is_theirs && metadata.mode() & ALL_READ == 0 {
            return Err(VmmError::Unable {
                machine: machine.to_owned(),
                reason: format!(
                    "a jailed VMM cannot read its `{name}`, which only its owner may; let all read it, or write \
                     `jailer = \"never\"`"
                ),
            });
        }
        let place = format!("{}/{name}", jail.root);
        let shown = launcher.show(&self.directory, &place, file.as_fd()).await;
        shown.map_err(VmmError::lab(machine))
    }

    /// Open what the VMM has made under this name, for both. It is no link: a VMM that a guest has taken over could
    /// let one lead out of its jail.
    pub(crate) fn open_made(&self, name: &str) -> std::io::Result<File> {
        let mut options = File::options();
        let options = options.read(true).write(true);
        options
            .custom_flags(nix::libc::O_NOFOLLOW)
            .open(self.entry(name))
    }

    /// Put a file of this name there, for the VMM to read; nothing of the name is there before.
    pub(crate) fn write(&self, name: &str, content: &[u8]) -> std::io::Result<()> {
        let path = self.entry(name);
        File::create_new(&path)?.write_all(content)?;
        self.hand_over(&path)
    }

    /// What the driver has made in there is to be the VMM's.
    pub(crate) fn hand_over(&self, path: &Path) -> std::io::Result<()> {
        match self.owner() {
            Some(owner) => lchown(path, Some(owner), Some(owner)),
            None => Ok(()),
        }
    }
}

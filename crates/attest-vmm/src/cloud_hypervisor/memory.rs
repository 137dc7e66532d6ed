//! Where a machine's memory is: in a file, so that one that is saved has nothing to write, and those that go on from it
//! map that file privately and share its pages.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::{Mode, OFlags, openat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount,
    fsopen,
};

use super::landlock;
use crate::Ram;
use crate::microvm::place::Place;

/// What is looked at at once when memory is copied: pages of zeros stay holes.
const PAGE: usize = 4096;
const AT_ONCE: usize = 256 * PAGE;
/// The name of a file for memory.
const NAME: &str = "own-memory";

/// A machine's memory.
pub(super) struct Memory {
    /// What Cloud Hypervisor maps.
    pub(super) mapped: OwnedFd,
    /// Whether what the guest writes goes there.
    pub(super) is_shared: bool,
    /// What it is in once it is saved.
    pub(super) saved: File,
}

impl Memory {
    /// Of this many bytes.
    pub(super) fn prepare(ram: Ram, bytes: u64, place: &Place) -> io::Result<Self> {
        let (mapped, saved) = match ram {
            Ram::Own => {
                let own = new(bytes, place)?;
                (own.try_clone()?.into(), own)
            }
            Ram::Shared(file) => (file.try_clone()?, file.into()),
            Ram::Private(file) => {
                return Ok(Self {
                    mapped: file,
                    is_shared: false,
                    saved: new(bytes, place)?,
                });
            }
        };
        Ok(Self {
            mapped,
            is_shared: true,
            saved,
        })
    }

    /// Whether Landlock can let its VMM have it.
    pub(super) fn takes_rule(&self) -> bool {
        !landlock::takes_no_rule(self.mapped.as_fd())
    }
}

/// A file in memory with a name: Cloud Hypervisor takes what it maps to be saved already only in such a file
/// (`is_hardlink` of its memory manager), and Landlock takes rules only for files of file systems.
fn new(bytes: u64, place: &Place) -> io::Result<File> {
    let file = match in_own_file_system() {
        Ok(file) => file,
        // Who may not mount has the lab's own, which holds half of the host's memory.
        Err(_) => File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(place.entry(NAME))?,
    };
    file.set_len(bytes)?;
    Ok(file)
}

/// In a file system without a limit that is mounted nowhere, and goes with the file.
fn in_own_file_system() -> io::Result<File> {
    let system = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(system.as_fd(), "size", "0")?;
    fsconfig_set_string(system.as_fd(), "mode", "0700")?;
    fsconfig_create(system.as_fd())?;
    let root = fsmount(
        system.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::empty(),
    )?;
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    Ok(openat(root, NAME, flags, Mode::RUSR | Mode::WUSR)?.into())
}

/// Copy memory into a file of as many bytes that has none of it yet.
pub(super) fn copy(from: &File, to: &File) -> io::Result<()> {
    let mut bytes = vec![0; AT_ONCE];
    let mut at = 0;
    loop {
        let read = from.read_at(&mut bytes, at)?;
        if read == 0 {
            return Ok(());
        }
        let mut page_at = at;
        for page in bytes[..read].chunks(PAGE) {
            if page.iter().any(|byte| *byte != 0) {
                to.write_all_at(page, page_at)?;
            }
            page_at += page.len() as u64;
        }
        at = page_at;
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use attest_lab::Directory;

    use super::*;

    #[test]
    fn memory_is_in_a_file_with_a_name() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::open(Directory::existing(directory.path()).unwrap());
        for ram in [Ram::Own, Ram::Private(tempfile::tempfile().unwrap().into())] {
            // Who may not mount has both in the place.
            let _ = std::fs::remove_file(place.entry(NAME));
            let is_own = matches!(ram, Ram::Own);
            let memory = Memory::prepare(ram, 1 << 20, &place).unwrap();
            assert_eq!(memory.is_shared, is_own);
            let saved = memory.saved.metadata().unwrap();
            assert_eq!(
                (saved.len(), saved.nlink(), saved.blocks()),
                (1 << 20, 1, 0)
            );
        }
    }

    #[test]
    fn pages_of_zeros_are_no_memory() {
        let (from, to) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let long = 3 * AT_ONCE as u64;
        let pieces: [(&[u8], u64); 3] = [
            (b"first", 0),
            (b"in the middle", AT_ONCE as u64 - 3),
            (b"end", long - 3),
        ];
        for (text, at) in pieces {
            from.write_all_at(text, at).unwrap();
        }
        to.set_len(long).unwrap();
        copy(&from, &to).unwrap();
        for (text, at) in pieces {
            let mut found = vec![0; text.len()];
            to.read_exact_at(&mut found, at).unwrap();
            assert_eq!(found, text);
        }
        assert!(to.metadata().unwrap().blocks() * 512 < long / 2);
    }
}

//! What tells, without reading a file, that it is the one whose digest was made.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::error::ImageError;

/// File with the identities of an entry's files. It is no part of the entry, and may be lost.
pub(super) const IDENTITIES: &str = "IDENTITIES";
/// Names the time since the host was started (proc_sys_kernel(5)).
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// Which file it is, and since when: what tells that one which was read is the same still.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    device: u64,
    inode: u64,
    length: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    changed: (i64, i64),
    /// Whether a later change shows. Time stamps are as coarse as the kernel's clock: a change
    /// within the same tick does not.
    settled: bool,
}

impl Identity {
    /// Of a file. Whoever reads it asks for this before, so that a change meanwhile makes it another.
    pub fn of(metadata: &Metadata) -> Self {
        let changed = (metadata.ctime(), metadata.ctime_nsec());
        // The clock that time stamps are taken from.
        let now = clock_gettime(ClockId::CLOCK_REALTIME_COARSE);
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed,
            settled: now.is_ok_and(|now| changed < (now.tv_sec(), now.tv_nsec())),
        }
    }

    /// Whether a file that is at least as large need not be read to be known again.
    pub(super) fn suffices(&self, large: u64) -> bool {
        self.settled && self.length >= large
    }

    /// Whether a file that had this identity when it was read is the same still, by the one that it has now.
    pub fn holds_for(&self, now: &Self) -> bool {
        let seen = Self {
            settled: now.settled,
            ..self.clone()
        };
        self.settled && seen == *now
    }
}

/// The identities of an entry's files, when they had their digests.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Identities {
    /// Since the host was started: a power cut may take what was written, and leave the times.
    boot: String,
    files: BTreeMap<String, Identity>,
}

impl Identities {
    pub(super) fn new() -> Self {
        // Where there is none, the identities are not believed.
        let boot = fs::read_to_string(BOOT).unwrap_or_default();
        Self {
            boot: boot.trim().to_owned(),
            files: BTreeMap::new(),
        }
    }

    pub(super) fn add(&mut self, name: &str, identity: Identity) {
        self.files.insert(name.to_owned(), identity);
    }

    /// Those that were written; without files where there are none that can be read.
    pub(super) fn read(entry: &Path) -> Self {
        let written = fs::read(entry.join(IDENTITIES)).ok();
        let read = written.and_then(|text| serde_json::from_slice(&text).ok());
        read.unwrap_or_else(Self::new)
    }

    /// Whether a file is the one that had its digest.
    pub(super) fn vouch_for(&self, name: &str, now: &Identity) -> bool {
        let is_known = |identity: &Identity| identity.holds_for(now);
        let same_boot = !self.boot.is_empty() && self.boot == Self::new().boot;
        same_boot && self.files.get(name).is_some_and(is_known)
    }

    /// How long a file was.
    pub(super) fn length(&self, name: &str) -> Option<u64> {
        self.files.get(name).map(|identity| identity.length)
    }

    /// Write them for an entry, in one piece: others may read them.
    pub(super) fn write(&self, entry: &Path) -> Result<(), ImageError> {
        let path = entry.join(IDENTITIES);
        let failed = |error| ImageError::file(&path, "it cannot be written")(error);
        self.replace(entry, &path).map_err(failed)
    }

    fn replace(&self, entry: &Path, path: &Path) -> io::Result<()> {
        // When the entry was made is told by its directory.
        let directory = File::open(entry)?;
        let made = directory.metadata()?.modified()?;
        let mut file = tempfile::NamedTempFile::new_in(entry)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.persist(path).map_err(|error| error.error)?;
        directory.set_modified(made)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_files_and_those_that_may_change_without_a_sign_are_read() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(8).unwrap();
        let of = |settled| Identity {
            settled,
            ..Identity::of(&file.metadata().unwrap())
        };
        assert!(of(true).suffices(8));
        assert!(!of(true).suffices(9));
        assert!(!of(false).suffices(8));
    }
}

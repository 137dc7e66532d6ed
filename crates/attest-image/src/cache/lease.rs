//! Leases: an entry that somebody uses is not removed. A lease is a shared lock on a file of the
//! entry; the kernel drops it with the process that holds it, however that ends.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::seal::DIGESTS;
use crate::error::ImageError;

/// The use of an entry of the cache, which stays as long as this or a clone of it. Programs that
/// the process starts do not inherit it.
#[derive(Debug, Clone)]
pub struct Lease {
    entry: PathBuf,
    file: Arc<File>,
}

impl PartialEq for Lease {
    /// Leases of one entry are as good as each other.
    fn eq(&self, other: &Self) -> bool {
        self.entry == other.entry
    }
}

impl Eq for Lease {}

impl Lease {
    /// Of an entry; none where there is no such entry (any more).
    pub(super) fn take(entry: &Path) -> Result<Option<Self>, ImageError> {
        let lease = Self::look(entry)?;
        if let Some(lease) = &lease {
            // Where that is not allowed, the entry only seems older than it is.
            let _ = lease.file.set_modified(SystemTime::now());
        }
        Ok(lease)
    }

    /// The same for one to whom the entry is nothing that is used.
    pub(super) fn look(entry: &Path) -> Result<Option<Self>, ImageError> {
        let path = entry.join(DIGESTS);
        let failed = || ImageError::file(&path, "the entry of the cache cannot be used");
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(failed())?,
        };
        // One who removes it holds it for a moment, and then it is gone.
        file.lock_shared().map_err(failed())?;
        if !same(&file, &path) {
            return Ok(None);
        }
        let entry = entry.to_owned();
        Ok(Some(Self {
            entry,
            file: Arc::new(file),
        }))
    }

    /// Whether the entry still has its name: otherwise it was set aside.
    pub(super) fn is_current(&self) -> bool {
        same(&self.file, &self.entry.join(DIGESTS))
    }

    /// The directory of the entry.
    pub fn entry(&self) -> &Path {
        &self.entry
    }
}

/// The right to remove an entry: nobody else has a lease.
pub(super) fn exclusive(entry: &Path) -> Result<Option<File>, ImageError> {
    let path = entry.join(DIGESTS);
    let failed = || ImageError::file(&path, "the entry of the cache cannot be removed");
    let file = File::open(&path).map_err(failed())?;
    match file.try_lock() {
        Ok(()) => Ok(same(&file, &path).then_some(file)),
        Err(fs::TryLockError::WouldBlock) => Ok(None),
        Err(fs::TryLockError::Error(error)) => Err(failed()(error)),
    }
}

/// Whether an open file is still the one that has this name.
pub(super) fn same(file: &File, path: &Path) -> bool {
    let (own, named) = (file.metadata(), fs::metadata(path));
    let (Ok(own), Ok(named)) = (own, named) else {
        return false;
    };
    (own.dev(), own.ino()) == (named.dev(), named.ino())
}

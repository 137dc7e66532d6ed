//! Locks of those who build or remove an entry.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::lease;
use crate::error::ImageError;

/// A lock file that its holder removes again. A killed holder's stays, unlocked.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    pub(super) fn wait(path: &Path) -> Result<Self, ImageError> {
        loop {
            let file = Self::open(path)?;
            file.lock()
                .map_err(ImageError::file(path, "it cannot be locked"))?;
            if let Some(lock) = Self::still_there(path, file) {
                return Ok(lock);
            }
        }
    }

    /// `None` when another has it.
    pub(super) fn attempt(path: &Path) -> Result<Option<Self>, ImageError> {
        loop {
            let file = Self::open(path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(fs::TryLockError::WouldBlock) => return Ok(None),
                Err(fs::TryLockError::Error(error)) => {
                    return Err(ImageError::file(path, "it cannot be locked")(error));
                }
            }
            if let Some(lock) = Self::still_there(path, file) {
                return Ok(Some(lock));
            }
        }
    }

    fn open(path: &Path) -> Result<File, ImageError> {
        File::create(path).map_err(ImageError::file(path, "it cannot be made"))
    }

    /// Between opening and locking, the former holder may have removed the file.
    fn still_there(path: &Path, file: File) -> Option<Self> {
        lease::same(&file, path).then(|| Self {
            path: path.to_owned(),
            _file: file,
        })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

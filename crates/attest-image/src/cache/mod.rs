//! The content-addressed cache: a directory per key, made whole or not at all.

mod digest;
mod entries;
mod holds;
mod identity;
mod lease;
mod lock;
mod making;
mod seal;
mod trust;
mod verify;

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

pub(crate) use entries::ABOUT;
pub use entries::{CacheEntry, Caches, Keep};
pub use holds::Holds;
pub use identity::Identity;
pub use lease::Lease;
pub use making::{Unfinished, Wanted};
pub use seal::SealedFile;
pub use trust::{Broken, Trust};
pub use verify::{Damage, Damaged};

use crate::error::ImageError;
use crate::progress::Step;
use lock::Lock;
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use seal::{DIGESTS, Seal};

/// Names the cache directory.
pub const CACHE_VARIABLE: &str = "ATTEST_CACHE";

/// What is not finished ends with this.
const UNFINISHED: &str = "new";
/// The lock of one who builds ends with this.
const LOCK: &str = "lock";

/// A cache directory.
#[derive(Debug, Clone)]
pub struct Cache {
    directory: PathBuf,
    holds: Holds,
    seal: Seal,
}

impl Cache {
    /// `$ATTEST_CACHE`, else `$XDG_CACHE_HOME/attest`, else `~/.cache/attest`.
    ///
    /// # Errors
    /// None of these is set.
    pub fn default_directory() -> Result<PathBuf, ImageError> {
        let set = |name: &str| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        set(CACHE_VARIABLE)
            .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("attest")))
            .or_else(|| set("HOME").map(|home| home.join(".cache/attest")))
            .ok_or(ImageError::NoCacheDirectory)
    }

    /// Open it, made when missing, for its owner only. What killed builds left is removed.
    ///
    /// # Errors
    /// The directory cannot be made, or others may write to it: what is booted is taken from it.
    pub fn open(directory: &Path) -> Result<Self, ImageError> {
        Self::open_for(Holds::Images, directory)
    }

    /// The same for a cache that holds this. One directory holds one thing.
    ///
    /// # Errors
    /// As there.
    pub fn open_for(holds: Holds, directory: &Path) -> Result<Self, ImageError> {
        let made = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory);
        made.map_err(ImageError::file(
            directory,
            "the cache directory cannot be made",
        ))?;
        let unusable = || ImageError::file(directory, "the cache directory cannot be used");
        let directory = directory.canonicalize().map_err(unusable())?;
        let metadata = fs::metadata(&directory).map_err(unusable())?;
        let user = nix::unistd::geteuid().as_raw();
        if metadata.mode() & 0o022 != 0 || (user != 0 && metadata.uid() != user) {
            return Err(ImageError::SharedCache { path: directory });
        }
        let file_system = statfs(&directory).map_err(|errno| unusable()(errno.into()))?;
        let cache = Self {
            directory,
            holds,
            seal: holds.seal(file_system.filesystem_type() == TMPFS_MAGIC),
        };
        cache.sweep()?;
        Ok(cache)
    }

    /// What is in it.
    pub fn holds(&self) -> Holds {
        self.holds
    }

    /// Whether it is in a file system in memory.
    pub(crate) fn is_in_memory(&self) -> bool {
        self.seal == Seal::InMemory
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The entry of this kind under this key, made by `make` when it is not there. Builders of
    /// the same key, in this process or another, wait for the first; a builder that fails or is
    /// killed leaves nothing that would be taken for an entry. `progress` hears of a wait, and
    /// is handed on to `make`.
    ///
    /// # Errors
    /// Those of `make`, and files that cannot be written.
    pub fn entry(
        &self,
        kind: &str,
        key: blake3::Hash,
        progress: &mut dyn FnMut(Step),
        make: impl FnOnce(&Path, &mut dyn FnMut(Step)) -> Result<(), ImageError>,
    ) -> Result<PathBuf, ImageError> {
        let lease = self.hold(kind, key, progress, make)?;
        Ok(lease.entry().to_owned())
    }

    /// As [`Cache::entry`], and the entry stays as long as the lease.
    ///
    /// # Errors
    /// As there.
    pub fn hold(
        &self,
        kind: &str,
        key: blake3::Hash,
        progress: &mut dyn FnMut(Step),
        make: impl FnOnce(&Path, &mut dyn FnMut(Step)) -> Result<(), ImageError>,
    ) -> Result<Lease, ImageError> {
        match self.want(kind, key, progress)? {
            Wanted::Ready(lease) => Ok(lease),
            Wanted::Make(unfinished) => {
                make(unfinished.directory(), progress)?;
                unfinished.place()
            }
        }
    }

    /// Where an entry of this kind is under this key.
    fn place_of(&self, kind: &str, key: blake3::Hash) -> PathBuf {
        self.directory.join(Self::name_of(kind, key))
    }

    /// The name of an entry of this kind under this key.
    pub(crate) fn name_of(kind: &str, key: blake3::Hash) -> String {
        format!("{kind}-{}", &key.to_hex()[..32])
    }

    /// Remove what killed builds left: that whose lock nobody holds.
    fn sweep(&self) -> Result<(), ImageError> {
        for path in list(&self.directory)? {
            if path.extension().is_none_or(|extension| extension != LOCK) {
                continue;
            }
            if let Some(_lock) = Lock::attempt(&path)? {
                clear(&path.with_extension(UNFINISHED))?;
            }
        }
        Ok(())
    }
}

/// The digest of all files of an entry.
///
/// # Errors
/// The entry cannot be read.
pub(crate) fn digest(entry: &Path) -> Result<blake3::Hash, ImageError> {
    let path = entry.join(DIGESTS);
    let digests = fs::read(&path).map_err(ImageError::file(&path, "it cannot be read"))?;
    Ok(blake3::hash(&digests))
}

fn clear(path: &Path) -> Result<(), ImageError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(ImageError::file(
            path,
            "what a killed build left cannot be removed",
        )(error)),
        _ => Ok(()),
    }
}

/// What is in a directory, sorted.
fn list(directory: &Path) -> Result<Vec<PathBuf>, ImageError> {
    let listed: io::Result<Vec<_>> = fs::read_dir(directory)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    let mut listed = listed.map_err(ImageError::file(directory, "it cannot be listed"))?;
    listed.sort();
    Ok(listed)
}

#[cfg(test)]
pub(crate) mod tests;

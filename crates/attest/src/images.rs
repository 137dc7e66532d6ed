//! Images, and the cache that keeps them.

use std::path::{Path, PathBuf};

pub use attest_image::{
    Amount, Cache, CacheEntry, Damage, Damaged, ImageError, Keep, Pace, SealedFile, Step,
};

/// The cache in this directory, or where it is by default.
///
/// # Errors
/// It cannot be opened, or no place for it is known.
pub fn cache(directory: Option<&Path>) -> Result<Cache, ImageError> {
    Cache::open(&place(directory)?)
}

/// The directory that is asked for, or the default one.
pub(crate) fn place(directory: Option<&Path>) -> Result<PathBuf, ImageError> {
    directory.map_or_else(Cache::default_directory, |directory| {
        Ok(directory.to_owned())
    })
}

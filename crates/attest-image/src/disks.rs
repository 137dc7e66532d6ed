//! Disks that cost nothing to make: sparse files without a name, gone with their last user.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::fcntl::OFlag;

use crate::cache::Cache;
use crate::error::ImageError;

/// An empty disk of this many bytes. Nothing is written, and nothing is left: the file never has
/// a name.
///
/// # Errors
/// The cache's file system has no unnamed files, or refuses the size.
pub fn scratch(cache: &Cache, bytes: u64) -> Result<OwnedFd, ImageError> {
    use std::os::unix::fs::OpenOptionsExt;
    let directory = cache.directory();
    let file = File::options()
        .read(true)
        .write(true)
        .custom_flags(OFlag::O_TMPFILE.bits())
        .mode(0o600)
        .open(directory)
        .map_err(ImageError::file(directory, "a disk without a name cannot be made there"))?;
    file.set_len(bytes).map_err(ImageError::file(directory, "a disk of this size cannot be made there"))?;
    Ok(file.into())
}

/// A disk image of the user's, to be read only.
///
/// # Errors
/// It cannot be opened.
pub fn read_only(path: &Path) -> Result<OwnedFd, ImageError> {
    let file = File::open(path).map_err(ImageError::file(path, "the disk image cannot be opened"))?;
    Ok(file.into())
}

/// A disk image of the user's, to be written to.
///
/// # Errors
/// It cannot be opened for writing.
pub fn writable(path: &Path) -> Result<OwnedFd, ImageError> {
    let file = File::options().read(true).write(true).open(path);
    Ok(file.map_err(ImageError::file(path, "the disk image cannot be opened for writing"))?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scratch_disk_has_its_size_and_no_blocks_and_no_name() {
        use std::os::unix::fs::MetadataExt;
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(directory.path()).unwrap();
        let disk = File::from(scratch(&cache, 1 << 40).unwrap());
        let metadata = disk.metadata().unwrap();
        assert_eq!((metadata.len(), metadata.blocks(), metadata.nlink()), (1 << 40, 0, 0));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}

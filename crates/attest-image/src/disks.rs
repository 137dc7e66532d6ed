//! Disks that cost nothing to make: sparse files without a name, gone with their last user; and
//! images of the user's. Both are handed on as descriptors.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::cache::Cache;
use crate::error::ImageError;

/// What virtual disks consist of, in bytes.
const SECTOR: u64 = 512;

/// First bytes of images that are not raw; a guest would see the container in place of the disk.
const FORMATS: [(&[u8], &str); 4] = [
    (b"QFI\xfb", "qcow2"),
    (b"KDMV", "VMDK"),
    (b"vhdxfile", "VHDX"),
    (b"conectix", "VHD"),
];

/// An empty disk of this many bytes. Nothing is written, and nothing is left: the file never has
/// a name. It takes space as the guest writes to it, and may be larger than what is free.
///
/// # Errors
/// [`ImageError::DiskSize`] for a size that no disk can have, or that is too large for the
/// cache's file system; other errors of that.
pub fn scratch(cache: &Cache, bytes: u64) -> Result<OwnedFd, ImageError> {
    let impossible = |reason| ImageError::DiskSize { bytes, reason };
    if bytes == 0 || !bytes.is_multiple_of(SECTOR) {
        return Err(impossible("it must be a multiple of 512, and more than 0"));
    }
    let directory = cache.directory();
    let file = tempfile::tempfile_in(directory);
    let file = file.map_err(ImageError::file(directory, "no disk can be made there"))?;
    match file.set_len(bytes) {
        Ok(()) => Ok(file.into()),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::FileTooLarge | io::ErrorKind::InvalidInput
            ) =>
        {
            Err(impossible(
                "the file system of the cache (ATTEST_CACHE) takes no file of this size",
            ))
        }
        Err(error) => Err(ImageError::file(
            directory,
            "no disk of this size can be made there",
        )(error)),
    }
}

/// A disk image of the user's, to be read only.
///
/// # Errors
/// It cannot be opened, or is no raw image.
pub fn read_only(path: &Path) -> Result<OwnedFd, ImageError> {
    image(path, File::options().read(true))
}

/// A disk image of the user's, to be written to.
///
/// # Errors
/// It cannot be opened for writing, or is no raw image.
pub fn writable(path: &Path) -> Result<OwnedFd, ImageError> {
    image(path, File::options().read(true).write(true))
}

fn image(path: &Path, options: &mut OpenOptions) -> Result<OwnedFd, ImageError> {
    let failed = || ImageError::file(path, "the disk image cannot be opened");
    let file = options.open(path).map_err(failed())?;
    if file.metadata().map_err(failed())?.is_dir() {
        return Err(failed()(io::ErrorKind::IsADirectory.into()));
    }
    let mut start = [0; 8];
    // An image may be shorter, and then is none of those.
    let _ = file.read_at(&mut start, 0).map_err(failed())?;
    let other = FORMATS.iter().find(|(magic, _)| start.starts_with(magic));
    match other {
        Some((_, format)) => Err(ImageError::DiskFormat {
            path: path.to_owned(),
            format,
        }),
        None => Ok(file.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn cache() -> (tempfile::TempDir, Cache) {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(directory.path()).unwrap();
        (directory, cache)
    }

    #[test]
    fn a_scratch_disk_has_its_size_and_no_blocks_and_no_name() {
        let (directory, cache) = cache();
        let disk = File::from(scratch(&cache, 1 << 40).unwrap());
        let metadata = disk.metadata().unwrap();
        assert_eq!(
            (metadata.len(), metadata.blocks(), metadata.nlink()),
            (1 << 40, 0, 0)
        );
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn impossible_sizes_are_refused() {
        let (_directory, cache) = cache();
        for bytes in [0, 513, u64::MAX / 512 * 512, (i64::MAX as u64) / 512 * 512] {
            let error = scratch(&cache, bytes).unwrap_err();
            assert!(
                matches!(error, ImageError::DiskSize { .. }),
                "{bytes}: {error}"
            );
        }
    }

    #[test]
    fn images_are_opened_if_they_are_raw() {
        let (directory, _cache) = cache();
        let path = directory.path().join("disk");
        std::fs::write(&path, b"raw").unwrap();
        assert!(read_only(&path).is_ok() && writable(&path).is_ok());
        std::fs::write(&path, b"QFI\xfb\0\0\0\x03...").unwrap();
        let error = read_only(&path).unwrap_err().to_string();
        assert!(
            error.contains("qcow2") && error.contains("qemu-img convert"),
            "{error}"
        );
        assert!(read_only(directory.path()).is_err(), "a directory");
        assert!(writable(&directory.path().join("missing")).is_err());
    }
}

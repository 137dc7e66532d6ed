//! Disks that cost nothing to make. All are sparse files without a name, gone with their last
//! user, and handed on as descriptors; an image of the user's is never copied and never written.
//!
//! What a machine writes goes to one of these:
//!
//! | function | what is written goes to |
//! |---|---|
//! | [`layer`] | a qcow2 file over the image, or over what was written before, whatever that holds |
//! | [`reflink`] | a file that shares the image's blocks, where the file system can |
//! | [`writable`] | an empty file system, for an overlay in the guest |
//! | [`scratch`] | an empty disk |

mod filesystem;
mod image;
mod qcow2;

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

pub use filesystem::{WRITABLE_BYTES, writable};
pub use image::{DiskFormat, DiskImage};
pub use qcow2::layer;

use crate::cache::Cache;
use crate::error::ImageError;
use crate::sparse;

/// What virtual disks consist of, in bytes.
const SECTOR: u64 = 512;

/// An empty disk of this many bytes. Nothing is written. It takes space as the guest writes to
/// it, and may be larger than what is free.
///
/// # Errors
/// [`ImageError::DiskSize`] for a size that no disk can have, or that is too large for the
/// cache's file system; other errors of that.
pub fn scratch(cache: &Cache, bytes: u64) -> Result<OwnedFd, ImageError> {
    if bytes == 0 || !bytes.is_multiple_of(SECTOR) {
        return Err(ImageError::DiskSize {
            bytes,
            reason: "it must be a multiple of 512, and more than 0",
        });
    }
    let file = nameless(cache)?;
    lengthen(cache, &file, bytes)?;
    Ok(file.into())
}

/// A disk that shares all blocks with a raw image until it is written to.
///
/// # Errors
/// [`ImageError::NoReflink`] where the cache's file system cannot, or the image is on another
/// one; other errors of it.
pub fn reflink(cache: &Cache, image: &DiskImage) -> Result<OwnedFd, ImageError> {
    let no = |reason: &str| ImageError::NoReflink {
        path: image.path().to_owned(),
        reason: reason.to_owned(),
    };
    if image.format() != DiskFormat::Raw {
        return Err(no("it is not raw"));
    }
    let file = nameless(cache)?;
    rustix::fs::ioctl_ficlone(&file, image.file()).map_err(|error| match error {
        rustix::io::Errno::XDEV => no("it is not in the file system of the cache"),
        rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOTTY | rustix::io::Errno::INVAL => {
            no("the file system of the cache (ATTEST_CACHE) shares no blocks, as Btrfs and XFS do")
        }
        other => no(&io::Error::from(other).to_string()),
    })?;
    Ok(file.into())
}

/// A disk with what is in another: it shares the blocks of that where the file system can, else all that is no hole is
/// copied.
///
/// # Errors
/// Those of the file system.
pub fn copy(cache: &Cache, of: &File) -> Result<OwnedFd, ImageError> {
    let file = nameless(cache)?;
    let copied = copy_over(of, &file);
    copied.map_err(ImageError::file(
        cache.directory(),
        "a disk cannot be copied there",
    ))?;
    Ok(file.into())
}

/// The same into a file that is there, whatever it holds.
///
/// # Errors
/// Those of the file system.
pub fn copy_over(of: &File, to: &File) -> io::Result<()> {
    to.set_len(0)?;
    if rustix::fs::ioctl_ficlone(to, of).is_err() {
        to.set_len(of.metadata()?.len())?;
        sparse::copy(of, to)?;
    }
    Ok(())
}

/// Whether the cache's file system can share blocks between files.
///
/// # Errors
/// It cannot, or no file can be made there.
pub fn probe_reflink(cache: &Cache) -> Result<(), ImageError> {
    let image = DiskImage::of_nothing(nameless(cache)?, cache.directory());
    reflink(cache, &image).map(drop)
}

/// A file that never has a name, in the cache's file system.
fn nameless(cache: &Cache) -> Result<File, ImageError> {
    let directory = cache.directory();
    let file = tempfile::tempfile_in(directory);
    file.map_err(ImageError::file(directory, "no disk can be made there"))
}

fn lengthen(cache: &Cache, file: &File, bytes: u64) -> Result<(), ImageError> {
    match file.set_len(bytes) {
        Ok(()) => Ok(()),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::FileTooLarge | io::ErrorKind::InvalidInput
            ) =>
        {
            Err(ImageError::DiskSize {
                bytes,
                reason: "the file system of the cache (ATTEST_CACHE) takes no file of this size",
            })
        }
        Err(error) => Err(ImageError::file(
            cache.directory(),
            "no disk of this size can be made there",
        )(error)),
    }
}

#[cfg(test)]
mod tests;

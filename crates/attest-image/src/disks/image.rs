//! Disk images of the user's, which are only read.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::{SECTOR, qcow2};
use crate::erofs;
use crate::error::ImageError;

/// First bytes of images that nothing here reads: a guest would see the container in place of
/// the disk.
const OTHERS: [(&[u8], &str); 3] = [
    (b"KDMV", "VMDK"),
    (b"vhdxfile", "VHDX"),
    (b"conectix", "VHD"),
];

/// How a file holds a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskFormat {
    /// Byte for byte.
    Raw,
    /// QEMU's own.
    Qcow2,
}

/// A disk image that is open for reading.
#[derive(Debug)]
pub struct DiskImage {
    path: PathBuf,
    file: File,
    format: DiskFormat,
    size: u64,
}

impl DiskImage {
    /// Open one.
    ///
    /// # Errors
    /// It cannot be opened, is neither raw nor qcow2, or does not stand alone: it has a backing
    /// file, or data elsewhere.
    pub fn open(path: &Path) -> Result<Self, ImageError> {
        let failed = || ImageError::file(path, "the disk image cannot be opened");
        let file = File::open(path).map_err(failed())?;
        let metadata = file.metadata().map_err(failed())?;
        if metadata.is_dir() {
            return Err(failed()(io::ErrorKind::IsADirectory.into()));
        }
        let mut start = [0; qcow2::HEADER];
        // An image may be shorter, and then is none of those.
        let read = file.read_at(&mut start, 0).map_err(failed())?;
        let start = &start[..read];
        if let Some((_, format)) = OTHERS.iter().find(|(magic, _)| start.starts_with(magic)) {
            return Err(ImageError::DiskFormat {
                path: path.to_owned(),
                format,
            });
        }
        let (format, size) = if start.starts_with(&qcow2::MAGIC) {
            (DiskFormat::Qcow2, qcow2::size(path, start)?)
        } else {
            // A block device has no length of its own, but an end.
            let size = io::Seek::seek(&mut &file, io::SeekFrom::End(0)).map_err(failed())?;
            (DiskFormat::Raw, size)
        };
        Ok(Self {
            path: path.to_owned(),
            file,
            format,
            size: size.next_multiple_of(SECTOR),
        })
    }

    /// An empty one, for trying things out.
    pub(super) fn of_nothing(file: File, place: &Path) -> Self {
        Self {
            path: place.to_owned(),
            file,
            format: DiskFormat::Raw,
            size: 0,
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How it is held.
    pub fn format(&self) -> DiskFormat {
        self.format
    }

    /// Bytes of the disk, as a guest sees it.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether it holds, from its first byte on, a file system that nothing can write to: erofs
    /// or squashfs.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn is_read_only(&self) -> Result<bool, ImageError> {
        let (place, magic) = erofs::MAGIC;
        for (place, magic) in [(place, magic), (0, *b"hsqs")] {
            let mut start = [0; 4];
            let read = self.file.read_at(&mut start, place as u64);
            let read = read.map_err(ImageError::file(
                &self.path,
                "the disk image cannot be read",
            ))?;
            if self.format == DiskFormat::Raw && read == magic.len() && start == magic {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl From<DiskImage> for OwnedFd {
    fn from(image: DiskImage) -> Self {
        image.file.into()
    }
}

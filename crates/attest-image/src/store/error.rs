//! Why snapshots are not kept.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::PackedError;
use crate::error::{ImageError, Mebibytes};

/// Why a snapshot is not kept, or cannot be used. Tests need none: where
/// [`SnapshotError::is_not_kept`], a run goes on without, and says so.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// A place is full.
    #[error(
        "snapshots are not kept: no space is left in {}; remove some with `attest snapshot gc`, or set \
         ATTEST_SNAPSHOTS_DIR to a directory with more", path.display()
    )]
    Full {
        /// What was written.
        path: PathBuf,
        /// As the system says it.
        #[source]
        source: io::Error,
    },
    /// A snapshot is larger than what is free in the last place that there is.
    #[error(
        "snapshots are not kept: one of {} is too large for {}, where {} are free; remove some with \
         `attest snapshot gc`, or set ATTEST_SNAPSHOTS_DIR to a directory with more",
        Mebibytes(*expected), path.display(), Mebibytes(*free)
    )]
    NoRoom {
        /// The place.
        path: PathBuf,
        /// What the snapshot is expected to take, in bytes.
        expected: u64,
        /// What is free, in bytes.
        free: u64,
    },
    /// A place may not be written to.
    #[error(
        "snapshots are not kept: {} cannot be written to; set ATTEST_SNAPSHOTS_DIR to a directory of your own",
        path.display()
    )]
    ReadOnly {
        /// What was to be written.
        path: PathBuf,
        /// As the system says it.
        #[source]
        source: io::Error,
    },
    /// A directory that others could have put there, or could write to.
    #[error(
        "snapshots are not kept in {}: {reason}; remove it, or set ATTEST_SNAPSHOTS_DIR to a directory of your own",
        path.display()
    )]
    Refused {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: &'static str,
    },
    /// What is no memory would be no faster than the disk.
    #[error("{} is not in memory", path.display())]
    NotInMemory {
        /// Which directory.
        path: PathBuf,
    },
    /// There is no place at all. This is why the last one cannot be used.
    #[error(transparent)]
    NoPlace(Arc<SnapshotError>),
    /// A limit that is no size.
    #[error("ATTEST_SNAPSHOTS_SIZE is `{text}`, which is not a size; write it as 500M or 10G")]
    Limit {
        /// As it is set.
        text: String,
    },
    /// A file that was to be unpacked.
    #[error("{}: it cannot be unpacked", path.display())]
    Packed {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: PackedError,
    },
    /// Anything else about the files of snapshots.
    #[error(transparent)]
    Image(ImageError),
}

impl SnapshotError {
    /// Whether only the keeping of snapshots is concerned.
    pub fn is_not_kept(&self) -> bool {
        !matches!(
            self,
            Self::Image(_) | Self::Limit { .. } | Self::Packed { .. }
        )
    }
}

impl From<ImageError> for SnapshotError {
    fn from(error: ImageError) -> Self {
        match error {
            ImageError::Full { path, source } => Self::Full { path, source },
            ImageError::File { path, source, .. } if is_read_only(&source) => {
                Self::ReadOnly { path, source }
            }
            ImageError::SharedCache { path } => Self::Refused {
                path,
                reason: "it belongs to another user, or others may write to it",
            },
            error => Self::Image(error),
        }
    }
}

fn is_read_only(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied
    )
}

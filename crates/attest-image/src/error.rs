//! What can go wrong with images.

use std::io;
use std::path::{Path, PathBuf};

use crate::modules::ModuleError;

/// What can go wrong with images.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// A file or directory failed.
    #[error("{}: {action}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// No kernel.
    #[error(
        "no kernel: /boot has none with its modules, and none can be fetched here ({reason}); install your \
         distribution's kernel package, or give one with --kernel FILE"
    )]
    NoKernel {
        /// Why none can be fetched.
        reason: String,
    },
    /// A kernel that cannot be used.
    #[error("the kernel {} cannot be used: {reason}", path.display())]
    Kernel {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A kernel without what the guest needs.
    #[error("the kernel {release} cannot run the bare guest")]
    Modules {
        /// Its release.
        release: String,
        /// Why.
        #[source]
        source: ModuleError,
    },
    /// A program that goes into the guest is missing or of the wrong kind.
    #[error("{program}: {reason}")]
    Program {
        /// Which.
        program: String,
        /// Why, and what to install.
        reason: String,
    },
    /// There is no place for a cache.
    #[error("no cache directory: neither ATTEST_CACHE nor XDG_CACHE_HOME nor HOME is set")]
    NoCacheDirectory,
    /// A file of the cache is not what it was.
    #[error("{}: its contents are not those that were put there; remove it", path.display())]
    Corrupt {
        /// Which.
        path: PathBuf,
    },
}

impl ImageError {
    pub(crate) fn file(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { path: path.to_owned(), action, source }
    }
}

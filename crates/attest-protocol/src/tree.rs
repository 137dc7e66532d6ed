//! Files and directories as tar streams: modes, times, links, holes; never out of their place.

use std::io;
use std::path::{Path, PathBuf};

mod holes;
mod pack;
mod unpack;

pub use pack::{Packed, pack, pack_bytes, pack_listing};
pub use unpack::{Limits, unpack, unpack_within};

/// The name of a stream's top-level entry; it becomes the destination itself.
const TOP: &str = "content";
/// Time of last change in decimal seconds: a header's own has whole seconds only.
const MTIME: &str = "mtime";

/// What can go wrong with a tree.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TreeError {
    /// A file of the tree cannot be read or written.
    #[error("{}: {action}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What went wrong.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A device, pipe or socket: nothing that can be copied.
    #[error("{}: a {kind} cannot be copied", path.display())]
    Special {
        /// Which.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// A device, pipe or socket where a file should go: what others use is not replaced.
    #[error("{}: a {kind} is there, and a copy replaces only files and links", path.display())]
    InTheWay {
        /// Where.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// An entry that would leave the destination.
    #[error("the entry `{}` would leave the destination", name.display())]
    Escapes {
        /// Its name in the stream.
        name: PathBuf,
    },
    /// More than [`Limits`] allow.
    #[error("{}: with it the tree has more than the {limit} {unit} that are allowed", path.display())]
    TooMuch {
        /// The file that is too much.
        path: PathBuf,
        /// The limit.
        limit: u64,
        /// What it limits: `bytes` or `entries`.
        unit: &'static str,
    },
    /// The stream is no tar stream, or is cut.
    #[error("the stream of files is broken")]
    Stream(#[source] io::Error),
}

impl TreeError {
    /// Whether the stream broke, and not a file: the link's own error says more then.
    pub fn is_stream(&self) -> bool {
        matches!(self, Self::Stream(_))
    }

    /// The operating system's error, if there is one.
    pub fn io(&self) -> Option<&io::Error> {
        match self {
            Self::File { source, .. } | Self::Stream(source) => Some(source),
            Self::Special { .. }
            | Self::InTheWay { .. }
            | Self::Escapes { .. }
            | Self::TooMuch { .. } => None,
        }
    }
}

fn file_error<E: Into<io::Error>>(
    path: &Path,
    action: &'static str,
) -> impl FnOnce(E) -> TreeError {
    move |source| TreeError::File {
        path: path.to_owned(),
        action,
        source: source.into(),
    }
}

fn broken(kind: io::ErrorKind) -> TreeError {
    TreeError::Stream(kind.into())
}

//! What a tree cannot be.

use super::path::shown;

/// Why something cannot be in a tree, or is not found there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TreeError {
    /// Something that is no directory is in the way.
    #[error("`{}`: `{}` is not a directory", shown(path), shown(at))]
    NotADirectory {
        /// What was asked for.
        path: Box<[u8]>,
        /// What is in the way.
        at: Box<[u8]>,
    },
    /// It is not there.
    #[error("`{}`: it is not there", shown(path))]
    Missing {
        /// What was asked for.
        path: Box<[u8]>,
    },
    /// Symbolic links that lead in circles.
    #[error(
        "`{}`: too many symbolic links on the way; they lead in a circle",
        shown(path)
    )]
    Loop {
        /// What was asked for.
        path: Box<[u8]>,
    },
    /// A path that would leave the tree.
    #[error("`{}`: it leads out of the tree", shown(path))]
    Escapes {
        /// As given.
        path: Box<[u8]>,
    },
    /// A name that no file can have.
    #[error("`{}`: no file can have this name: {reason}", shown(path))]
    Name {
        /// As given.
        path: Box<[u8]>,
        /// Why.
        reason: &'static str,
    },
    /// A second name for a directory.
    #[error(
        "`{}`: a directory cannot have a second name (`{}`)",
        shown(path),
        shown(target)
    )]
    LinkToDirectory {
        /// The new name.
        path: Box<[u8]>,
        /// The directory.
        target: Box<[u8]>,
    },
    /// The top of a tree is a directory.
    #[error("the top of a tree must be a directory")]
    Root,
    /// More nodes than can be counted.
    #[error("a tree has room for {} files", u32::MAX)]
    TooMany,
}

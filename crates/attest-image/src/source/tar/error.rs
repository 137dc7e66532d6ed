//! What can be wrong with an archive.

use std::io;

use crate::tree::{TreeError, shown};

/// What can be wrong with an archive.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TarError {
    /// It cannot be read, or does not come out of its compression.
    #[error("it cannot be read{}", after(last))]
    Stream {
        /// The last entry that was read.
        last: Vec<u8>,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It ends too early.
    #[error("it is cut short{}", after(last))]
    Truncated {
        /// The last entry that was begun.
        last: Vec<u8>,
    },
    /// It is no archive, or damaged.
    #[error("{reason}{}", after(last))]
    Broken {
        /// The last entry that was read.
        last: Vec<u8>,
        /// What is wrong.
        reason: &'static str,
    },
    /// An entry that makes no sense.
    #[error("the entry `{}`: {reason}", shown(entry))]
    Entry {
        /// Its name.
        entry: Vec<u8>,
        /// What is wrong.
        reason: String,
    },
    /// An entry that cannot be in a tree.
    #[error("the entry `{}`", shown(entry))]
    Tree {
        /// Its name.
        entry: Vec<u8>,
        /// Why.
        #[source]
        source: TreeError,
    },
    /// What is in a file cannot be kept until it is written.
    #[error("the entry `{}` cannot be kept", shown(entry))]
    Spool {
        /// Its name.
        entry: Vec<u8>,
        /// Why.
        #[source]
        source: io::Error,
    },
}

fn after(last: &[u8]) -> String {
    match last {
        b"" => String::new(),
        last => format!(", after `{}`", shown(last)),
    }
}

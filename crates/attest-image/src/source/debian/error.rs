//! What goes wrong with a Debian.

use std::io;

use crate::source::TarError;

/// What can go wrong when a Debian is made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DebianError {
    /// The program is not there.
    #[error("`mmdebstrap`, which makes it, is not installed; `apt install mmdebstrap`")]
    Missing,
    /// It cannot be started.
    #[error("`mmdebstrap` cannot be started")]
    Start(#[source] io::Error),
    /// It needs rights that it has not.
    #[error(
        "`mmdebstrap` cannot do it as this user; be root, or see what it needs: {}",
        reasons.join("; ")
    )]
    Rights {
        /// In its words.
        reasons: Vec<String>,
    },
    /// The mirror has no such suite.
    #[error("there is no suite `{suite}` at {}: {}", mirrors.join(", "), reasons.join("; "))]
    Suite {
        /// As declared.
        suite: String,
        /// Where it was looked for.
        mirrors: Vec<String>,
        /// In the words of apt.
        reasons: Vec<String>,
    },
    /// No such packages.
    #[error("the suite `{suite}` has no package {}", packages.join(", "))]
    Packages {
        /// Where it was looked for.
        suite: String,
        /// In quotation marks.
        packages: Vec<String>,
    },
    /// The mirror does not answer.
    #[error(
        "the mirror cannot be reached: {}; is there a network, or does apt need a proxy? Another \
         mirror is given as `mirror`", reasons.join("; ")
    )]
    Unreachable {
        /// In the words of apt.
        reasons: Vec<String>,
    },
    /// Anything else.
    #[error("`mmdebstrap` failed: {}", reasons.join("; "))]
    Failed {
        /// Its errors, or its last words.
        reasons: Vec<String>,
    },
    /// What it wrote is no archive.
    #[error("`mmdebstrap` wrote no archive that can be read")]
    Archive(#[source] TarError),
}

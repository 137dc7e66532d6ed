//! What can be wrong with an image for containers.

use std::io;

use super::ARCHITECTURE;

/// What can be wrong with an image for containers.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OciError {
    /// It is none.
    #[error(
        "it is neither an OCI image layout (it has no index.json) nor what `docker save` writes \
         (it has no manifest.json); a plain root file system is declared with `tar` or `directory`"
    )]
    NotAnImage,
    /// A part of it is not there.
    #[error("`{name}` is missing: it was not copied or saved as a whole")]
    Missing {
        /// Of the part.
        name: String,
    },
    /// A part cannot be read.
    #[error("`{name}` cannot be read")]
    Read {
        /// Of the part.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A description that makes no sense.
    #[error("`{name}` makes no sense")]
    Json {
        /// Of the description.
        name: String,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// A part that is not what it is said to be.
    #[error(
        "`{name}` is damaged: its digest is sha256:{found}, and should be sha256:{wanted}; copy or save the image again"
    )]
    Damaged {
        /// Of the part.
        name: String,
        /// The digest that it should have.
        wanted: String,
        /// The digest that it has.
        found: String,
    },
    /// A part that was cut, or to which something was added.
    #[error(
        "`{name}` is damaged: it has {found} bytes, and should have {wanted}; copy or save the image again"
    )]
    Length {
        /// Of the part.
        name: String,
        /// Bytes that it should have.
        wanted: u64,
        /// Bytes that it has.
        found: u64,
    },
    /// A digest that cannot be checked.
    #[error(
        "the digest `{digest}` is not of the form sha256:… with 64 hexadecimal digits, the only one that attest can check"
    )]
    Digest {
        /// As it stands there.
        digest: String,
    },
    /// More than any image has.
    #[error("it has more than {most} {what}: no honest image has")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// What is allowed.
        most: u64,
    },
    /// There is nothing for this host.
    #[error("it has nothing for linux/{ARCHITECTURE}, only for {}; get it with `--platform linux/{ARCHITECTURE}`", found.join(", "))]
    Platform {
        /// What it is for.
        found: Vec<String>,
    },
    /// There is more than one.
    #[error("it holds several images: {}; save the one that is meant alone", names.join(", "))]
    Several {
        /// Their names.
        names: Vec<String>,
    },
    /// Something else that registries keep.
    #[error("it holds no file systems but `{media_type}`")]
    Kind {
        /// What it holds.
        media_type: String,
    },
    /// Descriptions that contradict one another.
    #[error("`{name}` contradicts the manifest: {layers} layers there, {digests} here")]
    Layers {
        /// Of the description.
        name: String,
        /// How many layers the manifest names.
        layers: usize,
        /// How many this description has.
        digests: usize,
    },
}

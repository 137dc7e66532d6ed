//! The parts of an image by their names, whether it is a directory or an archive.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::digest::{Digest, Hashed, Written};
use super::error::OciError;
use crate::error::ImageError;
use crate::progress::Step;
use crate::source::{archive, directory};
use crate::tree::{Contents, Tree, shown};

/// Bytes of a description; registries take no larger ones.
const MOST_JSON: u64 = 4 * 1024 * 1024;

/// The parts of an image.
pub(super) struct Store {
    pub(super) path: PathBuf,
    parts: Tree,
}

/// What one part says of another (OCI image specification, "descriptor.md").
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    #[serde(default)]
    pub(super) media_type: String,
    pub(super) digest: Written,
    pub(super) size: u64,
    pub(super) platform: Option<Platform>,
    #[serde(default)]
    pub(super) annotations: Option<BTreeMap<String, String>>,
}

/// What an image is for.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Platform {
    pub(super) os: String,
    pub(super) architecture: String,
    pub(super) variant: Option<String>,
}

impl Store {
    /// `spool` keeps what comes out of a compressed archive.
    pub(super) fn open(
        path: &Path,
        spool: &Path,
        progress: &mut dyn FnMut(Step),
    ) -> Result<Self, ImageError> {
        let parts = if path.is_dir() {
            directory(path)?
        } else {
            archive(path, spool, progress)?
        };
        let path = path.to_owned();
        Ok(Self { path, parts })
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.parts
            .get(name)
            .is_some_and(|node| node.contents().is_some())
    }

    pub(super) fn part(&self, name: &str) -> Result<&Contents, OciError> {
        let part = self.parts.get(name).and_then(|node| node.contents());
        part.ok_or_else(|| OciError::Missing {
            name: shown(name.as_bytes()),
        })
    }

    /// A description, for which no digest is known.
    pub(super) fn json<T: DeserializeOwned>(&self, name: &str) -> Result<T, OciError> {
        parse(name, &self.bytes(name)?)
    }

    /// A description that has this digest.
    pub(super) fn checked_json<T: DeserializeOwned>(
        &self,
        name: &str,
        digest: &Digest,
    ) -> Result<T, OciError> {
        let bytes = self.bytes(name)?;
        let found = Hashed::new(&*bytes).finish().map_err(unreadable(name))?;
        digest.check(name, found)?;
        parse(name, &bytes)
    }

    /// The description that is described so.
    pub(super) fn described<T: DeserializeOwned>(
        &self,
        descriptor: &Descriptor,
    ) -> Result<T, OciError> {
        let digest = descriptor.digest.digest()?;
        let name = blob(&digest);
        length(&name, descriptor.size, self.part(&name)?)?;
        self.checked_json(&name, &digest)
    }

    fn bytes(&self, name: &str) -> Result<Vec<u8>, OciError> {
        let part = self.part(name)?;
        if part.len() > MOST_JSON {
            return Err(OciError::TooMuch {
                what: "bytes in a description",
                most: MOST_JSON,
            });
        }
        part.read(MOST_JSON).map_err(unreadable(name))
    }
}

/// Where a part of an OCI layout is.
pub(super) fn blob(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.digits())
}

/// Whether a part is as long as it must be.
pub(super) fn length(name: &str, wanted: u64, part: &Contents) -> Result<(), OciError> {
    let found = part.len();
    if found == wanted {
        return Ok(());
    }
    Err(OciError::Length {
        name: name.to_owned(),
        wanted,
        found,
    })
}

pub(super) fn unreadable(name: &str) -> impl FnOnce(std::io::Error) -> OciError {
    let name = shown(name.as_bytes());
    move |source| OciError::Read { name, source }
}

fn parse<T: DeserializeOwned>(name: &str, bytes: &[u8]) -> Result<T, OciError> {
    serde_json::from_slice(bytes).map_err(|source| OciError::Json {
        name: shown(name.as_bytes()),
        source,
    })
}

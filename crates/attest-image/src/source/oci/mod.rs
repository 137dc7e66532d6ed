//! Images for containers as systems: an OCI image layout (a directory, or an archive of one) and
//! what `docker save` wrote. Every part is compared with its digest, but for the list of what is
//! in the image, which nothing vouches for. The layers are put over one another, whiteouts and
//! all; what the image says of how a container is to be started means nothing to a machine.

mod digest;
mod error;
mod layout;
mod saved;
mod store;

use std::cell::Cell;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::rc::Rc;

use serde::Deserialize;

pub use error::OciError;

use super::archive::failure;
use super::meter::{Counted, Told};
use super::tar::{TarError, unpack};
use crate::error::ImageError;
use crate::packing::Packing;
use crate::progress::{Progress, Step};
use crate::tree::{Contents, Spool, Tree, shown};
use crate::unpacking;
use digest::{Digest, Hashed, Written};
use store::{Platform, Store, length, unreadable};

/// What attest's machines are, as images name it (Go's `GOARCH`).
const ARCHITECTURE: &str = "amd64";
/// Layers of one image. Docker makes at most 127.
const MOST_LAYERS: usize = 1024;
/// Bytes that are read at once.
const BUFFER: usize = 128 * 1024;

/// A layer of an image.
struct Layer {
    /// Where it is.
    name: String,
    digest: Digest,
    of: Of,
    /// In bytes, as it is stored.
    length: Option<u64>,
}

/// What a digest is of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    /// The layer as it is stored.
    Stored,
    /// The layer without its compression.
    Plain,
}

/// What an image says of itself (OCI image specification, "config.md").
#[derive(Deserialize)]
struct Config {
    #[serde(flatten)]
    platform: Platform,
    rootfs: Rootfs,
}

#[derive(Deserialize)]
struct Rootfs {
    diff_ids: Vec<Written>,
}

impl Config {
    /// Whether it is of this manifest, and that of an honest image.
    fn check(&self, name: &str, layers: usize) -> Result<(), OciError> {
        let digests = self.rootfs.diff_ids.len();
        if layers > MOST_LAYERS {
            return Err(OciError::TooMuch {
                what: "layers",
                most: MOST_LAYERS as u64,
            });
        }
        if digests != layers {
            return Err(OciError::Layers {
                name: shown(name.as_bytes()),
                layers,
                digests,
            });
        }
        Ok(())
    }
}

/// Whether a platform is that of attest's machines; what is not said may be.
fn fits(platform: &Platform) -> bool {
    matches!(&*platform.os, "" | "linux")
        && (platform.architecture.is_empty() || platform.architecture == ARCHITECTURE)
}

/// Read an image for containers: a directory or an archive with an OCI image layout, or what
/// `docker save` or `podman save` wrote. Of several platforms linux/amd64 is taken. Contents that
/// are not compressed are read from where they are when they are needed, and may not change until
/// then; the others are kept in `directory`. `progress` hears how far it is.
///
/// # Errors
/// Something is missing, damaged, or makes no sense, there are several images or none for these
/// machines, or the disk is full.
pub fn oci(
    path: &Path,
    directory: &Path,
    progress: &mut dyn FnMut(Step),
) -> Result<Tree, ImageError> {
    let store = Store::open(path, directory, progress)?;
    let failed = |source| ImageError::Oci {
        path: path.to_owned(),
        source,
    };
    let layers = if store.has(layout::INDEX) {
        layout::layers(&store)
    } else if store.has(saved::MANIFEST) {
        saved::layers(&store)
    } else {
        Err(OciError::NotAnImage)
    };
    let layers = layers.map_err(failed)?;
    let parts = layers.iter().map(|layer| {
        let part = store.part(&layer.name)?;
        length(&layer.name, layer.length.unwrap_or(part.len()), part)?;
        Ok((layer, part))
    });
    let parts: Result<Vec<_>, OciError> = parts.collect();
    let parts = parts.map_err(failed)?;
    let total = parts.iter().map(|(_, part)| part.len()).sum();
    let what = format!("unpacking the layers of {}", path.display());
    let mut unpacker = Unpacker {
        store: &store,
        directory,
        spool: Spool::new(directory)?,
        progress: Progress::new(what, total, progress),
        done: 0,
        tree: Tree::new(),
    };
    for (layer, part) in parts {
        unpacker.layer(layer, part)?;
    }
    Ok(unpacker.tree)
}

/// Puts layers over one another.
struct Unpacker<'a> {
    store: &'a Store,
    directory: &'a Path,
    spool: Spool,
    progress: Progress<'a>,
    /// Bytes of the layers before.
    done: u64,
    tree: Tree,
}

impl Unpacker<'_> {
    fn layer(&mut self, layer: &Layer, part: &Contents) -> Result<(), ImageError> {
        let failed = |source| ImageError::Oci {
            path: self.store.path.clone(),
            source,
        };
        let unread = |error| failed(unreadable(&layer.name)(error));
        let is_packed = is_packed(part).map_err(unread)?;
        let stored = part.reader().map_err(unread)?;
        let stored = Told::new(stored, self.done, &mut self.progress);
        self.done += part.len();
        // What the digest is of.
        let stream: Box<dyn Read + '_> = match layer.of {
            Of::Stored => Box::new(stored),
            Of::Plain => unpacking::plain(stored).map_err(unread)?,
        };
        let mut hashed = Hashed::new(stream);
        let into = &mut self.tree.layer();
        let unpacked = match part.in_place().filter(|_| !is_packed) {
            Some((file, offset)) => {
                let position = Rc::new(Cell::new(offset));
                let reader = Counted {
                    reader: BufReader::with_capacity(BUFFER, &mut hashed),
                    position: Rc::clone(&position),
                };
                unpack(reader, into, &mut Spool::over(file, position))
            }
            None => unpacking::plain(&mut hashed)
                .map_err(|source| TarError::Stream {
                    last: Vec::new(),
                    source,
                })
                .and_then(|stream| unpack(stream, into, &mut self.spool)),
        };
        // That a layer is damaged says more than what it led to; but what cannot be read to its
        // end has no digest.
        if let Ok(found) = hashed.finish() {
            layer
                .digest
                .check(&shown(layer.name.as_bytes()), found)
                .map_err(failed)?;
        }
        let name = format!(
            "{} in {}",
            shown(layer.name.as_bytes()),
            self.store.path.display()
        );
        unpacked.map_err(failure(&name, self.directory))
    }
}

fn is_packed(part: &Contents) -> io::Result<bool> {
    let mut start = Vec::new();
    part.reader()?.take(6).read_to_end(&mut start)?;
    Ok(Packing::of(&start).is_some())
}

#[cfg(test)]
mod tests;

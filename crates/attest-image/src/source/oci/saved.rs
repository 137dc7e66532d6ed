//! What `docker save` wrote before it wrote OCI layouts, and `podman save` still does.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::digest::Digest;
use super::error::OciError;
use super::store::Store;
use super::{Config, Layer, Of};
use crate::tree::shown;

/// The list of what was saved.
pub(super) const MANIFEST: &str = "manifest.json";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Image {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// The layers of the one image, the lowest first.
pub(super) fn layers(store: &Store) -> Result<Vec<Layer>, OciError> {
    let mut images: Vec<Image> = store.json(MANIFEST)?;
    let image = match (images.pop(), images.len()) {
        (None, _) => return Err(OciError::NotAnImage),
        (Some(image), 0) => image,
        (Some(last), _) => return Err(several(images.into_iter().chain([last]))),
    };
    let config = config(store, &image.config)?;
    config.check(&image.config, image.layers.len())?;
    if !super::fits(&config.platform) {
        let platform = config.platform;
        let found = format!("{}/{}", platform.os, platform.architecture);
        return Err(OciError::Platform {
            found: vec![shown(found.as_bytes())],
        });
    }
    let digests = config.rootfs.diff_ids.iter();
    let layers = image.layers.into_iter().zip(digests);
    let layers = layers.map(|(name, digest)| {
        Ok(Layer {
            name,
            digest: digest.digest()?,
            // Their names are of the images that once were theirs.
            of: Of::Plain,
            length: None,
        })
    });
    layers.collect()
}

/// By custom its name is its digest.
fn config(store: &Store, name: &str) -> Result<Config, OciError> {
    let file = name.rsplit('/').next().unwrap_or(name);
    let digits = file.strip_suffix(".json").unwrap_or(file);
    match Digest::of_digits(digits) {
        Some(digest) => store.checked_json(name, &digest),
        None => store.json(name),
    }
}

fn several(images: impl Iterator<Item = Image>) -> OciError {
    let names = images.map(|image| {
        let tag = image.repo_tags.and_then(|tags| tags.into_iter().next());
        shown(tag.unwrap_or(image.config).as_bytes())
    });
    OciError::Several {
        names: names.collect::<BTreeSet<_>>().into_iter().collect(),
    }
}

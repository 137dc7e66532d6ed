//! OCI image layouts: which of the images in it is meant, and its layers (OCI image
//! specification, "image-layout.md", "image-index.md", "manifest.md").

use std::collections::{BTreeSet, HashSet};

use serde::Deserialize;

use super::error::OciError;
use super::store::{Descriptor, Platform, Store, blob};
use super::{Config, Layer, Of, fits};
use crate::tree::shown;

/// The list of what is in a layout.
pub(super) const INDEX: &str = "index.json";

/// Manifests and indexes of one image. Images for every platform, with what attests them, have
/// some dozens.
pub(super) const MOST_MANIFESTS: u64 = 1000;

/// Annotations that name an image.
const NAMES: [&str; 2] = [
    "io.containerd.image.name",
    "org.opencontainers.image.ref.name",
];

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

/// An index or a manifest that is to be looked at.
struct Candidate {
    descriptor: Descriptor,
    /// Its name, or that of the index that it is from.
    name: Option<String>,
}

/// What was found on the way.
#[derive(Default)]
struct Found {
    images: Vec<(Option<String>, Manifest)>,
    platforms: BTreeSet<String>,
    others: BTreeSet<String>,
}

/// The layers of the one image that fits, the lowest first.
pub(super) fn layers(store: &Store) -> Result<Vec<Layer>, OciError> {
    let manifest = find(store)?.choose()?;
    manifest.layers.iter().map(layer).collect()
}

fn find(store: &Store) -> Result<Found, OciError> {
    let mut found = Found::default();
    let mut seen = HashSet::new();
    let mut left = Vec::new();
    let index: Index = store.json(INDEX)?;
    add(&mut left, index, None);
    while let Some(candidate) = left.pop() {
        let descriptor = &candidate.descriptor;
        // The same under another name.
        if !seen.insert(descriptor.digest.digest()?) {
            continue;
        }
        if seen.len() as u64 > MOST_MANIFESTS {
            return Err(OciError::TooMuch {
                what: "manifests",
                most: MOST_MANIFESTS,
            });
        }
        if found.is_foreign(descriptor.platform.as_ref()) {
            continue;
        }
        match &*descriptor.media_type {
            "application/vnd.oci.image.index.v1+json"
            | "application/vnd.docker.distribution.manifest.list.v2+json" => {
                let index = store.described(descriptor)?;
                add(&mut left, index, candidate.name.as_ref());
            }
            "application/vnd.oci.image.manifest.v1+json"
            | "application/vnd.docker.distribution.manifest.v2+json" => {
                let manifest = store.described(descriptor)?;
                found.manifest(store, candidate.name, manifest)?;
            }
            other => drop(found.others.insert(shown(other.as_bytes()))),
        }
    }
    Ok(found)
}

/// In their order: what is last is looked at first.
fn add(left: &mut Vec<Candidate>, index: Index, name: Option<&String>) {
    let candidates = index.manifests.into_iter().rev();
    left.extend(candidates.map(|descriptor| {
        let annotations = descriptor.annotations.as_ref();
        let own = annotations.and_then(|all| NAMES.iter().find_map(|name| all.get(*name)));
        Candidate {
            name: own.or(name).map(|name| shown(name.as_bytes())),
            descriptor,
        }
    }));
}

impl Found {
    /// Whether something is for other machines, which is noted.
    fn is_foreign(&mut self, platform: Option<&Platform>) -> bool {
        let Some(platform) = platform.filter(|platform| !fits(platform)) else {
            return false;
        };
        let Platform {
            os,
            architecture,
            variant,
        } = platform;
        // What attests an image is for no platform.
        if architecture != "unknown" {
            let variant = variant.iter().flat_map(|variant| ["/", variant]);
            let named = [os, "/", architecture].into_iter().chain(variant);
            self.platforms
                .insert(shown(named.collect::<String>().as_bytes()));
        }
        true
    }

    fn manifest(
        &mut self,
        store: &Store,
        name: Option<String>,
        manifest: Manifest,
    ) -> Result<(), OciError> {
        if !matches!(
            &*manifest.config.media_type,
            "application/vnd.oci.image.config.v1+json"
                | "application/vnd.docker.container.image.v1+json"
        ) {
            let kind = shown(manifest.config.media_type.as_bytes());
            self.others.insert(kind);
            return Ok(());
        }
        let config: Config = store.described(&manifest.config)?;
        // An index may be silent about the platform, or wrong.
        if !self.is_foreign(Some(&config.platform)) {
            let name_of_config = blob(&manifest.config.digest.digest()?);
            config.check(&name_of_config, manifest.layers.len())?;
            self.images.push((name, manifest));
        }
        Ok(())
    }

    /// The first that fits, as the specification has it, unless people gave them names.
    fn choose(mut self) -> Result<Manifest, OciError> {
        let names: BTreeSet<_> = self
            .images
            .iter()
            .filter_map(|(name, _)| name.clone())
            .collect();
        if names.len() > 1 {
            return Err(OciError::Several {
                names: names.into_iter().collect(),
            });
        }
        if !self.images.is_empty() {
            return Ok(self.images.swap_remove(0).1);
        }
        if !self.platforms.is_empty() {
            return Err(OciError::Platform {
                found: self.platforms.into_iter().collect(),
            });
        }
        Err(match self.others.pop_first() {
            Some(media_type) => OciError::Kind { media_type },
            None => OciError::Platform {
                found: vec!["nothing at all".to_owned()],
            },
        })
    }
}

fn layer(descriptor: &Descriptor) -> Result<Layer, OciError> {
    let media_type = &*descriptor.media_type;
    let is_layer = media_type.contains(".image.layer.") || media_type.contains(".image.rootfs.");
    if !is_layer || media_type.ends_with("+encrypted") {
        return Err(OciError::Kind {
            media_type: shown(media_type.as_bytes()),
        });
    }
    let digest = descriptor.digest.digest()?;
    Ok(Layer {
        name: blob(&digest),
        digest,
        of: Of::Stored,
        length: Some(descriptor.size),
    })
}

//! Images, and the cache that keeps them.

use std::path::{Path, PathBuf};

use attest_image::store::SIZE_VARIABLE;
use attest_manifest::{Manifest, Size};

pub use attest_image::export::{StoreImage, store, vmlinux};
pub use attest_image::store::{Packed, Packing, Unpacked, pack};
pub use attest_image::{
    Amount, Cache, CacheEntry, Caches, Damage, Damaged, ImageError, Keep, Lease, Pace, SealedFile,
    Step, Unfinished, Wanted,
    root::RootFacts,
    store::{SnapshotError, SnapshotSettings, SnapshotStore, about_lab},
};
use attest_image::{Kernel, export};

use crate::boot::{Root, first_steps};
use crate::error::{Error, Result};

/// An image of a manifest that is ready to be booted.
#[derive(Debug)]
#[non_exhaustive]
pub struct ReadyImage {
    /// As in the manifest.
    pub name: String,
    /// The file, which nothing writes to.
    pub path: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
    root: Root,
}

impl ReadyImage {
    /// Its entry in the cache; none for a `disk`, which stays where it is. The entry cannot be
    /// removed as long as this lives.
    pub fn entry(&self) -> Option<&Path> {
        self.root.entry()
    }
}

/// Build images of a manifest, or take them from the cache: those of these names, or all.
/// `progress` hears of what takes longer than a moment.
///
/// # Errors
/// The manifest is wrong, it has no image of such a name, or one cannot be built; those before it
/// are in the cache then.
pub fn build(
    cache: &Cache,
    manifest: &Path,
    names: &[String],
    progress: &mut dyn FnMut(Step),
) -> Result<Vec<ReadyImage>> {
    let plan = Manifest::load(manifest)?.plan()?;
    let known = || plan.images.iter().map(|image| image.name.clone());
    if let Some(name) = names
        .iter()
        .find(|name| !known().any(|known| known == **name))
    {
        return Err(Error::UnknownImage {
            name: name.clone(),
            known: known().collect(),
        });
    }
    let wanted = plan
        .images
        .iter()
        .filter(|image| names.is_empty() || names.contains(&image.name));
    let mut ready = Vec::new();
    for image in wanted {
        let root = Root::get(cache, image, progress)?;
        let path = root.disk.clone();
        let bytes = std::fs::metadata(&path).map_err(Error::io("the image cannot be read"))?;
        ready.push(ReadyImage {
            name: image.name.clone(),
            bytes: bytes.len(),
            path,
            root,
        });
    }
    Ok(ready)
}

/// Write the initramfs for a kernel, as labs get one by themselves: attest's agent, and the modules that it takes to find
/// a root. `modules` is the directory with `modules.dep`; without, it is looked for as for `kernel` in a manifest.
///
/// # Errors
/// The kernel cannot be used, or the file cannot be written.
pub fn initrd(kernel: &Path, modules: Option<&Path>, to: &Path) -> Result<(), ImageError> {
    let mut kernel = Kernel::at(kernel)?;
    if let Some(modules) = modules {
        kernel = kernel.with_modules(modules)?;
    }
    export::initrd(&kernel, &first_steps(), to)
}

/// The cache in this directory, or where it is by default.
///
/// # Errors
/// It cannot be opened, or no place for it is known.
pub fn cache(directory: Option<&Path>) -> Result<Cache, ImageError> {
    Cache::open(&place(directory)?)
}

/// Where snapshots are kept: in the directory that `$ATTEST_SNAPSHOTS_DIR` names or in memory, and
/// below the cache directory; as many as `$ATTEST_SNAPSHOTS_SIZE` says in each.
///
/// # Errors
/// The directory that was named cannot be used, or what is set makes no sense.
pub fn snapshots(cache: Option<&Path>) -> Result<SnapshotStore, SnapshotError> {
    let limit = match std::env::var(SIZE_VARIABLE) {
        Ok(text) if !text.is_empty() => {
            let size: Option<Size> = text.parse().ok();
            let size = size.ok_or(SnapshotError::Limit { text })?;
            Some(size.bytes())
        }
        _ => None,
    };
    let settings = SnapshotSettings::from_environment(place(cache)?, limit);
    SnapshotStore::open(&settings)
}

/// Where the cache is by default; `None` where no place for it is known.
pub fn default_place() -> Option<PathBuf> {
    Cache::default_directory().ok()
}

/// The directory that is asked for, or the default one.
pub(crate) fn place(directory: Option<&Path>) -> Result<PathBuf, ImageError> {
    directory.map_or_else(Cache::default_directory, |directory| {
        Ok(directory.to_owned())
    })
}

//! The Debian that benchmarks boot: `images.web` of `examples/load-balancer`, so that both have
//! one entry of the cache.

use std::path::Path;

use attest::manifest::{Debian, FileEntry, Image, ImageDefinition, Machine, ManifestFile};
use attest::{Backend, Lab};
use attest_image::root::{Profile, RootImage, RootSource, RootSpec};
use attest_image::source::DebianError;
use attest_image::{Cache, ImageError, root, source};

use crate::{Result, labs};

const IMAGE: &str = "web";
const SUITE: &str = "bookworm";
const PACKAGES: [&str; 1] = ["nginx-light"];
/// Of virtual machines; the second processor makes translated ones half as slow.
const VCPUS: u32 = 2;

/// What its builder makes of the declaration that [`manifest`] has.
pub(crate) fn spec() -> RootSpec {
    let source = RootSource::Debian(source::Debian {
        suite: SUITE.to_owned(),
        packages: PACKAGES.map(str::to_owned).to_vec(),
        mirror: None,
        components: vec!["main".to_owned()],
    });
    RootSpec {
        profile: Profile::Lean,
        ..RootSpec::new(IMAGE, source)
    }
}

/// The image, or why this host cannot make it.
pub(crate) fn image(cache: &Cache) -> Result<std::result::Result<RootImage, String>> {
    match root::build_root(cache, &spec(), &mut |_| {}) {
        Ok(image) => Ok(Ok(image)),
        Err(ImageError::Debian { source, .. })
            if matches!(
                source,
                DebianError::Missing | DebianError::Unreachable { .. } | DebianError::Rights { .. }
            ) =>
        {
            Ok(Err(source.to_string()))
        }
        Err(error) => Err(error.into()),
    }
}

/// As [`image`], for containers: also why this host has none.
pub(crate) fn image_for_containers(
    cache: &Cache,
) -> Result<std::result::Result<RootImage, String>> {
    match attest_vmm::nspawn::probe() {
        Ok(_) => image(cache),
        Err(reason) => Ok(Err(reason)),
    }
}

/// Machines of it, on no network, each with these files.
pub(crate) fn manifest(
    backend: Backend,
    machines: &[&str],
    files: &[(&str, &str)],
) -> ManifestFile {
    let image = ImageDefinition {
        debian: Some(Debian {
            suite: Some(SUITE.to_owned()),
            packages: PACKAGES.map(str::to_owned).to_vec(),
            ..Debian::default()
        }),
        ..ImageDefinition::default()
    };
    let files = files
        .iter()
        .map(|(path, text)| ((*path).to_owned(), FileEntry::Text((*text).to_owned())));
    let machine = Machine {
        image: Some(Image::Name(IMAGE.to_owned())),
        backend: Some(backend),
        vcpus: (backend == Backend::Qemu).then_some(VCPUS),
        files: files.collect(),
        ..Machine::default()
    };
    let mut file = ManifestFile::default();
    file.images.insert(IMAGE.to_owned(), image);
    for name in machines {
        file.machines.insert((*name).to_owned(), machine.clone());
    }
    file
}

/// The lab of it, with all machines off; its consoles go to this directory.
pub(crate) async fn create(manifest: ManifestFile, output: &Path) -> Result<Lab> {
    Ok(Lab::create(manifest.plan()?, labs::context(output)).await?)
}

/// As [`create`], with all machines ready.
pub(crate) async fn boot(manifest: ManifestFile, output: &Path) -> Result<Lab> {
    let lab = create(manifest, output).await?;
    lab.start_all().await?;
    Ok(lab)
}

/// The cache that labs have.
pub(crate) fn cache() -> Result<Cache> {
    Ok(Cache::open(&Cache::default_directory()?)?)
}

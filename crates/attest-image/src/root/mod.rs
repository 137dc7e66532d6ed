//! Root file systems of declared images: built once into an entry of the cache, then shared by
//! all machines and changed by none.

mod ext4;
mod facts;
mod kernel;
mod key;
mod run;
mod spec;

use std::fs;
use std::path::{Path, PathBuf};

pub use facts::RootFacts;
pub use spec::{
    NewContent, NewFile, NewUser, OwnKernel, Profile, RootFormat, RootSource, RootSpec, Units,
};

use crate::cache::{ABOUT, Cache, Lease};
use crate::customize;
use crate::erofs;
use crate::error::ImageError;
use crate::init;
use crate::kernel::Kernel;
use crate::progress::Step;
use crate::source;
use crate::tree::Tree;

/// The kind of the entries in the cache.
const KIND: &str = "root";

/// What a Debian has beside a minimal one where all of it starts: logins and the like wait for
/// devices, a minute and a half in a virtual machine in which nobody announces them.
const UDEV: &str = "udev";

/// A root that is ready. It stays in the cache as long as this or a clone of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootImage {
    /// The use of its entry.
    pub lease: Lease,
    /// The image, never to be written to.
    pub path: PathBuf,
    /// Its file system.
    pub format: RootFormat,
    /// What it is.
    pub facts: RootFacts,
    /// Its own kernel, where that was to be brought out.
    pub kernel: Option<Kernel>,
}

/// Build a root, or take it from the cache. `progress` hears of what takes longer than a moment.
///
/// # Errors
/// The source cannot be read, a change cannot be made, the disk is full: each names what, and
/// what to do.
pub fn build_root(
    cache: &Cache,
    spec: &RootSpec,
    progress: &mut dyn FnMut(Step),
) -> Result<RootImage, ImageError> {
    let key = key::key(spec)?;
    let lease = cache.hold(KIND, key, progress, |entry, progress| {
        Builder { spec, key, entry }.build(progress)
    })?;
    let facts = RootFacts::of_entry(lease.entry())?.unwrap_or_default();
    Ok(RootImage {
        path: lease.entry().join(file_name(spec.format)),
        format: spec.format,
        kernel: kernel::own_kernel(lease.entry()),
        facts,
        lease,
    })
}

fn file_name(format: RootFormat) -> &'static str {
    match format {
        RootFormat::Erofs => "root.erofs",
        RootFormat::Ext4 => "root.ext4",
    }
}

/// What one build has.
struct Builder<'a> {
    spec: &'a RootSpec,
    key: blake3::Hash,
    /// The entry, not yet in its place.
    entry: &'a Path,
}

impl Builder<'_> {
    fn build(&self, progress: &mut dyn FnMut(Step)) -> Result<(), ImageError> {
        let (mut tree, init) = self.source(progress)?;
        let mut facts = RootFacts {
            name: self.spec.name.clone(),
            source: self.spec.source.to_string(),
            init: self.spec.init.clone().or(init),
            ..RootFacts::default()
        };
        self.change(&mut tree, &mut facts)?;
        if !self.spec.run.is_empty() {
            let (name, run) = (&self.spec.name, &self.spec.run);
            tree = run::commands(&tree, name, run, self.entry, progress)?;
        }
        let init = init::check(&tree, facts.init.as_deref());
        let init = init.map_err(|source| ImageError::Init {
            image: self.spec.name.clone(),
            source,
        })?;
        facts.init = Some(init.path);
        facts.look(&tree);
        let found = init::check(&tree, facts.init.as_deref()).map_err(|source| {
            let image = self.spec.name.clone();
            ImageError::Init { image, source }
        })?;
        facts.init = Some(found.path);
        if self.spec.kernel == OwnKernel::BroughtOut {
            kernel::bring_out(&tree, &self.spec.name, self.entry, progress)?;
        }
        self.write(&tree, progress)?;
        facts.write(self.entry)?;
        self.about(&facts)
    }

    /// The source's tree, and its init where only the source knows it.
    fn source(&self, progress: &mut dyn FnMut(Step)) -> Result<(Tree, Option<String>), ImageError> {
        let tree = match &self.spec.source {
            RootSource::Debian(debian) => {
                let mut debian = debian.clone();
                if self.spec.profile == Profile::Full {
                    debian.packages.push(UDEV.to_owned());
                }
                source::debian(&debian, self.entry, progress)
            }
            RootSource::Directory(path) => {
                progress(Step::new(format!("reading {}", path.display())));
                source::directory(path)
            }
            RootSource::Tar(path) => source::archive(path, self.entry, progress),
            RootSource::Oci(path) => source::oci(path, self.entry, progress),
            RootSource::Nix(path) => {
                let system = source::nix(path, Path::new(source::STORE), progress)?;
                return Ok((system.tree, Some(system.init)));
            }
        };
        Ok((tree?, None))
    }

    /// What is declared beside the source, in the order that the declaration says.
    fn change(&self, tree: &mut Tree, facts: &mut RootFacts) -> Result<(), ImageError> {
        let spec = self.spec;
        customize::add_users(tree, &spec.users)?;
        customize::add_files(tree, &spec.files)?;
        customize::prepare_first_boot(tree, spec.profile)?;
        if spec.profile == Profile::Lean {
            let lean = customize::make_lean(tree, &spec.units.enable)?;
            (facts.masked, facts.on_demand) = (lean.masked, lean.on_demand);
        }
        facts.enabled = customize::set_units(tree, &spec.units)?;
        // What comes along with an enabled unit is not masked any more.
        let enabled = &facts.enabled;
        facts.masked.retain(|unit| !enabled.contains(unit));
        Ok(())
    }

    fn write(&self, tree: &Tree, progress: &mut dyn FnMut(Step)) -> Result<(), ImageError> {
        let path = self.entry.join(file_name(self.spec.format));
        let mut uuid = [0; 16];
        uuid.copy_from_slice(&self.key.as_bytes()[..16]);
        match self.spec.format {
            RootFormat::Ext4 => ext4::write(tree, &self.spec.name, &path, &uuid, progress),
            RootFormat::Erofs => {
                let volume = erofs::Volume {
                    name: "attest-root".to_owned(),
                    uuid,
                };
                erofs::write(tree, &path, &volume, progress).map(drop)
            }
        }
    }

    /// In a line, for lists.
    fn about(&self, facts: &RootFacts) -> Result<(), ImageError> {
        let system = facts.system.as_deref().unwrap_or("an unknown system");
        let about = format!("{}: {system}, {}", facts.name, facts.source);
        let path = self.entry.join(ABOUT);
        fs::write(&path, about).map_err(ImageError::file(&path, "it cannot be written"))
    }
}

#[cfg(test)]
mod tests;

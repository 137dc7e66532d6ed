//! The modules of a kernel as an image of their own: for systems that bring no kernel, in virtual
//! machines, which mount it where `modprobe` looks. One for all systems, as the kernel is.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cache::Cache;
use crate::erofs::{self, Volume};
use crate::error::ImageError;
use crate::kernel::Kernel;
use crate::key::Key;
use crate::program;
use crate::progress::Step;
use crate::source;
use crate::tree::{Node, Tree};

/// Raised when what is in such an image changes.
const LAYOUT: u64 = 1;
/// In the entry of the cache.
const FILE: &str = "modules.erofs";
/// What `modprobe` reads; distributions' packages come without, and make them when installed.
const INDEX: &str = "modules.dep.bin";
const PROGRAM: &str = "depmod";

impl Kernel {
    /// An erofs of its modules, with all that `modprobe` needs; `None` when it has none. Made
    /// once.
    ///
    /// # Errors
    /// They cannot be read, there is no `depmod`, or the cache cannot be written.
    pub fn module_image(
        &self,
        cache: &Cache,
        progress: &mut dyn FnMut(Step),
    ) -> Result<Option<PathBuf>, ImageError> {
        let Some(modules) = &self.modules else {
            return Ok(None);
        };
        let mut key = Key::new("modules", LAYOUT);
        key.part(&self.release);
        key.modules(modules)?;
        let entry = cache.entry("modules", key.finish(), progress, |directory, progress| {
            let tree = tree(modules, &self.release)?;
            let volume = Volume {
                name: "attest-modules".to_owned(),
                ..Volume::default()
            };
            erofs::write(&tree, &directory.join(FILE), &volume, progress).map(drop)
        })?;
        Ok(Some(entry.join(FILE)))
    }
}

fn tree(modules: &Path, release: &str) -> Result<Tree, ImageError> {
    let mut tree = source::directory(modules)?;
    // Links into the sources of the kernel, which the guest has not.
    for link in ["build", "source"] {
        tree.remove(link)?;
    }
    if tree.get(INDEX).is_none() {
        for (name, bytes) in index(modules, release)? {
            tree.insert(name, Node::file(0o644, bytes))?;
        }
    }
    Ok(tree)
}

/// What `depmod` writes, by the names of the files.
fn index(modules: &Path, release: &str) -> Result<Vec<(String, Vec<u8>)>, ImageError> {
    let made = tempfile::tempdir();
    let made = made.map_err(ImageError::file(
        &std::env::temp_dir(),
        "no directory can be made there",
    ))?;
    // It writes beside the modules: into a directory that has links to what it reads.
    let place = made.path().join("lib/modules").join(release);
    let linked = || {
        fs::create_dir_all(&place)?;
        for entry in fs::read_dir(modules)? {
            let entry = entry?;
            symlink(entry.path(), place.join(entry.file_name()))?;
        }
        Ok(())
    };
    linked().map_err(ImageError::file(
        modules,
        "the index of these modules cannot be made",
    ))?;
    run(made.path(), release)?;
    let written = || {
        let mut files = Vec::new();
        for entry in fs::read_dir(&place)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                let name = entry.file_name().to_string_lossy().into_owned();
                files.push((name, fs::read(entry.path())?));
            }
        }
        files.sort();
        Ok(files)
    };
    written().map_err(ImageError::file(
        &place,
        "the index of modules cannot be read",
    ))
}

fn run(base: &Path, release: &str) -> Result<(), ImageError> {
    let mut command = Command::new(PROGRAM);
    command.arg("-b").arg(base).arg(release);
    program::run(
        &mut command,
        "it is in the package kmod of every distribution",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_made_into_an_image_once() {
        let directory = tempfile::tempdir().unwrap();
        let modules = directory.path().join("6.1.0-test");
        fs::create_dir_all(modules.join("kernel")).unwrap();
        fs::write(modules.join("kernel/a.ko"), "no module").unwrap();
        symlink("/usr/src/linux", modules.join("build")).unwrap();
        // As where `depmod` ran.
        fs::write(modules.join(INDEX), "index").unwrap();
        let cache = Cache::open(&directory.path().join("cache")).unwrap();
        let kernel = Kernel {
            image: modules.join("vmlinuz"),
            modules: Some(modules.clone()),
            release: "6.1.0-test".to_owned(),
            origin: String::new(),
        };
        let image = kernel.module_image(&cache, &mut |_| {}).unwrap().unwrap();
        let tree = erofs::read(&image).unwrap();
        let read = |path: &str| tree.get(path)?.contents()?.read(100).ok();
        assert_eq!(read("kernel/a.ko").as_deref(), Some(&b"no module"[..]));
        assert!(read(INDEX).is_some() && tree.get("build").is_none());
        assert_eq!(
            kernel.module_image(&cache, &mut |_| {}).unwrap(),
            Some(image)
        );
        let without = Kernel {
            modules: None,
            ..kernel
        };
        assert_eq!(without.module_image(&cache, &mut |_| {}).unwrap(), None);
    }

    #[test]
    fn without_an_index_depmod_makes_one() {
        let directory = tempfile::tempdir().unwrap();
        let missing = index(&directory.path().join("missing"), "6.1.0-test");
        let error = missing.unwrap_err().to_string();
        assert!(error.contains("missing"), "{error}");
        match index(directory.path(), "6.1.0-test") {
            Err(ImageError::Program { program, reason }) => {
                println!("skipped: {program}: {reason}");
            }
            made => assert!(made.unwrap().iter().any(|(name, _)| name == INDEX)),
        }
    }
}

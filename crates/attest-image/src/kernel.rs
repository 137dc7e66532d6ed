//! Where the kernel comes from: `/boot`, a file, or the distribution's package client.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::cache::Cache;
use crate::error::ImageError;
use crate::fetch;
use crate::progress::Step;
use crate::vmlinux;

/// Where a kernel's modules are below the root of its system; the second since usr-merge.
pub(crate) const MODULES: [&str; 2] = ["lib/modules", "usr/lib/modules"];

/// Where to take the kernel from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum KernelSource {
    /// The newest of this system with its modules, else one that is fetched.
    #[default]
    Auto,
    /// A bzImage or vmlinux. Its modules are looked for in the directory of the file,
    /// in `lib/modules/<release>` beside that, and on this system.
    Path(PathBuf),
    /// What this package of the distribution depends on, fetched: `linux-image-amd64`.
    Package(String),
}

/// A kernel and its modules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// bzImage or vmlinux.
    pub image: PathBuf,
    /// `lib/modules/<release>`; `None` for a kernel without modules.
    pub modules: Option<PathBuf>,
    /// As `uname -r` says in the guest.
    pub release: String,
    /// Where it was found, for people.
    pub origin: String,
}

impl Kernel {
    /// Find one. `progress` hears of what takes longer than a moment.
    ///
    /// # Errors
    /// There is none, or the given one cannot be used.
    pub fn find(
        cache: &Cache,
        source: &KernelSource,
        progress: &mut dyn FnMut(Step),
    ) -> Result<Self, ImageError> {
        match source {
            KernelSource::Path(path) => Self::at(path),
            KernelSource::Auto => {
                match Self::in_root(Path::new("/"), "the newest of this system") {
                    Some(kernel) => Ok(kernel),
                    None => Self::fetched(cache, None, progress),
                }
            }
            KernelSource::Package(name) => Self::fetched(cache, Some(name), progress),
        }
    }

    /// The kernel of this file.
    ///
    /// # Errors
    /// It is none, or cannot be read.
    pub fn at(path: &Path) -> Result<Self, ImageError> {
        let unreadable = || ImageError::file(path, "the kernel cannot be read");
        // Links are followed: /vmlinuz names a file in the boot directory.
        let image = path.canonicalize().map_err(unreadable())?;
        let release = release_of(&image)?;
        let release = release.ok_or_else(|| ImageError::Kernel {
            path: path.to_owned(),
            reason: "it is neither a bzImage nor a vmlinux that says its release".to_owned(),
        })?;
        let directory = image.parent().unwrap_or(Path::new("/"));
        let own = has_modules(directory).then(|| directory.to_owned());
        let beside = || modules_in(directory.parent()?, &release);
        let system = || modules_in(Path::new("/"), &release);
        let modules = own.or_else(beside).or_else(system);
        Ok(Self {
            image,
            modules,
            release,
            origin: "as asked".to_owned(),
        })
    }

    /// The same with the modules of this directory.
    ///
    /// # Errors
    /// There are none in it.
    pub fn with_modules(self, directory: &Path) -> Result<Self, ImageError> {
        if !has_modules(directory) {
            let missing = io::ErrorKind::NotFound.into();
            let failed = ImageError::file(directory, "no modules of a kernel are there");
            return Err(failed(missing));
        }
        Ok(Self {
            modules: Some(directory.to_owned()),
            ..self
        })
    }

    /// The newest kernel below `root` whose modules are there and that may be read.
    pub(crate) fn in_root(root: &Path, origin: &str) -> Option<Self> {
        let boot = images(&root.join("boot"), |name| name.starts_with("vmlinuz"));
        // Fedora, Arch and Nix have it beside the modules.
        let with_modules = MODULES.iter().flat_map(|place| list(&root.join(place)));
        let with_modules =
            with_modules.flat_map(|directory| images(&directory, |name| name == "vmlinuz"));
        let found = boot.into_iter().chain(with_modules).filter_map(|image| {
            let release = vmlinux::release(&header(&image).ok()?)?;
            let modules = Some(modules_in(root, &release)?);
            Some(Self {
                image,
                modules,
                release,
                origin: origin.to_owned(),
            })
        });
        found.max_by_key(|kernel| version_key(&kernel.release))
    }

    /// One that the distribution's package client fetched, in the cache: of this package, or of the first that it knows.
    fn fetched(
        cache: &Cache,
        package: Option<&str>,
        progress: &mut dyn FnMut(Step),
    ) -> Result<Self, ImageError> {
        let mut what = "the distribution's kernel for virtual machines, 3".to_owned();
        if let Some(package) = package {
            what = format!("{what}: {package}");
        }
        let key = blake3::hash(what.as_bytes());
        let root = cache.entry("kernel", key, progress, |directory, progress| {
            fetch::kernel(directory, package, progress)
        })?;
        let origin = match package {
            Some(package) => format!("fetched with apt into the cache: {package}"),
            None => "fetched with apt into the cache, for /boot has none with its modules that may be read".to_owned(),
        };
        Self::in_root(&root, &origin).ok_or_else(|| ImageError::NoKernel {
            reason: "the package that was fetched has none".to_owned(),
        })
    }
}

/// The part of a bzImage that says what it is.
fn header(image: &Path) -> Result<Vec<u8>, ImageError> {
    let mut bytes = Vec::with_capacity(vmlinux::HEADER);
    let read = File::open(image)
        .and_then(|file| file.take(vmlinux::HEADER as u64).read_to_end(&mut bytes));
    read.map_err(ImageError::file(image, "the kernel cannot be read"))?;
    Ok(bytes)
}

fn release_of(image: &Path) -> Result<Option<String>, ImageError> {
    let header = header(image)?;
    if !header.starts_with(b"\x7fELF") {
        return Ok(vmlinux::release(&header));
    }
    // By custom its name says it, which spares reading it all.
    let name = image.file_name().unwrap_or_default().to_string_lossy();
    let named = name
        .split_once('-')
        .and_then(|(_, release)| vmlinux::checked_release(release));
    if named.is_some() {
        return Ok(named);
    }
    let found = File::open(image).and_then(|file| vmlinux::release_of_file(&file));
    found.map_err(ImageError::file(image, "the kernel cannot be read"))
}

/// All of a kernel's file.
pub(crate) fn read_image(image: &Path) -> Result<Vec<u8>, ImageError> {
    let read = || {
        let file = File::open(image)?;
        if file.metadata()?.len() > vmlinux::LARGEST_IMAGE {
            return Err(std::io::Error::from(std::io::ErrorKind::FileTooLarge));
        }
        let mut bytes = Vec::new();
        file.take(vmlinux::LARGEST_IMAGE).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().map_err(ImageError::file(image, "the kernel cannot be read"))
}

fn modules_in(root: &Path, release: &str) -> Option<PathBuf> {
    MODULES
        .iter()
        .map(|place| root.join(place).join(release))
        .find(|directory| has_modules(directory))
}

/// The first is made when a kernel is installed, the second is in its package.
fn has_modules(directory: &Path) -> bool {
    ["modules.dep", "modules.order"]
        .iter()
        .any(|file| directory.join(file).exists())
}

fn images(directory: &Path, named: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let mut found = list(directory);
    found.retain(|path| {
        path.file_name()
            .and_then(|name| name.to_str())
            .is_some_and(&named)
    });
    found
}

fn list(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect()
}

/// Releases in the order of their numbers: 6.10 after 6.9, a release after its candidates.
pub(crate) fn version_key(release: &str) -> (Vec<u64>, bool, Vec<u64>) {
    let numbers = |text: &str| {
        text.split(|c: char| !c.is_ascii_digit())
            .filter_map(|number| number.parse().ok())
            .collect()
    };
    let (base, rest) = release.split_once('-').unwrap_or((release, ""));
    (numbers(base), !rest.starts_with("rc"), numbers(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(path: &Path, release: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, vmlinux::tests::bzimage_of(release, b"")).unwrap();
    }

    fn modules(root: &Path, release: &str) -> PathBuf {
        let modules = root.join(release);
        fs::create_dir_all(&modules).unwrap();
        fs::write(modules.join("modules.dep"), "").unwrap();
        modules
    }

    fn install(root: &Path, release: &str) {
        image(&root.join(format!("boot/vmlinuz-{release}")), release);
        modules(&root.join("lib/modules"), release);
    }

    #[test]
    fn the_newest_kernel_with_modules_is_taken() {
        let root = tempfile::tempdir().unwrap();
        for release in [
            "6.9.1-amd64",
            "6.10.0-amd64",
            "5.10.0-amd64",
            "6.10.0-rc7-amd64",
        ] {
            install(root.path(), release);
        }
        image(
            &root.path().join("boot/vmlinuz-7.0.0"),
            "7.0.0-without-modules",
        );
        fs::write(root.path().join("boot/vmlinuz-8.0.0"), "no kernel").unwrap();
        let kernel = Kernel::in_root(root.path(), "here").unwrap();
        assert_eq!(kernel.release, "6.10.0-amd64");
        assert_eq!(
            kernel.modules,
            Some(root.path().join("lib/modules/6.10.0-amd64"))
        );
    }

    #[test]
    fn a_kernel_beside_its_modules_is_found_whatever_its_name() {
        let root = tempfile::tempdir().unwrap();
        let directory = modules(&root.path().join("usr/lib/modules"), "6.12.1-arch1-1");
        image(&directory.join("vmlinuz"), "6.12.1-arch1-1");
        let kernel = Kernel::in_root(root.path(), "here").unwrap();
        assert_eq!(
            (kernel.image, kernel.modules),
            (directory.join("vmlinuz"), Some(directory))
        );
    }

    #[test]
    fn the_modules_of_a_given_kernel_are_found() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        install(&root, "6.1.0-a");
        std::os::unix::fs::symlink("boot/vmlinuz-6.1.0-a", root.join("vmlinuz")).unwrap();
        let through_link = Kernel::at(&root.join("vmlinuz")).unwrap();
        assert_eq!(through_link.modules, Some(root.join("lib/modules/6.1.0-a")));
        image(&root.join("boot/bzImage"), "6.1.0-none");
        assert_eq!(
            Kernel::at(&root.join("boot/bzImage")).unwrap().modules,
            None
        );
    }

    #[test]
    fn a_vmlinux_says_its_release_by_name_or_text() {
        let root = tempfile::tempdir().unwrap();
        let release = |name: &str, text: &str| {
            fs::write(root.path().join(name), format!("\x7fELF {text}")).unwrap();
            Kernel::at(&root.path().join(name)).map(|kernel| kernel.release)
        };
        assert_eq!(release("vmlinux-6.1.0-named", "").unwrap(), "6.1.0-named");
        assert_eq!(
            release("vmlinux", "Linux version 6.1.0-text (x)").unwrap(),
            "6.1.0-text"
        );
        assert!(release("vmlinux", "").is_err());
    }

    #[test]
    fn a_file_that_is_no_kernel_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("notes");
        fs::write(&path, "not a kernel").unwrap();
        let error = Kernel::at(&path).unwrap_err();
        assert!(error.to_string().contains("neither a bzImage"), "{error}");
        let missing = Kernel::at(&root.path().join("missing")).unwrap_err();
        assert!(
            missing
                .to_string()
                .contains("missing: the kernel cannot be read"),
            "{missing}"
        );
    }
}

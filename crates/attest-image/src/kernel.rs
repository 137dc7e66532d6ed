//! Where the kernel comes from: `/boot`, a file, or the distribution's package client.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::cache::Cache;
use crate::error::ImageError;
use crate::vmlinux;

/// Debian's small kernel for virtual machines; a package that depends on the newest.
const DEBIAN_PACKAGE: &str = "linux-image-cloud-amd64";

/// Where to take the kernel from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum KernelSource {
    /// The newest in `/boot` with its modules, else one that is fetched.
    #[default]
    Auto,
    /// A bzImage or vmlinux. Its modules are looked for in `lib/modules/<release>` beside its
    /// `boot` directory, and on this system.
    Path(PathBuf),
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

/// Something that takes its time, for progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step(pub String);

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Kernel {
    /// Find one. `progress` hears of what takes longer than a moment.
    ///
    /// # Errors
    /// There is none, or the given one cannot be used.
    pub fn find(cache: &Cache, source: &KernelSource, progress: &mut dyn FnMut(Step)) -> Result<Self, ImageError> {
        match source {
            KernelSource::Path(path) => Self::at(path),
            KernelSource::Auto => match Self::in_root(Path::new("/"), "/boot") {
                Some(kernel) => Ok(kernel),
                None => Self::fetched(cache, progress),
            },
        }
    }

    fn at(path: &Path) -> Result<Self, ImageError> {
        let image = fs::read(path).map_err(ImageError::file(path, "the kernel cannot be read"))?;
        let unusable = |reason: String| ImageError::Kernel { path: path.to_owned(), reason };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // A vmlinux has no header to ask; its name says the release, by custom.
        let named = name.split_once('-').map(|(_, release)| release.to_owned());
        let release = vmlinux::release(&image).or(named);
        let release = release.ok_or_else(|| {
            unusable("it is no bzImage, and its name does not end with -RELEASE, so its modules cannot be found".to_owned())
        })?;
        let beside = path.parent().and_then(Path::parent).map(|root| root.join("lib/modules").join(&release));
        let system = Path::new("/lib/modules").join(&release);
        let modules = beside.into_iter().chain([system]).find(|directory| directory.join("modules.dep").exists());
        Ok(Self { image: path.to_owned(), modules, release, origin: "as asked".to_owned() })
    }

    /// The newest kernel below `root` whose modules are there and that may be read.
    fn in_root(root: &Path, origin: &str) -> Option<Self> {
        let mut found: Vec<Self> = fs::read_dir(root.join("boot"))
            .ok()?
            .filter_map(|entry| {
                let image = entry.ok()?.path();
                let release = image.file_name()?.to_str()?.strip_prefix("vmlinuz-")?.to_owned();
                let modules = root.join("lib/modules").join(&release);
                let usable = modules.join("modules.dep").exists() && fs::File::open(&image).is_ok();
                let origin = origin.to_owned();
                usable.then_some(Self { image, modules: Some(modules), release, origin })
            })
            .collect();
        found.sort_by_key(|kernel| version_key(&kernel.release));
        found.pop()
    }

    /// One that the distribution's package client fetched, in the cache.
    fn fetched(cache: &Cache, progress: &mut dyn FnMut(Step)) -> Result<Self, ImageError> {
        let key = blake3::hash(DEBIAN_PACKAGE.as_bytes());
        let root = cache.entry("kernel", key, |directory| {
            progress(Step(format!("fetching the kernel ({DEBIAN_PACKAGE}, about 30 MB)")));
            fetch_debian(directory)
        })?;
        Self::in_root(&root, "fetched with apt into the cache")
            .ok_or_else(|| ImageError::NoKernel { reason: "the package that was fetched has none".to_owned() })
    }
}

/// Releases in the order of their numbers: 6.10 after 6.9.
fn version_key(release: &str) -> Vec<u64> {
    release.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}

/// Let apt download Debian's kernel as a package, and dpkg unpack what is needed of it: nothing
/// is installed.
fn fetch_debian(directory: &Path) -> Result<(), ImageError> {
    let no_kernel = |reason: String| ImageError::NoKernel { reason };
    let package = newest_debian_kernel().map_err(no_kernel)?;
    run(Command::new("apt-get").args(["download", "--quiet", &package]).current_dir(directory)).map_err(no_kernel)?;
    let archive = fs::read_dir(directory)
        .map_err(ImageError::file(directory, "it cannot be listed"))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"));
    let archive = archive.ok_or_else(|| no_kernel("apt-get downloaded nothing".to_owned()))?;
    run(Command::new("dpkg-deb").arg("--extract").arg(&archive).arg(directory)).map_err(no_kernel)?;
    fs::remove_file(&archive).map_err(ImageError::file(&archive, "it cannot be removed"))?;
    index_modules(directory)
}

/// The package that the meta package depends on.
fn newest_debian_kernel() -> Result<String, String> {
    let depends = run(Command::new("apt-cache").args(["depends", DEBIAN_PACKAGE]))?;
    let package = depends.lines().find_map(|line| line.trim().strip_prefix("Depends: "));
    let named = package.filter(|package| package.starts_with("linux-image-")).map(str::to_owned);
    named.ok_or_else(|| format!("apt knows no {DEBIAN_PACKAGE}; `apt-get update` may help"))
}

/// A package has no `modules.dep`: its installation makes it, by `depmod`.
fn index_modules(root: &Path) -> Result<(), ImageError> {
    let modules = root.join("lib/modules");
    let releases = fs::read_dir(&modules).map_err(ImageError::file(&modules, "it cannot be listed"))?;
    for release in releases.flatten() {
        if release.path().join("modules.dep").exists() {
            continue;
        }
        let text = crate::modules::index(&release.path())?;
        let path = release.path().join("modules.dep");
        fs::write(&path, text).map_err(ImageError::file(&path, "it cannot be written"))?;
    }
    Ok(())
}

fn run(command: &mut Command) -> Result<String, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{program} cannot be run: {error}"))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        let last = words.trim().lines().next_back().unwrap_or("it said nothing");
        return Err(format!("{program} ended with {}: {last}", output.status));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn install(root: &Path, release: &str) {
        fs::create_dir_all(root.join("boot")).unwrap();
        fs::write(root.join("boot").join(format!("vmlinuz-{release}")), "").unwrap();
        let modules = root.join("lib/modules").join(release);
        fs::create_dir_all(&modules).unwrap();
        fs::write(modules.join("modules.dep"), "").unwrap();
    }

    #[test]
    fn the_newest_kernel_with_modules_is_taken() {
        let root = tempfile::tempdir().unwrap();
        for release in ["6.9.1-amd64", "6.10.0-amd64", "5.10.0-amd64"] {
            install(root.path(), release);
        }
        fs::write(root.path().join("boot/vmlinuz-7.0.0-without-modules"), "").unwrap();
        assert_eq!(Kernel::in_root(root.path(), "here").unwrap().release, "6.10.0-amd64");
    }

    #[test]
    fn a_file_that_is_no_kernel_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("notes");
        fs::write(&path, "not a kernel").unwrap();
        let error = Kernel::at(&path).unwrap_err();
        assert!(error.to_string().contains("no bzImage"), "{error}");
        assert!(Kernel::at(&root.path().join("missing")).is_err());
    }
}

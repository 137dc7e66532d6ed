//! A kernel by the distribution's package client: downloaded and unpacked, not installed, and
//! as a normal user.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::ImageError;
use crate::module_lists::ModuleLists;
use crate::progress::{Amount, Step};

/// Packages that depend on the newest kernel for virtual machines, the smallest first: of Debian
/// (with the drivers for clouds only), of Ubuntu, and of Debian for all machines.
const META: [&str; 3] = [
    "linux-image-cloud-amd64",
    "linux-image-virtual",
    "linux-image-amd64",
];

/// What of a package is kept; a directory's name ends with a slash.
const KEPT: [&str; 4] = [
    "boot/vmlinuz",
    "lib/modules/",
    "usr/lib/modules/",
    "usr/lib/linux/vmlinuz",
];

/// Fetch a kernel and its modules into an empty directory, which then looks like a root: that of this package, or of the
/// first of [`META`] that there is.
pub(crate) fn kernel(
    directory: &Path,
    package: Option<&str>,
    progress: &mut dyn FnMut(Step),
) -> Result<(), ImageError> {
    let no_kernel = |reason: String| ImageError::NoKernel { reason };
    let wanted = package.map_or_else(|| META.to_vec(), |package| vec![package]);
    let apt = Apt::new(directory, &wanted, progress).map_err(no_kernel)?;
    let packages = apt.kernel_packages().map_err(no_kernel)?;
    let downloads = directory.join("downloads");
    fs::create_dir(&downloads).map_err(ImageError::file(&downloads, "it cannot be made"))?;
    for package in &packages {
        apt.download(package, &downloads, progress)
            .map_err(no_kernel)?;
    }
    progress(Step::new("unpacking the kernel"));
    for archive in list(&downloads)? {
        unpack(&archive, directory).map_err(no_kernel)?;
    }
    for used in [downloads, directory.join("apt")] {
        if used.exists() {
            fs::remove_dir_all(&used).map_err(ImageError::file(&used, "it cannot be removed"))?;
        }
    }
    index_modules(directory)
}

/// The package client, with this system's lists of packages, or else own ones.
#[derive(Debug)]
struct Apt<'a> {
    options: Vec<String>,
    meta: &'a str,
}

impl<'a> Apt<'a> {
    /// Fresh systems have no lists, and a normal user cannot fetch the system's.
    fn new(
        directory: &Path,
        wanted: &[&'a str],
        progress: &mut dyn FnMut(Step),
    ) -> Result<Self, String> {
        if let Some(apt) = Self::with(Vec::new(), wanted)? {
            return Ok(apt);
        }
        let own = directory.join("apt");
        let (lists, cache) = (own.join("lists"), own.join("cache"));
        for made in [lists.join("partial"), cache.join("archives/partial")] {
            fs::create_dir_all(&made)
                .map_err(|error| format!("{} cannot be made: {error}", made.display()))?;
        }
        let option = |name: &str, path: &Path| format!("{name}={}", path.display());
        let mut options = vec![
            option("Dir::State::lists", &lists),
            option("Dir::Cache", &cache),
        ];
        if nix::unistd::geteuid().is_root() {
            // The user `_apt` may not write to a directory that only its owner may enter.
            options.push("APT::Sandbox::User=root".to_owned());
        }
        progress(Step::new("fetching the lists of packages"));
        run(with_options("apt-get", &options).args(["update", "--quiet"]))?;
        let apt = Self::with(options, wanted)?;
        apt.ok_or_else(|| format!("apt knows none of {}", wanted.join(", ")))
    }

    /// `None` when these lists have no kernel.
    fn with(options: Vec<String>, wanted: &[&'a str]) -> Result<Option<Self>, String> {
        let known = run(with_options("apt-cache", &options)
            .arg("pkgnames")
            .arg("linux-image-"))?;
        let known: Vec<_> = known.lines().collect();
        let meta = wanted.iter().copied().find(|meta| known.contains(meta));
        Ok(meta.map(|meta| Self { options, meta }))
    }

    /// The package of the kernel, and that of its modules where they are apart (Ubuntu).
    fn kernel_packages(&self) -> Result<Vec<String>, String> {
        let image = dependency(&self.depends(self.meta)?, "linux-image-");
        let image = image.ok_or_else(|| format!("{} depends on no kernel", self.meta))?;
        let modules = dependency(&self.depends(&image)?, "linux-modules-");
        Ok([image].into_iter().chain(modules).collect())
    }

    fn depends(&self, package: &str) -> Result<String, String> {
        run(with_options("apt-cache", &self.options).args(["depends", "--important", package]))
    }

    fn size(&self, package: &str) -> Option<u64> {
        let shown = run(with_options("apt-cache", &self.options).args([
            "show",
            "--no-all-versions",
            package,
        ]));
        shown
            .ok()?
            .lines()
            .find_map(|line| line.strip_prefix("Size: "))?
            .trim()
            .parse()
            .ok()
    }

    fn download(
        &self,
        package: &str,
        into: &Path,
        progress: &mut dyn FnMut(Step),
    ) -> Result<(), String> {
        let total = self.size(package);
        let mut told = None;
        let mut tell = |percent: u64| {
            // Each tenth is enough for eyes.
            let tenth = percent / 10;
            if told.replace(tenth) != Some(tenth) {
                let bytes = total.map(|total| Amount {
                    done: total * percent / 100,
                    total,
                });
                progress(Step::of_bytes(format!("fetching {package}"), bytes));
            }
        };
        tell(0);
        let mut command = with_options("apt-get", &self.options);
        command
            .args(["download", "--quiet", "-o", "APT::Status-Fd=1", package])
            .current_dir(into);
        follow(&mut command, &mut |line| {
            if let Some(percent) = percent(line) {
                tell(percent);
            }
        })
    }
}

fn with_options(program: &str, options: &[String]) -> Command {
    let mut command = Command::new(program);
    // Its words are read.
    command.env("LC_ALL", "C");
    for option in options {
        command.args(["-o", option]);
    }
    command
}

/// The first dependency whose name begins so, in the words of `apt-cache depends`.
fn dependency(depends: &str, prefix: &str) -> Option<String> {
    let names = depends.lines().filter_map(|line| {
        line.trim()
            .trim_start_matches('|')
            .strip_prefix("Depends: ")
    });
    names
        .map(str::trim)
        .find(|name| name.starts_with(prefix))
        .map(str::to_owned)
}

/// How much is there, in apt's status lines: `dlstatus:1:45.2:Retrieving file 1 of 1`.
fn percent(line: &str) -> Option<u64> {
    let mut fields = line.strip_prefix("dlstatus:")?.split(':').skip(1);
    fields
        .next()?
        .split('.')
        .next()?
        .parse()
        .ok()
        .filter(|percent| *percent <= 100)
}

/// What is needed of a package, without a file in between.
fn unpack(archive: &Path, into: &Path) -> Result<(), String> {
    let failed =
        |error: std::io::Error| format!("{} cannot be unpacked: {error}", archive.display());
    let mut command = Command::new("dpkg-deb");
    command
        .arg("--fsys-tarfile")
        .arg(archive)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut child = command
        .spawn()
        .map_err(|error| format!("dpkg-deb cannot be run: {error}"))?;
    let output = child.stdout.take().expect("its output is a pipe");
    let unpacked = unpack_tar(output, into).map_err(failed);
    // Also after an error: a child that is not waited for stays as a zombie.
    let status = child.wait().map_err(failed)?;
    unpacked?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("dpkg-deb ended with {status}"))
    }
}

fn unpack_tar(stream: impl Read, into: &Path) -> std::io::Result<()> {
    let mut archive = tar::Archive::new(stream);
    archive.set_preserve_mtime(false);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = entry.path()?.to_string_lossy().into_owned();
        let name = name.strip_prefix("./").unwrap_or(&name);
        if entry.header().entry_type().is_file() && KEPT.iter().any(|kept| name.starts_with(kept)) {
            // It refuses names that lead out of the directory.
            entry.unpack_in(into)?;
        }
    }
    // Read on to the end, or the writer ends by a broken pipe.
    std::io::copy(&mut archive.into_inner(), &mut std::io::sink()).map(drop)
}

/// A package has no `modules.dep`: its installation makes it, by `depmod`.
pub(crate) fn index_modules(root: &Path) -> Result<(), ImageError> {
    for modules in [root.join("lib/modules"), root.join("usr/lib/modules")] {
        if !modules.exists() {
            continue;
        }
        for release in list(&modules)? {
            ModuleLists::write_missing(&release)?;
        }
    }
    Ok(())
}

fn list(directory: &Path) -> Result<Vec<PathBuf>, ImageError> {
    let entries =
        fs::read_dir(directory).map_err(ImageError::file(directory, "it cannot be listed"))?;
    Ok(entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect())
}

/// Run it, and hear each line of its output as it comes.
fn follow(command: &mut Command, hear: &mut dyn FnMut(&str)) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let failed = |error: std::io::Error| format!("{program} cannot be run: {error}");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    let (output, errors) = (child.stdout.take(), child.stderr.take());
    let words = std::thread::spawn(move || {
        let mut words = String::new();
        // It ends at what is not text; then that is all that is known.
        let _ = errors.map(|errors| errors.take(1 << 20).read_to_string(&mut words));
        words
    });
    for line in BufReader::new(output.expect("its output is a pipe")).lines() {
        hear(&line.map_err(failed)?);
    }
    let status = child.wait().map_err(failed)?;
    let words = words.join().unwrap_or_default();
    if status.success() {
        return Ok(());
    }
    let last = words
        .trim()
        .lines()
        .next_back()
        .unwrap_or("it said nothing");
    Err(format!("{program} ended with {status}: {last}"))
}

fn run(command: &mut Command) -> Result<String, String> {
    let mut output = String::new();
    follow(command, &mut |line| {
        output.push_str(line);
        output.push('\n');
    })?;
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_apt_are_understood() {
        let debian = "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-42-cloud-amd64\n";
        assert_eq!(
            dependency(debian, "linux-image-").as_deref(),
            Some("linux-image-6.1.0-42-cloud-amd64")
        );
        let ubuntu = "linux-image-6.8.0-31-generic\n |Depends: kmod\n  Depends: linux-modules-6.8.0-31-generic\n";
        assert_eq!(
            dependency(ubuntu, "linux-modules-").as_deref(),
            Some("linux-modules-6.8.0-31-generic")
        );
        assert_eq!(dependency(debian, "linux-modules-"), None);
        assert_eq!(
            percent("dlstatus:1:45.2068:Retrieving file 1 of 1"),
            Some(45)
        );
        assert_eq!(percent("Get:1 http://example.org 45.2"), None);
        assert_eq!(percent("dlstatus:1:1e9:"), None);
    }

    #[test]
    fn only_what_is_needed_is_unpacked() {
        let mut archive = tar::Builder::new(Vec::new());
        for name in [
            "./boot/vmlinuz-6.1",
            "./boot/System.map-6.1",
            "./lib/modules/6.1/a.ko",
            "./usr/share/doc/x",
        ] {
            let mut header = tar::Header::new_gnu();
            header.set_size(1);
            header.set_mode(0o644);
            archive
                .append_data(&mut header, name, b"x".as_slice())
                .unwrap();
        }
        let directory = tempfile::tempdir().unwrap();
        unpack_tar(&*archive.into_inner().unwrap(), directory.path()).unwrap();
        let names: Vec<_> = list(directory.path()).unwrap();
        assert_eq!(names.len(), 2, "{names:?}");
        assert_eq!(
            list(&directory.path().join("boot")).unwrap(),
            [directory.path().join("boot/vmlinuz-6.1")]
        );
        assert!(directory.path().join("lib/modules/6.1/a.ko").exists());
    }

    #[test]
    fn a_client_that_is_missing_or_fails_is_named() {
        let missing = run(&mut Command::new("no-such-package-client")).unwrap_err();
        assert!(
            missing.starts_with("no-such-package-client cannot be run"),
            "{missing}"
        );
        let failed =
            run(Command::new("sh").args(["-c", "echo first >&2; echo E: reason >&2; exit 3"]));
        assert_eq!(
            failed.unwrap_err(),
            "sh ended with exit status: 3: E: reason"
        );
    }
}

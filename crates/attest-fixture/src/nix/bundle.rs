//! What the sandbox sees as `/host`: made once for each attest that is tested, and shared by all tests.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Tested;
use super::host::{self, Host};

/// The directory, and what stub packages know of it.
#[derive(Debug)]
pub struct Bundle {
    pub directory: PathBuf,
    /// Nobody removes it meanwhile.
    _lock: File,
}

/// A file that is locked as long as it is open.
pub(super) fn lock_file(path: &Path) -> io::Result<File> {
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
}

impl Bundle {
    /// Make it, or take the one that another test has made.
    ///
    /// # Errors
    /// What this host lacks.
    pub fn get(tested: &Tested) -> Result<Self, String> {
        let host = Host::find()?;
        let made = Self::of(&host, tested);
        Ok(made.unwrap_or_else(|error| panic!("{}: {error}", tested.shared.display())))
    }

    fn of(host: &Host, tested: &Tested) -> io::Result<Self> {
        let Tested { attest, shared } = tested;
        let key = key(&[attest, &host.busybox, &host.bash, &host.kernel.image])?;
        let directory = shared.join(format!("host-{key}"));
        fs::create_dir_all(shared)?;
        let lock = lock_file(&shared.join("host.lock"))?;
        lock.lock()?;
        let own = lock_file(&beside(&directory))?;
        own.lock_shared()?;
        if !directory.exists() {
            remove_unused(shared)?;
            let half = shared.join("new");
            if half.exists() {
                fs::remove_dir_all(&half)?;
            }
            fs::create_dir_all(&half)?;
            fill(&half, attest, host)?;
            fs::rename(&half, &directory)?;
        }
        Ok(Self {
            directory,
            _lock: own,
        })
    }

    /// Of the stub's `host.nix`.
    pub fn host_nix(&self) -> PathBuf {
        self.directory.join("host.nix")
    }
}

/// Programs and when they were written: they are tens of megabytes, which are not read each time.
fn key(files: &[&Path]) -> io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    for file in files {
        let metadata = fs::metadata(file)?;
        let times = [metadata.mtime(), metadata.mtime_nsec()];
        hasher.update(format!("{}\0{times:?}{}\0", file.display(), metadata.len()).as_bytes());
    }
    Ok(hasher.finalize().to_hex()[..16].to_owned())
}

/// The lock of a bundle.
fn beside(bundle: &Path) -> PathBuf {
    bundle.with_extension("lock")
}

/// Bundles of programs that are tested no more.
fn remove_unused(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let is_bundle = entry.file_name().to_string_lossy().starts_with("host-");
        if is_bundle && entry.file_type()?.is_dir() {
            let lock = lock_file(&beside(&entry.path()))?;
            if lock.try_lock().is_ok() {
                fs::remove_dir_all(entry.path())?;
                fs::remove_file(beside(&entry.path()))?;
            }
        }
    }
    Ok(())
}

fn fill(directory: &Path, attest: &Path, host: &Host) -> io::Result<()> {
    let place = |name: &str| directory.join(name);
    fs::copy(&host.busybox, place("busybox"))?;
    fs::copy(&host.bash, place("bash"))?;
    let stripped = Command::new("strip")
        .arg("-o")
        .args([&place("attest"), attest])
        .status();
    if !stripped.is_ok_and(|status| status.success()) {
        fs::copy(attest, place("attest"))?;
    }
    fs::create_dir_all(place("bin"))?;
    let listed = Command::new(&host.busybox).arg("--list").output()?;
    for program in String::from_utf8_lossy(&listed.stdout).split_whitespace() {
        symlink("../busybox", place("bin").join(program))?;
    }
    fs::create_dir_all(place("kernel"))?;
    fs::copy(&host.kernel.image, place("kernel/vmlinuz"))?;
    fs::set_permissions(place("kernel/vmlinuz"), fs::Permissions::from_mode(0o644))?;
    host::copy_modules(&host.kernel, &place("kernel"))?;
    let digest = |name: &str| -> io::Result<String> {
        let digest = blake3::hash(&fs::read(place(name))?);
        Ok(digest.to_hex()[..32].to_owned())
    };
    let text = format!(
        "{{\n  attest = {:?};\n  busybox = {:?};\n  bash = {:?};\n  kernel = {:?};\n  release = {:?};\n}}\n",
        digest("attest")?,
        digest("busybox")?,
        digest("bash")?,
        digest("kernel/vmlinuz")?,
        host.kernel.release
    );
    fs::write(place("host.nix"), text)
}

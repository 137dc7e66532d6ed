//! Directories of machines by start scripts, where scripts and tests expect them.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt as _, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};

use super::ScriptsError;

/// Nobody else looks in, or meddles with sockets.
const PRIVATE: u32 = 0o700;

/// Where all of them are, as an absolute path, with what they share.
pub(super) fn base(path: &Path) -> Result<PathBuf, ScriptsError> {
    let base = std::path::absolute(path).map_err(failed(path))?;
    private(&base, Found::Kept).map_err(failed(&base))?;
    let shared = shared_directory(&base);
    private(&shared, Found::Closed).map_err(failed(&shared))?;
    Ok(base)
}

/// What machines share with the host, in the base directory: as the NixOS test driver names it.
pub fn shared_directory(base: &Path) -> PathBuf {
    base.join("shared-xchg")
}

/// What a machine writes, in the base directory: as the NixOS test driver names it.
pub fn state_directory(base: &Path, machine: &str) -> PathBuf {
    base.join(format!("vm-state-{machine}"))
}

/// A machine's own, as it was left where `keep`, else empty.
pub(super) fn state(base: &Path, machine: &str, keep: bool) -> Result<PathBuf, ScriptsError> {
    let path = state_directory(base, machine);
    let made = || {
        if !keep {
            remove(&path)?;
        }
        private(&path, Found::Closed)
    };
    made().map_err(failed(&path))?;
    Ok(path)
}

/// Remove the sockets of a machine that has ended from its directory.
pub(super) fn remove_sockets(state: &Path) {
    let Ok(entries) = fs::read_dir(state) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_socket()) {
            // The next start can do without this.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// NixOS makes one directory that may not be removed, and its scripts undo that only when they end in
/// good order.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let kept = File::open(path.join("var/empty"))?;
            let flags = ioctl_getflags(&kept)? - IFlags::IMMUTABLE;
            ioctl_setflags(&kept, flags)?;
            fs::remove_dir_all(path)
        }
        other => other,
    }
}

/// What becomes of the permissions of a directory that is there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    Kept,
    Closed,
}

fn private(path: &Path, found: Found) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(PRIVATE)
        .create(path)?;
    if found == Found::Closed {
        // Another user's is refused by the kernel.
        fs::set_permissions(path, Permissions::from_mode(PRIVATE))?;
    }
    Ok(())
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> ScriptsError {
    let path = path.to_owned();
    move |source| ScriptsError::Directory { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_is_new_unless_it_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let base = base(&directory.path().join("base")).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&base), PRIVATE);
        assert_eq!(mode(&shared_directory(&base)), PRIVATE);
        let path = state(&base, "m", false).unwrap();
        assert_eq!(path, base.join("vm-state-m"));
        fs::write(path.join("disk"), "written").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        state(&base, "m", true).unwrap();
        assert_eq!(mode(&path), PRIVATE);
        assert!(path.join("disk").exists());
        state(&base, "m", false).unwrap();
        assert!(!path.join("disk").exists());
    }

    #[test]
    fn sockets_go_and_files_stay() {
        let state = tempfile::tempdir().unwrap();
        fs::write(state.path().join("disk"), "written").unwrap();
        std::os::unix::net::UnixListener::bind(state.path().join("shell")).unwrap();
        remove_sockets(state.path());
        assert!(state.path().join("disk").exists());
        assert!(!state.path().join("shell").exists());
        remove_sockets(&state.path().join("gone"));
    }

    #[test]
    fn what_cannot_be_made_is_named() {
        let error = base(Path::new("/proc/none")).unwrap_err().to_string();
        assert!(error.contains("/proc/none"), "{error}");
    }
}

//! Where the state directories of machines are: as the NixOS test driver has it, unless somebody
//! else uses that.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use attest::scripts::{shared_directory, state_directory};
use tempfile::TempDir;

use super::end::Refusal;

/// The longest path of a socket: `sun_path` of unix(7), with its end.
const LONGEST_SOCKET: usize = 107;

/// The base directory, for as long as this lives.
#[derive(Debug)]
pub(super) struct Base {
    path: PathBuf,
    /// Why it is not the usual one.
    pub(super) unusual: Option<String>,
    _lock: File,
    _own: Option<TempDir>,
}

impl Base {
    /// The usual one, `$XDG_RUNTIME_DIR` or the temporary directory, if nobody runs machines in
    /// it; else one of our own in there, which goes with this.
    pub(super) fn take(machines: &[&str], keeps_state: bool) -> Result<Self, Refusal> {
        let usual = std::env::var_os("XDG_RUNTIME_DIR")
            .filter(|path| !path.is_empty())
            .map_or_else(std::env::temp_dir, PathBuf::from);
        Self::take_in(&usual, machines, keeps_state)
    }

    fn take_in(usual: &Path, machines: &[&str], keeps_state: bool) -> Result<Self, Refusal> {
        let unusable = |error: io::Error| {
            Refusal::failed(format!(
                "the directory for the state of machines, {}, cannot be used: {error}; name another in XDG_RUNTIME_DIR",
                usual.display()
            ))
        };
        directory(usual).map_err(unusable)?;
        let usual = usual.canonicalize().map_err(unusable)?;
        let base = match lock(&usual, machines) {
            Ok(lock) => Self {
                path: usual,
                unusual: None,
                _lock: lock,
                _own: None,
            },
            Err(reason) if keeps_state => {
                return Err(Refusal::failed(format!(
                    "the state in {} cannot be kept: {reason}",
                    usual.display()
                )));
            }
            Err(reason) => Self::own(&usual, machines, reason).map_err(unusable)?,
        };
        base.check_length(machines)?;
        Ok(base)
    }

    fn own(usual: &Path, machines: &[&str], reason: String) -> io::Result<Self> {
        let own = tempfile::Builder::new()
            .prefix("attest-")
            .tempdir_in(usual)?;
        let lock = lock(own.path(), machines).map_err(io::Error::other)?;
        Ok(Self {
            path: own.path().to_owned(),
            unusual: Some(reason),
            _lock: lock,
            _own: Some(own),
        })
    }

    fn check_length(&self, machines: &[&str]) -> Result<(), Refusal> {
        for name in machines {
            let socket = state_directory(&self.path, name).join("monitor");
            let length = socket.as_os_str().len();
            if length > LONGEST_SOCKET {
                return Err(Refusal::failed(format!(
                    "{name}: the socket {} has {length} bytes in its path, and the kernel takes {LONGEST_SOCKET}; name a shorter directory in XDG_RUNTIME_DIR",
                    socket.display()
                )));
            }
        }
        Ok(())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// Make it ours, or say why it cannot be: whoever runs machines there holds the lock of what they
/// share.
fn lock(base: &Path, machines: &[&str]) -> Result<File, String> {
    let me = nix::unistd::geteuid().as_raw();
    let shared = shared_directory(base);
    let states = machines.iter().map(|name| state_directory(base, name));
    for path in states.chain([shared.clone()]) {
        if let Ok(found) = path.symlink_metadata()
            && (found.uid() != me || !found.is_dir())
        {
            return Err(format!("{} is somebody else's", path.display()));
        }
    }
    let failed = |error: io::Error| format!("{}: {error}", shared.display());
    directory(&shared).map_err(failed)?;
    let lock = File::open(&shared).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(format!(
            "another run has its machines in {}",
            base.display()
        )),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// A directory for us alone; one that is there is left as it is.
fn directory(path: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_run_has_a_directory_of_its_own() {
        let usual = tempfile::tempdir().unwrap();
        let first = Base::take_in(usual.path(), &["m"], false).unwrap();
        assert_eq!(first.path(), usual.path().canonicalize().unwrap());
        assert_eq!(first.unusual, None);
        let second = Base::take_in(usual.path(), &["m"], false).unwrap();
        assert!(second.path().starts_with(first.path()));
        assert_ne!(second.path(), first.path());
        assert!(second.unusual.as_ref().unwrap().contains("another run"));
        let kept = Base::take_in(usual.path(), &["m"], true).unwrap_err();
        assert!(format!("{kept:?}").contains("cannot be kept: another run"));
        let path = second.path().to_owned();
        drop((first, second));
        assert!(!path.exists());
        let third = Base::take_in(usual.path(), &["m"], true).unwrap();
        assert_eq!(third.unusual, None);
    }

    #[test]
    fn what_is_no_directory_or_too_deep_is_said() {
        let usual = tempfile::tempdir().unwrap();
        let file = usual.path().join("file");
        fs::write(&file, "").unwrap();
        let error = Base::take_in(&file, &[], false).unwrap_err();
        assert!(
            format!("{error:?}").contains("XDG_RUNTIME_DIR"),
            "{error:?}"
        );
        let long = "m".repeat(100);
        let error = Base::take_in(usual.path(), &[&long], false).unwrap_err();
        assert!(format!("{error:?}").contains("the kernel takes 107"));
    }
}

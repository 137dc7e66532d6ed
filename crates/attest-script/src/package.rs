//! attest's Python package as files, for CPython to import.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use crate::error::ScriptError;

/// The package: paths and contents.
pub static FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/files.rs"));

/// Of all that is in [`FILES`].
const DIGEST: &str = env!("ATTEST_PYTHON_DIGEST");
/// In the cache, before the digest.
const PREFIX: &str = "python-";
/// What was found out with it, in the cache.
const KEPT: &str = "outlines";
/// What CPython is started with. It has to run on every Python, to say which it needs.
const START: &str = "attest/_runner.py";
/// Packages of other versions of attest that nobody used for so long are removed.
const OLD: Duration = Duration::from_hours(30 * 24);

/// The package in a directory: in the cache, where CPython can keep it compiled, or in a
/// temporary one.
#[derive(Debug)]
pub struct Package {
    path: PathBuf,
    /// Removed with it.
    temporary: Option<TempDir>,
}

impl Package {
    /// In this cache directory if it can be written, else in a temporary one.
    ///
    /// # Errors
    /// Neither can be written.
    pub fn place(cache: Option<&Path>) -> Result<Self, ScriptError> {
        if let Some(cache) = cache
            && let Ok(path) = in_cache(cache)
        {
            return Ok(Self {
                path,
                temporary: None,
            });
        }
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| ScriptError::Package { path, source }
        };
        let temporary = tempfile::Builder::new()
            .prefix("attest-python-")
            .tempdir()
            .map_err(failed(&std::env::temp_dir()))?;
        write(temporary.path()).map_err(failed(temporary.path()))?;
        Ok(Self {
            path: temporary.path().to_owned(),
            temporary: Some(temporary),
        })
    }

    /// Where what was found out with this package is kept; nowhere when it is not in a cache.
    pub(crate) fn kept(&self) -> Option<PathBuf> {
        let is_cached = self.temporary.is_none();
        is_cached.then(|| self.path.join(KEPT))
    }

    /// What is to be on Python's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What CPython is started with.
    pub fn start(&self) -> PathBuf {
        self.path.join(START)
    }
}

/// Whole or not at all, whoever else does the same at the same time.
fn in_cache(cache: &Path) -> io::Result<PathBuf> {
    let path = cache.join(format!("{PREFIX}{DIGEST}"));
    if path.join(START).exists() {
        // It is in use: what is old is removed.
        let _ = fs::File::open(&path).and_then(|d| d.set_modified(SystemTime::now()));
        return Ok(path);
    }
    fs::create_dir_all(cache)?;
    let fresh = tempfile::Builder::new()
        .prefix(".python-")
        .tempdir_in(cache)?;
    write(fresh.path())?;
    rustix::fs::chmod(fresh.path(), rustix::fs::Mode::from_raw_mode(0o755))?;
    let fresh = fresh.keep();
    match fs::rename(&fresh, &path) {
        Ok(()) => {}
        // Somebody was first.
        Err(_) if path.join(START).exists() => fs::remove_dir_all(&fresh)?,
        Err(error) => {
            let _ = fs::remove_dir_all(&fresh);
            return Err(error);
        }
    }
    remove_old(cache, &path);
    Ok(path)
}

/// Left over at worst.
fn remove_old(cache: &Path, current: &Path) {
    let Ok(entries) = fs::read_dir(cache) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_ours = name.starts_with(PREFIX) || name.starts_with(".python-");
        let is_old = entry
            .metadata()
            .and_then(|metadata| metadata.modified())
            .is_ok_and(|used| used.elapsed().is_ok_and(|since| since > OLD));
        if is_ours && is_old && entry.path() != current {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn write(directory: &Path) -> io::Result<()> {
    for (name, contents) in FILES {
        let path = directory.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, contents)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_whole_in_the_cache_and_written_once() {
        let cache = tempfile::tempdir().unwrap();
        let package = Package::place(Some(cache.path())).unwrap();
        assert!(package.path().starts_with(cache.path()));
        for (name, contents) in FILES {
            assert_eq!(fs::read(package.path().join(name)).unwrap(), *contents);
        }
        let mark = package.path().join("mark");
        fs::write(&mark, "").unwrap();
        let again = Package::place(Some(cache.path())).unwrap();
        assert_eq!(again.path(), package.path());
        assert!(mark.exists());
        assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 1);
    }

    #[test]
    fn without_a_cache_it_goes_with_its_user() {
        let nowhere = Path::new("/proc/no/cache");
        let package = Package::place(Some(nowhere)).unwrap();
        let path = package.path().to_owned();
        assert!(package.start().exists());
        drop(package);
        assert!(!path.exists());
    }
}

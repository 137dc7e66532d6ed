//! The content-addressed cache: a directory per key, made whole or not at all.

use std::fs::{self, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::error::ImageError;

/// Names the cache directory.
pub(crate) const CACHE_VARIABLE: &str = "ATTEST_CACHE";

/// File with the digests of an entry's other files.
const DIGESTS: &str = "DIGESTS";

/// A cache directory.
#[derive(Debug, Clone)]
pub struct Cache {
    directory: PathBuf,
}

impl Cache {
    /// `$ATTEST_CACHE`, else `$XDG_CACHE_HOME/attest`, else `~/.cache/attest`.
    ///
    /// # Errors
    /// None of these is set.
    pub fn default_directory() -> Result<PathBuf, ImageError> {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        set(CACHE_VARIABLE)
            .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("attest")))
            .or_else(|| set("HOME").map(|home| home.join(".cache/attest")))
            .ok_or(ImageError::NoCacheDirectory)
    }

    /// Open it, made when missing, for its owner only.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn open(directory: &Path) -> Result<Self, ImageError> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.map_err(ImageError::file(directory, "the cache directory cannot be made"))?;
        let directory = directory
            .canonicalize()
            .map_err(ImageError::file(directory, "the cache directory cannot be used"))?;
        Ok(Self { directory })
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The entry of this kind under this key, made by `make` when it is not there. Builders of
    /// the same key, in this process or another, wait for the first; a builder that is killed
    /// leaves nothing that would be taken for an entry.
    ///
    /// # Errors
    /// Those of `make`, and files that cannot be written.
    pub fn entry(
        &self,
        kind: &str,
        key: blake3::Hash,
        make: impl FnOnce(&Path) -> Result<(), ImageError>,
    ) -> Result<PathBuf, ImageError> {
        let name = format!("{kind}-{}", &key.to_hex()[..32]);
        let entry = self.directory.join(&name);
        if entry.join(DIGESTS).exists() {
            return Ok(entry);
        }
        let lock_path = self.directory.join(format!("{name}.lock"));
        let lock = File::create(&lock_path).map_err(ImageError::file(&lock_path, "it cannot be made"))?;
        lock.lock().map_err(ImageError::file(&lock_path, "it cannot be locked"))?;
        if !entry.join(DIGESTS).exists() {
            // Only the holder of the lock is here: what lies there was left by a killed builder.
            let unfinished = self.directory.join(format!("{name}.new"));
            clear(&unfinished)?;
            clear(&entry)?;
            fs::create_dir(&unfinished).map_err(ImageError::file(&unfinished, "it cannot be made"))?;
            make(&unfinished)?;
            seal(&unfinished)?;
            fs::rename(&unfinished, &entry).map_err(ImageError::file(&entry, "it cannot be put in place"))?;
        }
        Ok(entry)
    }

    /// Compare every file with its digest.
    ///
    /// # Errors
    /// [`ImageError::Corrupt`] names the first file that differs.
    pub fn verify(&self) -> Result<usize, ImageError> {
        let mut files = 0;
        for entry in list(&self.directory)? {
            let digests = entry.join(DIGESTS);
            let Ok(text) = fs::read_to_string(&digests) else { continue };
            for (digest, name) in text.lines().filter_map(|line| line.split_once("  ")) {
                let path = entry.join(name);
                let bytes = fs::read(&path).map_err(ImageError::file(&path, "it cannot be read"))?;
                if blake3::hash(&bytes).to_hex().as_str() != digest {
                    return Err(ImageError::Corrupt { path });
                }
                files += 1;
            }
        }
        Ok(files)
    }
}

fn clear(path: &Path) -> Result<(), ImageError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(ImageError::file(path, "what a killed build left cannot be removed")(error))
        }
        _ => Ok(()),
    }
}

fn list(directory: &Path) -> Result<Vec<PathBuf>, ImageError> {
    let listed = fs::read_dir(directory).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    listed.map_err(ImageError::file(directory, "it cannot be listed"))
}

/// Write the digests of all files directly in the entry, last and safely on disk: their file's
/// existence says that the entry is whole.
fn seal(entry: &Path) -> Result<(), ImageError> {
    use std::io::Write;
    let mut text = String::new();
    for path in list(entry)? {
        if !path.is_file() {
            continue;
        }
        let bytes = fs::read(&path).map_err(ImageError::file(&path, "it cannot be read"))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        text.push_str(&format!("{}  {name}\n", blake3::hash(&bytes).to_hex()));
        let file = File::open(&path).map_err(ImageError::file(&path, "it cannot be opened"))?;
        file.sync_all().map_err(ImageError::file(&path, "it cannot be written"))?;
    }
    let path = entry.join(DIGESTS);
    let mut file = File::create(&path).map_err(ImageError::file(&path, "it cannot be made"))?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    written.map_err(ImageError::file(&path, "it cannot be written"))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn key(text: &str) -> blake3::Hash {
        blake3::hash(text.as_bytes())
    }

    fn write(directory: &Path, text: &str) -> Result<(), ImageError> {
        let path = directory.join("file");
        fs::write(&path, text).map_err(ImageError::file(&path, "write"))
    }

    #[test]
    fn an_entry_is_built_once_by_many() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(directory.path()).unwrap();
        let built = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let entry = cache.entry("test", key("a"), |path| {
                        built.fetch_add(1, Ordering::SeqCst);
                        write(path, "contents")
                    });
                    assert_eq!(fs::read_to_string(entry.unwrap().join("file")).unwrap(), "contents");
                });
            }
        });
        assert_eq!(built.load(Ordering::SeqCst), 1);
        assert_eq!(cache.verify().unwrap(), 1);
    }

    #[test]
    fn a_failed_or_killed_build_leaves_no_entry() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(directory.path()).unwrap();
        let failed = cache.entry("test", key("a"), |path| {
            write(path, "half")?;
            Err(ImageError::NoCacheDirectory)
        });
        assert!(failed.is_err());
        let entry = cache.entry("test", key("a"), |path| {
            assert_eq!(list(path).unwrap().len(), 0, "what the failed build left is gone");
            write(path, "whole")
        });
        assert_eq!(fs::read_to_string(entry.unwrap().join("file")).unwrap(), "whole");
    }

    #[test]
    fn a_changed_file_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(directory.path()).unwrap();
        let entry = cache.entry("test", key("a"), |path| write(path, "contents")).unwrap();
        fs::write(entry.join("file"), "contentz").unwrap();
        assert!(matches!(cache.verify(), Err(ImageError::Corrupt { path }) if path == entry.join("file")));
    }
}

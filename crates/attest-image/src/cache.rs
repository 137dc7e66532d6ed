//! The content-addressed cache: a directory per key, made whole or not at all.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::error::ImageError;
use crate::kernel::Step;

/// Names the cache directory.
pub(crate) const CACHE_VARIABLE: &str = "ATTEST_CACHE";

/// File with the digests of an entry's other files, a line each: `DIGEST  NAME`.
const DIGESTS: &str = "DIGESTS";
/// What is not finished ends with this.
const UNFINISHED: &str = "new";
/// The lock of one who builds ends with this.
const LOCK: &str = "lock";

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
        let set = |name: &str| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        set(CACHE_VARIABLE)
            .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("attest")))
            .or_else(|| set("HOME").map(|home| home.join(".cache/attest")))
            .ok_or(ImageError::NoCacheDirectory)
    }

    /// Open it, made when missing, for its owner only. What killed builds left is removed.
    ///
    /// # Errors
    /// The directory cannot be made, or others may write to it: what is booted is taken from it.
    pub fn open(directory: &Path) -> Result<Self, ImageError> {
        let made = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory);
        made.map_err(ImageError::file(
            directory,
            "the cache directory cannot be made",
        ))?;
        let unusable = || ImageError::file(directory, "the cache directory cannot be used");
        let directory = directory.canonicalize().map_err(unusable())?;
        let metadata = fs::metadata(&directory).map_err(unusable())?;
        let user = nix::unistd::geteuid().as_raw();
        if metadata.mode() & 0o022 != 0 || (user != 0 && metadata.uid() != user) {
            return Err(ImageError::SharedCache { path: directory });
        }
        let cache = Self { directory };
        cache.sweep()?;
        Ok(cache)
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The entry of this kind under this key, made by `make` when it is not there. Builders of
    /// the same key, in this process or another, wait for the first; a builder that fails or is
    /// killed leaves nothing that would be taken for an entry. `progress` hears of a wait, and
    /// is handed on to `make`.
    ///
    /// # Errors
    /// Those of `make`, and files that cannot be written.
    pub fn entry(
        &self,
        kind: &str,
        key: blake3::Hash,
        progress: &mut dyn FnMut(Step),
        make: impl FnOnce(&Path, &mut dyn FnMut(Step)) -> Result<(), ImageError>,
    ) -> Result<PathBuf, ImageError> {
        let name = format!("{kind}-{}", &key.to_hex()[..32]);
        let entry = self.directory.join(&name);
        if entry.join(DIGESTS).exists() {
            return Ok(entry);
        }
        let lock = self.directory.join(format!("{name}.{LOCK}"));
        let attempt = Lock::attempt(&lock)?;
        let _lock = if let Some(lock) = attempt {
            lock
        } else {
            progress(Step::new(format!(
                "waiting for another attest that builds the {kind}"
            )));
            Lock::wait(&lock)?
        };
        if !entry.join(DIGESTS).exists() {
            // Only the holder of the lock is here: what lies there was left by a killed builder.
            let unfinished = self.directory.join(format!("{name}.{UNFINISHED}"));
            clear(&unfinished)?;
            clear(&entry)?;
            let built = build(&unfinished, &entry, |directory| make(directory, progress));
            if built.is_err() {
                // The first error says more than this one could.
                let _ = clear(&unfinished);
            }
            built?;
        }
        Ok(entry)
    }

    /// Compare every file of every entry with its digest; how many there are.
    ///
    /// # Errors
    /// [`ImageError::Corrupt`] names the first file that differs or is missing.
    pub fn verify(&self) -> Result<usize, ImageError> {
        let mut files = 0;
        for entry in list(&self.directory)? {
            let Ok(text) = fs::read_to_string(entry.join(DIGESTS)) else {
                continue;
            };
            for (digest, name) in text.lines().filter_map(|line| line.split_once("  ")) {
                let path = entry.join(name);
                match fs::read(&path) {
                    Ok(bytes) if blake3::hash(&bytes).to_hex().as_str() == digest => files += 1,
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        return Err(ImageError::file(&path, "it cannot be read")(error));
                    }
                    _ => return Err(ImageError::Corrupt { path, entry }),
                }
            }
        }
        Ok(files)
    }

    /// Remove what killed builds left: that whose lock nobody holds.
    fn sweep(&self) -> Result<(), ImageError> {
        for path in list(&self.directory)? {
            if path.extension().is_none_or(|extension| extension != LOCK) {
                continue;
            }
            if let Some(_lock) = Lock::attempt(&path)? {
                clear(&path.with_extension(UNFINISHED))?;
            }
        }
        Ok(())
    }
}

/// The digest of all files of an entry.
///
/// # Errors
/// The entry cannot be read.
pub(crate) fn digest(entry: &Path) -> Result<blake3::Hash, ImageError> {
    let path = entry.join(DIGESTS);
    let digests = fs::read(&path).map_err(ImageError::file(&path, "it cannot be read"))?;
    Ok(blake3::hash(&digests))
}

/// A lock file that its holder removes again. A killed holder's stays, unlocked.
#[derive(Debug)]
struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    fn wait(path: &Path) -> Result<Self, ImageError> {
        loop {
            let file = Self::open(path)?;
            file.lock()
                .map_err(ImageError::file(path, "it cannot be locked"))?;
            if let Some(lock) = Self::still_there(path, file) {
                return Ok(lock);
            }
        }
    }

    /// `None` when another has it.
    fn attempt(path: &Path) -> Result<Option<Self>, ImageError> {
        loop {
            let file = Self::open(path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(fs::TryLockError::WouldBlock) => return Ok(None),
                Err(fs::TryLockError::Error(error)) => {
                    return Err(ImageError::file(path, "it cannot be locked")(error));
                }
            }
            if let Some(lock) = Self::still_there(path, file) {
                return Ok(Some(lock));
            }
        }
    }

    fn open(path: &Path) -> Result<File, ImageError> {
        File::create(path).map_err(ImageError::file(path, "it cannot be made"))
    }

    /// Between opening and locking, the former holder may have removed the file.
    fn still_there(path: &Path, file: File) -> Option<Self> {
        let (own, named) = (file.metadata().ok()?, fs::metadata(path).ok()?);
        let same = (own.dev(), own.ino()) == (named.dev(), named.ino());
        same.then(|| Self {
            path: path.to_owned(),
            _file: file,
        })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn build(
    unfinished: &Path,
    entry: &Path,
    make: impl FnOnce(&Path) -> Result<(), ImageError>,
) -> Result<(), ImageError> {
    fs::create_dir(unfinished).map_err(ImageError::file(unfinished, "it cannot be made"))?;
    make(unfinished)?;
    seal(unfinished)?;
    fs::rename(unfinished, entry).map_err(ImageError::file(entry, "it cannot be put in place"))?;
    let directory = entry.parent().unwrap_or(entry);
    sync(directory)
}

fn clear(path: &Path) -> Result<(), ImageError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(ImageError::file(
            path,
            "what a killed build left cannot be removed",
        )(error)),
        _ => Ok(()),
    }
}

/// What is in a directory, sorted.
fn list(directory: &Path) -> Result<Vec<PathBuf>, ImageError> {
    let listed: io::Result<Vec<_>> = fs::read_dir(directory)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    let mut listed = listed.map_err(ImageError::file(directory, "it cannot be listed"))?;
    listed.sort();
    Ok(listed)
}

/// Write the digests of all files of the entry, last and safely on disk: their file's existence
/// says that the entry is whole.
fn seal(entry: &Path) -> Result<(), ImageError> {
    let mut digests = String::new();
    seal_below(entry, entry, &mut digests)?;
    let path = entry.join(DIGESTS);
    let write = |text: &str| {
        let mut file = File::create(&path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write(&digests).map_err(ImageError::file(&path, "it cannot be written"))?;
    sync(entry)
}

fn seal_below(entry: &Path, directory: &Path, digests: &mut String) -> Result<(), ImageError> {
    for path in list(directory)? {
        let metadata = path
            .symlink_metadata()
            .map_err(ImageError::file(&path, "it cannot be read"))?;
        if metadata.is_dir() {
            seal_below(entry, &path, digests)?;
            sync(&path)?;
        } else if metadata.is_file() {
            let bytes = fs::read(&path).map_err(ImageError::file(&path, "it cannot be read"))?;
            sync(&path)?;
            let name = path.strip_prefix(entry).unwrap_or(&path).to_string_lossy();
            digests.extend([blake3::hash(&bytes).to_hex().as_str(), "  ", &name, "\n"]);
        }
    }
    Ok(())
}

fn sync(path: &Path) -> Result<(), ImageError> {
    let synced = File::open(path).and_then(|file| file.sync_all());
    synced.map_err(ImageError::file(path, "it cannot be written to disk"))
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn key(text: &str) -> blake3::Hash {
        blake3::hash(text.as_bytes())
    }

    fn write(directory: &Path, text: &str) -> Result<(), ImageError> {
        let path = directory.join("deep/file");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).map_err(ImageError::file(&path, "write"))
    }

    fn entry(cache: &Cache, text: &str) -> Result<PathBuf, ImageError> {
        cache.entry("test", key("a"), &mut |_| {}, |path, _| write(path, text))
    }

    fn contents(entry: &Path) -> String {
        fs::read_to_string(entry.join("deep/file")).unwrap()
    }

    /// The names in the cache directory.
    fn names(cache: &Cache) -> Vec<String> {
        let listed = list(cache.directory()).unwrap();
        listed
            .iter()
            .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn an_entry_is_built_once_by_many() {
        let directory = tempfile::tempdir().unwrap();
        let built = AtomicU32::new(0);
        let together = Barrier::new(8);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    together.wait();
                    // Each opens it for itself, as a process does: locks are per open file.
                    let cache = Cache::open(directory.path()).unwrap();
                    let entry = cache.entry("test", key("a"), &mut |_| {}, |path, _| {
                        built.fetch_add(1, Ordering::SeqCst);
                        write(path, "contents")
                    });
                    assert_eq!(contents(&entry.unwrap()), "contents");
                });
            }
        });
        let cache = Cache::open(directory.path()).unwrap();
        assert_eq!(built.load(Ordering::SeqCst), 1);
        assert_eq!(cache.verify().unwrap(), 1);
        assert_eq!(
            names(&cache).len(),
            1,
            "no locks are left: {:?}",
            names(&cache)
        );
    }

    #[test]
    fn one_who_waits_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(directory.path()).unwrap();
        let (waits, waiting) = std::sync::mpsc::channel();
        let (begin, building) = std::sync::mpsc::channel();
        let first = cache.clone();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                first.entry("test", key("a"), &mut |_| {}, |path, _| {
                    begin.send(()).unwrap();
                    let heard: Step = waiting.recv().unwrap();
                    assert_eq!(
                        heard.to_string(),
                        "waiting for another attest that builds the test"
                    );
                    write(path, "first")
                })
            });
            building.recv().unwrap();
            let second = cache.entry(
                "test",
                key("a"),
                &mut |step| waits.send(step).unwrap(),
                |_, _| panic!("it is there"),
            );
            assert_eq!(contents(&second.unwrap()), "first");
        });
    }

    #[test]
    fn a_failed_build_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(directory.path()).unwrap();
        let failed = cache.entry("test", key("a"), &mut |_| {}, |path, _| {
            write(path, "half")?;
            Err(ImageError::NoCacheDirectory)
        });
        assert!(matches!(failed, Err(ImageError::NoCacheDirectory)));
        assert_eq!(names(&cache), Vec::<String>::new());
        assert_eq!(contents(&entry(&cache, "whole").unwrap()), "whole");
    }

    #[test]
    fn what_a_killed_build_left_goes_when_the_cache_is_opened() {
        let directory = tempfile::tempdir().unwrap();
        let leave = |name: &str| {
            write(&directory.path().join(format!("{name}.new")), "half").unwrap();
            let path = directory.path().join(format!("{name}.lock"));
            (Lock::attempt(&path).unwrap().unwrap(), path)
        };
        let (killed, path) = leave("test-killed");
        drop(killed);
        // A killed process drops nothing: its lock file stays.
        File::create(path).unwrap();
        let (_alive, _) = leave("test-alive");
        let cache = Cache::open(directory.path()).unwrap();
        assert_eq!(names(&cache), ["test-alive.lock", "test-alive.new"]);
    }

    #[test]
    fn the_holder_of_the_lock_clears_what_was_left_under_its_key() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(directory.path()).unwrap();
        let name = format!("test-{}", &key("a").to_hex()[..32]);
        // The left-over of a builder that was killed since the cache was opened, and an entry
        // that never became whole.
        write(&directory.path().join(format!("{name}.new")), "half").unwrap();
        write(&directory.path().join(&name), "half").unwrap();
        assert_eq!(contents(&entry(&cache, "whole").unwrap()), "whole");
        assert_eq!(names(&cache), [name]);
    }

    #[test]
    fn a_changed_or_missing_file_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(directory.path()).unwrap();
        let entry = entry(&cache, "contents").unwrap();
        let file = entry.join("deep/file");
        fs::write(&file, "contentz").unwrap();
        assert!(matches!(cache.verify(), Err(ImageError::Corrupt { path, .. }) if path == file));
        fs::remove_file(&file).unwrap();
        assert!(matches!(cache.verify(), Err(ImageError::Corrupt { path, .. }) if path == file));
    }

    #[test]
    fn a_digest_tells_contents_apart() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(directory.path()).unwrap();
        let of = |name: &str, text: &str| {
            let made = cache.entry("test", key(name), &mut |_| {}, |path, _| write(path, text));
            digest(&made.unwrap()).unwrap()
        };
        assert_eq!(of("a", "same"), of("b", "same"));
        assert_ne!(of("a", "same"), of("c", "other"));
    }

    #[test]
    fn a_directory_that_others_may_write_to_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let error = Cache::open(directory.path()).unwrap_err();
        assert!(error.to_string().contains("chmod"), "{error}");
    }

    /// A disk of 64 KiB, mounted where only this thread sees it, and gone with it.
    fn on_a_small_disk(test: impl FnOnce(&Path) + Send) {
        use nix::mount::{MsFlags, mount};
        use nix::sched::{CloneFlags, unshare};
        if !nix::unistd::geteuid().is_root() {
            return eprintln!("SKIPPED: only root may mount a small disk");
        }
        let directory = tempfile::tempdir().unwrap();
        let mounted = || -> nix::Result<()> {
            let nothing = None::<&str>;
            unshare(CloneFlags::CLONE_NEWNS)?;
            mount(
                nothing,
                "/",
                nothing,
                MsFlags::MS_REC | MsFlags::MS_PRIVATE,
                nothing,
            )?;
            mount(
                Some("tmpfs"),
                directory.path(),
                Some("tmpfs"),
                MsFlags::empty(),
                Some("size=64k,mode=700"),
            )
        };
        std::thread::scope(|scope| {
            scope.spawn(|| match mounted() {
                Ok(()) => test(directory.path()),
                Err(error) => eprintln!("SKIPPED: no small disk can be mounted: {error}"),
            });
        });
    }

    #[test]
    fn a_full_disk_is_named_and_leaves_nothing() {
        on_a_small_disk(|directory| {
            let cache = Cache::open(directory).unwrap();
            let full = entry(&cache, &"x".repeat(100_000));
            let error = full.unwrap_err();
            assert!(matches!(error, ImageError::Full { .. }), "{error}");
            assert!(error.to_string().contains("ATTEST_CACHE"), "{error}");
            assert_eq!(names(&cache), Vec::<String>::new());
            assert_eq!(contents(&entry(&cache, "small").unwrap()), "small");
        });
    }
}

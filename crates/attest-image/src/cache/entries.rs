//! What is in the cache: listed, looked at, removed, and cleared of what is old.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::lock::Lock;
use super::seal::{self, DIGESTS, SealedFile};
use super::{Cache, LOCK, UNFINISHED, clear, lease, list};
use crate::error::ImageError;
use crate::progress::Step;

/// File in which an entry says in a line what it is.
pub(crate) const ABOUT: &str = "about";

/// What was used as recently as this may still be used by one who has no lease yet.
const RECENT: Duration = Duration::from_mins(10);
/// What `st_blocks` counts, whatever the file system (stat(3type)).
const SECTOR: u64 = 512;

/// An entry of the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheEntry {
    /// Its kind and its key.
    pub name: String,
    /// What kind it is: `root`, `kernel`, `initramfs` and so on.
    pub kind: String,
    /// What it says of itself.
    pub about: Option<String>,
    /// Where it is.
    pub path: PathBuf,
    /// The space that it takes on the disk.
    pub bytes: u64,
    /// When it was made.
    pub created: SystemTime,
    /// When it was last used.
    pub used: SystemTime,
    /// Whether something that runs uses it now.
    pub in_use: bool,
}

/// What may stay when the cache is cleared. Entries that are in use, or were within the last ten
/// minutes, stay in any case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Keep {
    /// What was used within this time; none: however long ago.
    pub unused_for: Option<Duration>,
    /// So many bytes in all, the last used first; none: any number.
    pub bytes: Option<u64>,
}

impl CacheEntry {
    /// The end of its name, which is of all that it was made from.
    pub fn key(&self) -> &str {
        self.name
            .rsplit_once('-')
            .map_or(&*self.name, |(_, key)| key)
    }
}

impl Cache {
    /// All entries, sorted by name.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn ls(&self) -> Result<Vec<CacheEntry>, ImageError> {
        let listed = list(self.directory())?;
        // What goes while it is looked at is not there.
        Ok(listed.iter().filter_map(|path| describe(path)).collect())
    }

    /// An entry by its name, or by a beginning of the name or of the key that no other has; and
    /// its files.
    ///
    /// # Errors
    /// There is none, or there are more.
    pub fn inspect(&self, name: &str) -> Result<(CacheEntry, Vec<SealedFile>), ImageError> {
        let entry = self.find(name)?;
        let files = seal::files(&entry.path);
        Ok((entry, files))
    }

    /// Remove an entry, named as for [`Cache::inspect`]. Gives what was removed.
    ///
    /// # Errors
    /// There is none, there are more, or it is in use.
    pub fn rm(&self, name: &str) -> Result<CacheEntry, ImageError> {
        let entry = self.find(name)?;
        if self.remove(&entry)? {
            Ok(entry)
        } else {
            Err(ImageError::InUse { name: entry.name })
        }
    }

    /// Remove what is old or too much. Gives what was removed. `progress` hears of each.
    ///
    /// # Errors
    /// Files that cannot be removed.
    pub fn gc(
        &self,
        keep: Keep,
        progress: &mut dyn FnMut(Step),
    ) -> Result<Vec<CacheEntry>, ImageError> {
        let now = SystemTime::now();
        let age = |entry: &CacheEntry| now.duration_since(entry.used).unwrap_or_default();
        let mut entries = self.ls()?;
        entries.sort_by_key(age);
        let mut removed = Vec::new();
        let mut bytes: u64 = 0;
        for entry in entries {
            let old = keep
                .unused_for
                .is_some_and(|unused_for| age(&entry) > unused_for);
            let much = keep
                .bytes
                .is_some_and(|most| bytes.saturating_add(entry.bytes) > most);
            let spared = age(&entry) < RECENT || !(old || much);
            if !spared {
                progress(Step::new(format!("removing {}", entry.name)));
            }
            if !spared && self.remove(&entry)? {
                removed.push(entry);
            } else {
                bytes = bytes.saturating_add(entry.bytes);
            }
        }
        Ok(removed)
    }

    pub(super) fn find(&self, name: &str) -> Result<CacheEntry, ImageError> {
        let mut entries = self.ls()?;
        if let Some(at) = entries.iter().position(|entry| entry.name == name) {
            return Ok(entries.swap_remove(at));
        }
        entries.retain(|entry| {
            let begins = entry.name.starts_with(name) || entry.key().starts_with(name);
            begins && !name.is_empty()
        });
        match (entries.pop(), entries.len()) {
            (Some(entry), 0) => Ok(entry),
            (None, _) => Err(ImageError::NoEntry {
                name: name.to_owned(),
            }),
            (Some(_), others) => Err(ImageError::ManyEntries {
                name: name.to_owned(),
                count: others + 1,
            }),
        }
    }

    /// `false` when it is in use.
    fn remove(&self, entry: &CacheEntry) -> Result<bool, ImageError> {
        let lock = self.directory().join(format!("{}.{LOCK}", entry.name));
        let Some(_lock) = Lock::attempt(&lock)? else {
            return Ok(false);
        };
        if !entry.path.join(DIGESTS).exists() {
            // Another was faster.
            return Ok(true);
        }
        let Some(_exclusive) = lease::exclusive(&entry.path)? else {
            return Ok(false);
        };
        // It goes at once, and what a kill leaves of it is swept.
        let unfinished = self
            .directory()
            .join(format!("{}.{UNFINISHED}", entry.name));
        clear(&unfinished)?;
        let renamed = fs::rename(&entry.path, &unfinished);
        renamed.map_err(ImageError::file(&entry.path, "it cannot be removed"))?;
        clear(&unfinished)?;
        Ok(true)
    }
}

/// Nothing for what is no whole entry.
fn describe(path: &Path) -> Option<CacheEntry> {
    let name = path.file_name()?.to_str()?.to_owned();
    // Names with a dot are of locks, and of what is not finished or on its way out.
    let (kind, _) = name.rsplit_once('-').filter(|_| !name.contains('.'))?;
    let used = fs::metadata(path.join(DIGESTS)).ok()?.modified().ok()?;
    let created = fs::metadata(path).ok()?.modified().ok()?;
    let about = fs::read_to_string(path.join(ABOUT)).ok();
    Some(CacheEntry {
        kind: kind.to_owned(),
        about: about.map(|about| about.trim().to_owned()),
        bytes: bytes(path),
        created,
        used,
        in_use: matches!(lease::exclusive(path), Ok(None)),
        path: path.to_owned(),
        name,
    })
}

fn bytes(directory: &Path) -> u64 {
    let entries = list(directory).unwrap_or_default();
    let sizes = entries.iter().filter_map(|path| {
        let metadata = path.symlink_metadata().ok()?;
        let own = metadata.blocks().saturating_mul(SECTOR);
        Some(if metadata.is_dir() {
            own + bytes(path)
        } else {
            own
        })
    });
    sizes.sum()
}

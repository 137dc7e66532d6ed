//! What is in caches: listed, looked at, removed, and cleared of what is old.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::identity::IDENTITIES;
use super::lock::Lock;
use super::making::beside;
use super::seal::{self, DIGESTS, SealedFile};
use super::{Cache, Holds, LOCK, UNFINISHED, clear, lease, list};
use crate::error::ImageError;
use crate::progress::Step;

/// File in which an entry says in a line what it is.
pub(crate) const ABOUT: &str = "about";
/// Stands between the kind and the key of what was set aside.
pub(super) const BROKEN: &str = "-broken";

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
    /// Whether it was found damaged, and set aside: nothing uses it any more.
    pub is_broken: bool,
}

/// What may stay when caches are cleared. Entries that are in use stay in any case, and images
/// that were within the last ten minutes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Keep {
    /// What was used within this time; none: however long ago.
    pub unused_for: Option<Duration>,
    /// So many bytes in all, the last used first; none: any number.
    pub bytes: Option<u64>,
    /// Whether what is broken may stay as well.
    pub broken: bool,
}

impl CacheEntry {
    /// The end of its name, which is of all that it was made from.
    pub fn key(&self) -> &str {
        self.name
            .rsplit_once('-')
            .map_or(&*self.name, |(_, key)| key)
    }

    /// The files that whoever made it wrote, sorted.
    pub(crate) fn files(&self) -> Result<Vec<PathBuf>, ImageError> {
        let mut files = list(&self.path)?;
        let is_ours = |path: &Path| {
            [ABOUT, DIGESTS, IDENTITIES]
                .iter()
                .any(|own| path.ends_with(own))
        };
        files.retain(|path| path.is_file() && !is_ours(path));
        Ok(files)
    }

    /// Whether a text is a beginning of its name, or of its key. What is broken has no key.
    pub fn is_meant_by(&self, text: &str) -> bool {
        let by_key = !self.is_broken && self.key().starts_with(text);
        !text.is_empty() && (by_key || self.name.starts_with(text))
    }
}

/// Caches that hold the same, looked at as one.
#[derive(Debug, Clone)]
pub struct Caches {
    pub(super) holds: Holds,
    caches: Vec<Cache>,
}

impl From<Cache> for Caches {
    fn from(cache: Cache) -> Self {
        Self::new(cache.holds, vec![cache])
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
}

impl Caches {
    pub(crate) fn new(holds: Holds, caches: Vec<Cache>) -> Self {
        Self { holds, caches }
    }

    /// Where they are.
    pub fn directories(&self) -> impl Iterator<Item = &Path> {
        self.caches.iter().map(Cache::directory)
    }

    /// All entries, sorted by name in each cache.
    ///
    /// # Errors
    /// A directory cannot be read.
    pub fn ls(&self) -> Result<Vec<CacheEntry>, ImageError> {
        let mut entries = Vec::new();
        for cache in &self.caches {
            entries.extend(cache.ls()?);
        }
        Ok(entries)
    }

    /// An entry by its name, or by a beginning of the name or of the key that no other has; and
    /// its files. What is broken has a name, but no key.
    ///
    /// # Errors
    /// There is none, or there are more.
    pub fn inspect(&self, name: &str) -> Result<(CacheEntry, Vec<SealedFile>), ImageError> {
        let entry = self.find(name)?;
        let files = seal::files(&entry.path);
        Ok((entry, files))
    }

    /// Remove an entry, named as for [`Caches::inspect`]. Gives what was removed.
    ///
    /// # Errors
    /// There is none, there are more, or it is in use.
    pub fn rm(&self, name: &str) -> Result<CacheEntry, ImageError> {
        let entry = self.find(name)?;
        if remove(&entry)? {
            Ok(entry)
        } else {
            let (of, name) = (self.holds, entry.name);
            Err(ImageError::InUse { of, name })
        }
    }

    /// Remove what is broken, old or too much. Gives what was removed. `progress` hears of each.
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
        // What is in use takes its part of what may stay, however old it is.
        entries.sort_by_key(|entry| (!entry.in_use, entry.is_broken, age(entry)));
        let mut removed = Vec::new();
        let mut bytes: u64 = 0;
        for entry in entries {
            let old = keep
                .unused_for
                .is_some_and(|unused_for| age(&entry) > unused_for);
            let much = keep
                .bytes
                .is_some_and(|most| bytes.saturating_add(entry.bytes) > most);
            let is_recent = !entry.is_broken && age(&entry) < self.holds.recent();
            let broken = entry.is_broken && !keep.broken;
            let spared = is_recent || !(broken || old || much);
            if !spared {
                progress(Step::new(format!("removing {}", entry.name)));
            }
            if !spared && remove(&entry)? {
                removed.push(entry);
            } else {
                bytes = bytes.saturating_add(entry.bytes);
            }
        }
        Ok(removed)
    }

    fn find(&self, name: &str) -> Result<CacheEntry, ImageError> {
        let (of, name) = (self.holds, name.to_owned());
        let mut entries = self.ls()?;
        // One that is in two places is one to whoever names it, and the first place counts.
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        entries.dedup_by(|other, one| other.name == one.name);
        if let Some(at) = entries.iter().position(|entry| entry.name == name) {
            return Ok(entries.swap_remove(at));
        }
        entries.retain(|entry| entry.is_meant_by(&name));
        match (entries.pop(), entries.len()) {
            (Some(entry), 0) => Ok(entry),
            (None, _) => Err(ImageError::NoEntry { of, name }),
            (Some(_), others) => Err(ImageError::ManyEntries {
                of,
                name,
                count: others + 1,
            }),
        }
    }
}

/// `false` when it is in use.
fn remove(entry: &CacheEntry) -> Result<bool, ImageError> {
    let Some(_lock) = Lock::attempt(&beside(&entry.path, LOCK))? else {
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
    let unfinished = beside(&entry.path, UNFINISHED);
    clear(&unfinished)?;
    let renamed = fs::rename(&entry.path, &unfinished);
    renamed.map_err(ImageError::file(&entry.path, "it cannot be removed"))?;
    clear(&unfinished)?;
    Ok(true)
}

/// Nothing for what is no whole entry.
fn describe(path: &Path) -> Option<CacheEntry> {
    let name = path.file_name()?.to_str()?.to_owned();
    // Names with a dot are of locks, and of what is not finished or on its way out.
    let (kind, _) = name.rsplit_once('-').filter(|_| !name.contains('.'))?;
    let (kind, is_broken) = match kind.split_once(BROKEN) {
        Some((kind, _)) => (kind, true),
        None => (kind, false),
    };
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
        is_broken,
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

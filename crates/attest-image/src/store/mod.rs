//! Snapshots of labs: where they are kept, found, and thrown away.
//!
//! An entry holds the memory, devices and disks of each machine, and [`ABOUT_LAB`], which says
//! what it is. It is written to while it is unfinished, by machines that run, and only read
//! afterwards.

mod error;
mod packed;
mod place;

use std::cmp::Reverse;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use error::SnapshotError;
pub use packed::{Packed, PackedError, Packing, Unpacked, pack};
use place::Place;

use crate::cache::{
    Broken, Cache, CacheEntry, Caches, Holds, Keep, Lease, Trust, Unfinished, Wanted,
};
use crate::error::{ImageError, Mebibytes};
use crate::progress::Step;

/// Names a directory for snapshots, which is tried first.
const SNAPSHOTS_VARIABLE: &str = "ATTEST_SNAPSHOTS_DIR";
/// Says how much they may take in each place.
pub const SIZE_VARIABLE: &str = "ATTEST_SNAPSHOTS_SIZE";
/// The kind of entries.
const KIND: &str = "snapshot";
/// Below the cache directory, on disk.
const ON_DISK: &str = "snapshots";
/// File of a snapshot with what it is of, as a JSON object; its `lab` is the name of the lab.
pub const ABOUT_LAB: &str = "snapshot.json";
/// What is read of it at most: it names machines and fields, and holds no data.
const ABOUT_LAB_LIMIT: u64 = 16 << 20;

/// Where snapshots may be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotSettings {
    /// A directory that is tried first, on whatever file system; none: the user's own in memory.
    pub directory: Option<PathBuf>,
    /// The cache directory, below which those are that do not fit there.
    pub cache: PathBuf,
    /// Bytes that they may take in each place; none: a quarter of the host's memory in memory,
    /// 10 GiB on disk.
    pub limit: Option<u64>,
}

impl SnapshotSettings {
    /// The directory of `$ATTEST_SNAPSHOTS_DIR`, where it is set, and what is said here.
    pub fn from_environment(cache: PathBuf, limit: Option<u64>) -> Self {
        let directory = std::env::var_os(SNAPSHOTS_VARIABLE);
        Self {
            directory: directory.filter(|path| !path.is_empty()).map(PathBuf::from),
            cache,
            limit,
        }
    }
}

/// The snapshots of this user on this host, in one place or two.
#[derive(Debug)]
pub struct SnapshotStore {
    first: Result<Place, SnapshotError>,
    disk: Result<Place, Arc<SnapshotError>>,
}

/// Where a new snapshot goes.
#[derive(Debug)]
pub struct Chosen<'a> {
    /// The place.
    pub cache: &'a Cache,
    /// Why, for people.
    pub reason: String,
}

/// A snapshot that is wanted.
#[derive(Debug)]
pub struct WantedSnapshot {
    /// It, whole and in use; or the making of it.
    pub wanted: Wanted,
    /// Where it is, or is made, and why there.
    pub reason: String,
    /// What was found in its stead.
    pub broken: Vec<Broken>,
}

/// A snapshot that was kept.
#[derive(Debug)]
pub struct Kept {
    /// It, in use.
    pub lease: Lease,
    /// What went for it, the last used first.
    pub evicted: Vec<CacheEntry>,
    /// More is left than the limit.
    pub over: Option<OverLimit>,
}

/// More snapshots than there may be: nothing else could be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverLimit {
    /// The place.
    pub directory: PathBuf,
    /// What they take there, in bytes.
    pub bytes: u64,
    /// What they may take, in bytes.
    pub limit: u64,
}

impl fmt::Display for OverLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bytes, limit) = (Mebibytes(self.bytes), Mebibytes(self.limit));
        let directory = self.directory.display();
        write!(
            f,
            "the snapshots in use take {bytes} in {directory}, more than the limit of {limit}; they are kept \
             as long as they are used; ATTEST_SNAPSHOTS_SIZE sets another"
        )
    }
}

impl SnapshotStore {
    /// Open the places; those that are missing are made. A place that cannot be used counts only
    /// when it is needed: see [`SnapshotStore::choose`].
    ///
    /// # Errors
    /// The directory that was asked for cannot be used.
    pub fn open(settings: &SnapshotSettings) -> Result<Self, SnapshotError> {
        let limit = settings.limit;
        let first = match &settings.directory {
            Some(directory) => Ok(Place::open(directory, limit)?),
            None => Place::in_memory(limit),
        };
        let disk = Place::open(&settings.cache.join(ON_DISK), limit).map_err(Arc::new);
        Ok(Self { first, disk })
    }

    /// All places that can be used, as one.
    pub fn caches(&self) -> Caches {
        let caches = self.places().map(|place| place.cache.clone());
        Caches::new(Holds::Snapshots, caches.collect())
    }

    /// Why places cannot be used that are not.
    pub fn unusable(&self) -> impl Iterator<Item = &SnapshotError> {
        let disk = self.disk.as_ref().err().map(AsRef::as_ref);
        self.first.as_ref().err().into_iter().chain(disk)
    }

    /// Each once: the directory that was asked for may be the one on disk.
    fn places(&self) -> impl Iterator<Item = &Place> {
        let directory = |place: &Place| place.cache.directory().to_owned();
        let first = self.first.as_ref().ok().map(directory);
        let is_other = move |place: &&Place| first.as_deref() != Some(place.cache.directory());
        self.first.iter().chain(self.disk.iter().filter(is_other))
    }

    /// Where a snapshot goes that is expected to take so many bytes: the first place when they
    /// are at most half of what is free there, and, in memory, a quarter of the host's; else the
    /// disk.
    ///
    /// # Errors
    /// There is no place for it.
    pub fn choose(&self, expected: u64) -> Result<Chosen<'_>, SnapshotError> {
        let why_not = match &self.first {
            Ok(place) => {
                let directory = place.cache.directory().display();
                match place.room()?.takes(expected) {
                    Ok(why) => {
                        let (cache, reason) = (&place.cache, format!("in {directory}: {why}"));
                        return Ok(Chosen { cache, reason });
                    }
                    Err(why_not) => format!("not in {directory}: {why_not}"),
                }
            }
            Err(error) => error.to_string(),
        };
        let no_place = |error: &Arc<SnapshotError>| SnapshotError::NoPlace(Arc::clone(error));
        let place = self.disk.as_ref().map_err(no_place)?;
        place.last_room(expected)?;
        let directory = place.cache.directory().display();
        let reason = format!("in {directory}; {why_not}");
        Ok(Chosen {
            cache: &place.cache,
            reason,
        })
    }

    /// The snapshot under this key, whole and in use. What was broken is set aside, and told.
    /// `progress` hears how far it is, where it has to be read.
    ///
    /// # Errors
    /// Its files cannot be read, or what is broken cannot be set aside.
    pub fn find(
        &self,
        key: blake3::Hash,
        progress: &mut dyn FnMut(Step),
    ) -> Result<(Option<Lease>, Vec<Broken>), SnapshotError> {
        let mut found = Vec::new();
        for place in self.places() {
            if let Some(lease) = place.cache.take(KIND, key)? {
                match place.cache.trusted(lease, progress)? {
                    Trust::Whole(lease) => return Ok((Some(lease), found)),
                    Trust::Broken(broken) => found.push(broken),
                }
            }
        }
        Ok((None, found))
    }

    /// A snapshot that was listed; nothing where it is gone meanwhile. `progress` hears how far it is, where it has
    /// to be read.
    ///
    /// # Errors
    /// As for [`SnapshotStore::find`].
    pub fn take(
        &self,
        entry: &CacheEntry,
        progress: &mut dyn FnMut(Step),
    ) -> Result<Option<Trust>, SnapshotError> {
        let directory = parent(&entry.path);
        let mut places = self.places();
        let Some(place) = places.find(|place| place.cache.directory() == directory) else {
            return Ok(None);
        };
        match place.cache.take_listed(entry)? {
            Some(lease) => Ok(Some(place.cache.trusted(lease, progress)?)),
            None => Ok(None),
        }
    }

    /// The snapshot under this key, or the making of it, in the place that suits what it is
    /// expected to take. While another makes the same, this waits, and `progress` hears of it.
    ///
    /// # Errors
    /// There is no place for it, or its files cannot be read.
    pub fn want(
        &self,
        key: blake3::Hash,
        expected: u64,
        progress: &mut dyn FnMut(Step),
    ) -> Result<WantedSnapshot, SnapshotError> {
        let mut broken = Vec::new();
        loop {
            let (found, more) = self.find(key, progress)?;
            broken.extend(more);
            if let Some(lease) = found {
                let reason = format!("found in {}", parent(lease.entry()).display());
                let wanted = Wanted::Ready(lease);
                return Ok(WantedSnapshot {
                    wanted,
                    reason,
                    broken,
                });
            }
            // What another makes, or has made meanwhile, is looked at as all that is found.
            let mut busy = self.places().filter(|place| place.cache.is_busy(KIND, key));
            if let Some(place) = busy.next() {
                // It may have chosen the other place. What it gives up is made where it belongs.
                drop(place.cache.want(KIND, key, progress)?);
                continue;
            }
            let Chosen { cache, reason } = self.choose(expected)?;
            let wanted = cache.want(KIND, key, progress)?;
            if matches!(wanted, Wanted::Make(_)) {
                return Ok(WantedSnapshot {
                    wanted,
                    reason,
                    broken,
                });
            }
        }
    }

    /// Put a snapshot in place, and remove others until all that are in the same place take no
    /// more than the limit: the least recently used first, and none that is in use.
    ///
    /// # Errors
    /// It could not be written, and nothing is left of it; or others could not be removed.
    pub fn finish(
        &self,
        unfinished: Unfinished,
        about: &str,
        progress: &mut dyn FnMut(Step),
    ) -> Result<Kept, SnapshotError> {
        let lease = unfinished.finish(about)?;
        let directory = parent(lease.entry());
        let mut kept = Kept {
            lease: lease.clone(),
            evicted: Vec::new(),
            over: None,
        };
        let is_there = |place: &&Place| place.cache.directory() == directory;
        if let Some(place) = self.places().find(is_there) {
            let caches = Caches::from(place.cache.clone());
            let keep = Keep {
                bytes: Some(place.limit),
                broken: true,
                ..Keep::default()
            };
            kept.evicted = caches.gc(keep, progress)?;
            let bytes = caches.ls()?.iter().map(|entry| entry.bytes).sum();
            let limit = place.limit;
            let directory = directory.to_owned();
            kept.over = (bytes > limit).then_some(OverLimit {
                directory,
                bytes,
                limit,
            });
        }
        Ok(kept)
    }

    /// Remove the snapshot under this key, so that the next who wants it makes it. Gives what was
    /// removed.
    ///
    /// # Errors
    /// It is in use, or its files cannot be removed.
    pub fn discard(&self, key: blake3::Hash) -> Result<Vec<CacheEntry>, SnapshotError> {
        let name = Cache::name_of(KIND, key);
        let mut removed = Vec::new();
        for place in self.places() {
            match Caches::from(place.cache.clone()).rm(&name) {
                Err(ImageError::NoEntry { .. }) => {}
                entry => removed.push(entry?),
            }
        }
        Ok(removed)
    }

    /// Other snapshots of the lab of this name, with what they say of themselves; the last made
    /// first. For telling why none of them is the one under this key.
    ///
    /// # Errors
    /// A place cannot be read.
    pub fn nearest(
        &self,
        lab: &str,
        key: blake3::Hash,
    ) -> Result<impl Iterator<Item = (CacheEntry, serde_json::Value)>, SnapshotError> {
        let mut entries = self.caches().ls()?;
        entries.sort_by_key(|entry| Reverse(entry.created));
        let key = key.to_hex();
        let others = entries.into_iter().filter(move |entry| {
            !entry.is_broken && entry.kind == KIND && !key.starts_with(entry.key())
        });
        let described = others.filter_map(|entry| {
            let about = about_lab(&entry.path)?;
            Some((entry, about))
        });
        let lab = lab.to_owned();
        Ok(described.filter(move |(_, about)| about["lab"] == *lab))
    }
}

/// What a snapshot says of itself; nothing where that cannot be read.
pub fn about_lab(entry: &Path) -> Option<serde_json::Value> {
    let file = File::open(entry.join(ABOUT_LAB)).ok()?;
    serde_json::from_reader(file.take(ABOUT_LAB_LIMIT)).ok()
}

fn parent(entry: &Path) -> &Path {
    entry.parent().unwrap_or(entry)
}

#[cfg(test)]
mod tests;

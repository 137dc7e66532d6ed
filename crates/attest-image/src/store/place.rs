//! The places of snapshots: memory where they fit, else the disk.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use super::SnapshotError;
use crate::cache::{Cache, Holds};
use crate::error::ImageError;
use crate::error::Mebibytes;

/// What snapshots on a disk may take, where nothing else is said.
const DISK_LIMIT: u64 = 10 << 30;
/// The part of the host's memory that one snapshot may take, and that all may.
const PART_OF_MEMORY: u64 = 4;
/// The part of what is free that a snapshot may take: labs that run beside it want some as well.
const PART_OF_FREE: u64 = 2;

/// A directory in which snapshots are kept.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) cache: Cache,
    /// Bytes that they may take in all.
    pub(super) limit: u64,
}

impl Place {
    /// This directory, made when missing.
    pub(super) fn open(directory: &Path, limit: Option<u64>) -> Result<Self, SnapshotError> {
        let cache = Cache::open_for(Holds::Snapshots, directory)?;
        let usual = || match Memory::now() {
            Some(memory) if cache.is_in_memory() => memory.total / PART_OF_MEMORY,
            _ => DISK_LIMIT,
        };
        let limit = limit.unwrap_or_else(usual);
        Ok(Self { cache, limit })
    }

    /// The place in memory that is the user's own. It lies where others may write: what is there
    /// and not ours is refused.
    pub(super) fn in_memory(limit: Option<u64>) -> Result<Self, SnapshotError> {
        let user = geteuid();
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|path| !path.is_empty());
        let own = match runtime {
            // Root may have got that of another user.
            Some(runtime) if !user.is_root() => PathBuf::from(runtime).join("attest"),
            _ => PathBuf::from(format!("/dev/shm/attest-{user}")),
        };
        let directory = own.join("snapshots");
        for path in [&own, &directory] {
            make_own(path, user.as_raw())?;
        }
        let place = Self::open(&directory, limit)?;
        if place.cache.is_in_memory() {
            Ok(place)
        } else {
            Err(SnapshotError::NotInMemory { path: directory })
        }
    }

    /// What is free now.
    pub(super) fn room(&self) -> Result<Room, SnapshotError> {
        let free = free(self.cache.directory())?;
        Ok(match Memory::now().filter(|_| self.cache.is_in_memory()) {
            // Files there take memory that others may have taken.
            Some(memory) => Room {
                free: free.min(memory.available),
                memory: Some(memory.total),
            },
            None => Room { free, memory: None },
        })
    }

    /// What is free for one who has no other place.
    pub(super) fn last_room(&self, expected: u64) -> Result<(), SnapshotError> {
        let free = self.room()?.free;
        let path = self.cache.directory().to_owned();
        if expected > free {
            return Err(SnapshotError::NoRoom {
                path,
                expected,
                free,
            });
        }
        Ok(())
    }
}

/// What a place has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    /// Bytes that are free.
    pub(super) free: u64,
    /// The host's memory in bytes, for a place in memory.
    pub(super) memory: Option<u64>,
}

impl Room {
    /// Whether so much may go there, and why.
    pub(super) fn takes(self, expected: u64) -> Result<String, String> {
        let Self { free, memory } = self;
        let (what, free_there) = (Mebibytes(expected), Mebibytes(free));
        if expected > free / PART_OF_FREE {
            return Err(format!(
                "{what} are more than half of the {free_there} that are free there"
            ));
        }
        if let Some(memory) = memory.filter(|memory| expected > memory / PART_OF_MEMORY) {
            let memory = Mebibytes(memory);
            return Err(format!(
                "{what} are more than a quarter of the {memory} of memory"
            ));
        }
        Ok(format!(
            "{what} fit into the {free_there} that are free there"
        ))
    }
}

/// The host's memory, in bytes.
struct Memory {
    total: u64,
    available: u64,
}

impl Memory {
    /// Nothing where the kernel does not say (proc_meminfo(5)).
    fn now() -> Option<Self> {
        let text = fs::read_to_string("/proc/meminfo").ok()?;
        let value = |name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name))?;
            let kibibytes: u64 = value.split_whitespace().next()?.parse().ok()?;
            Some(kibibytes << 10)
        };
        Some(Self {
            total: value("MemTotal:")?,
            available: value("MemAvailable:")?,
        })
    }
}

/// Bytes that are free for the user.
fn free(directory: &Path) -> Result<u64, SnapshotError> {
    let free = rustix::fs::statvfs(directory).map_err(|error| unknown(directory, error.into()))?;
    Ok(free.f_bavail.saturating_mul(free.f_frsize))
}

fn unknown(directory: &Path, error: io::Error) -> SnapshotError {
    ImageError::file(directory, "its file system cannot be looked at")(error).into()
}

/// Make a directory that is this user's alone, or take it when it is.
fn make_own(path: &Path, user: u32) -> Result<(), SnapshotError> {
    let failed = || ImageError::file(path, "the directory of snapshots cannot be made");
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(failed()(error))?,
        _ => {}
    }
    let metadata = path.symlink_metadata().map_err(failed())?;
    let reason = if !metadata.is_dir() {
        "it is no directory"
    } else if metadata.uid() != user {
        "it belongs to another user"
    } else if metadata.mode() & 0o022 != 0 {
        "others may write to it"
    } else {
        return Ok(());
    };
    let path = path.to_owned();
    Err(SnapshotError::Refused { path, reason })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_snapshot_goes_where_it_leaves_room_for_others() {
        const MIB: u64 = 1 << 20;
        let room = |free, memory: Option<u64>| Room {
            free: free * MIB,
            memory: memory.map(|memory| memory * MIB),
        };
        let told = |room: Room, expected: u64| room.takes(expected * MIB);
        assert_told(
            &told(room(1000, Some(2000)), 500),
            Ok("500 MiB fit into the 1000 MiB that are free there"),
        );
        assert_told(
            &told(room(1000, Some(2000)), 501),
            Err("501 MiB are more than half of the 1000 MiB that are free there"),
        );
        assert_told(
            &told(room(2000, Some(2000)), 501),
            Err("501 MiB are more than a quarter of the 2000 MiB of memory"),
        );
        // On a disk, the memory does not matter.
        assert_told(
            &told(room(9000, None), 4500),
            Ok("4500 MiB fit into the 9000 MiB that are free there"),
        );
    }

    fn assert_told(found: &Result<String, String>, wanted: Result<&str, &str>) {
        assert_eq!(found.as_deref().map_err(|text| &**text), wanted);
    }

    #[test]
    fn a_directory_that_is_not_ours_alone_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let user = geteuid().as_raw();
        let own = directory.path().join("own");
        make_own(&own, user).unwrap();
        make_own(&own, user).unwrap();
        assert_eq!(fs::metadata(&own).unwrap().mode() & 0o777, 0o700);
        let why = |path: &Path, user| match make_own(path, user) {
            Err(SnapshotError::Refused { reason, .. }) => reason,
            other => panic!("{other:?}"),
        };
        assert_eq!(why(&own, user + 1), "it belongs to another user");
        fs::set_permissions(&own, fs::Permissions::from_mode(0o770)).unwrap();
        assert_eq!(why(&own, user), "others may write to it");
        let link = directory.path().join("link");
        symlink(&own, &link).unwrap();
        assert_eq!(why(&link, user), "it is no directory");
    }
}

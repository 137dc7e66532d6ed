//! The digests of an entry's files: written last, they say that the entry is whole.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use super::list;
use crate::error::ImageError;

/// File with the digests of an entry's other files, a line each: `DIGEST  NAME`. Its time of
/// modification is when the entry was last used, and who uses the entry holds a lock on it.
pub(super) const DIGESTS: &str = "DIGESTS";

/// A file of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedFile {
    /// Below the entry.
    pub name: String,
    /// Of its contents, in hexadecimal digits (BLAKE3).
    pub digest: String,
    /// Its length.
    pub bytes: u64,
}

/// Write the digests of all files of an entry, safely on disk.
pub(super) fn seal(entry: &Path) -> Result<(), ImageError> {
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
            let digest = digest(&path).map_err(ImageError::file(&path, "it cannot be read"))?;
            sync(&path)?;
            let name = path.strip_prefix(entry).unwrap_or(&path).to_string_lossy();
            digests.extend([digest.to_hex().as_str(), "  ", &name, "\n"]);
        }
    }
    Ok(())
}

fn digest(path: &Path) -> io::Result<blake3::Hash> {
    digest_of(File::open(path)?)
}

/// The digest of a file, which may be larger than memory.
pub(super) fn digest_of(file: impl Read) -> io::Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file)?;
    Ok(hasher.finalize())
}

/// The files of an entry; none for what is no whole entry.
pub(super) fn files(entry: &Path) -> Vec<SealedFile> {
    let text = fs::read_to_string(entry.join(DIGESTS)).unwrap_or_default();
    let lines = text.lines().filter_map(|line| line.split_once("  "));
    let files = lines.map(|(digest, name)| SealedFile {
        name: name.to_owned(),
        digest: digest.to_owned(),
        // Nothing of what is missing.
        bytes: fs::metadata(entry.join(name)).map_or(0, |metadata| metadata.len()),
    });
    files.collect()
}

pub(super) fn sync(path: &Path) -> Result<(), ImageError> {
    let synced = File::open(path).and_then(|file| file.sync_all());
    synced.map_err(ImageError::file(path, "it cannot be written to disk"))
}

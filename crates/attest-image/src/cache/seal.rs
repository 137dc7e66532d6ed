//! The digests of an entry's files: written last, they say that the entry is whole.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::digest::Form;
use super::list;
use crate::error::ImageError;

/// File with the digests of an entry's other files, a line each: `DIGEST  NAME`. Its time of
/// modification is when the entry was last used, and who uses the entry holds a lock on it.
///
/// A digest is BLAKE3's of the file in hexadecimal digits; `sparse:` stands before that of a file
/// with holes (see [`Form`]).
pub(super) const DIGESTS: &str = "DIGESTS";

/// How safely entries are put in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seal {
    /// On disk before it counts as there: what is read later is whole, even after a power cut.
    Durable,
    /// Without waiting for a disk. A power cut may damage it, which its digests show.
    Volatile,
}

/// A file of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedFile {
    /// Below the entry.
    pub name: String,
    /// Of its contents, in hexadecimal digits (BLAKE3); of a file with holes `sparse:` and one of
    /// its data and where it lies.
    pub digest: String,
    /// Its length.
    pub bytes: u64,
}

/// Write the digests of all files of an entry.
pub(super) fn seal(entry: &Path, seal: Seal) -> Result<(), ImageError> {
    let mut sealing = Sealing {
        entry,
        seal,
        digests: String::new(),
    };
    sealing.below(entry)?;
    let path = entry.join(DIGESTS);
    let mut file = File::create(&path).map_err(ImageError::file(&path, "it cannot be made"))?;
    let written = file.write_all(sealing.digests.as_bytes());
    written.map_err(ImageError::file(&path, "it cannot be written"))?;
    sealing.settle(&path)?;
    sealing.settle(entry)
}

struct Sealing<'a> {
    entry: &'a Path,
    seal: Seal,
    digests: String,
}

impl Sealing<'_> {
    fn below(&mut self, directory: &Path) -> Result<(), ImageError> {
        for path in list(directory)? {
            let metadata = path
                .symlink_metadata()
                .map_err(ImageError::file(&path, "it cannot be read"))?;
            if metadata.is_dir() {
                self.below(&path)?;
                self.settle(&path)?;
            } else if metadata.is_file() {
                self.file(&path)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &PathBuf) -> Result<(), ImageError> {
        let digest = File::open(path)
            .and_then(|file| Form::of_file(&file)?.digest(&file, &mut |_| {}))
            .map_err(ImageError::file(path, "it cannot be read"))?;
        self.settle(path)?;
        let name = path.strip_prefix(self.entry).unwrap_or(path);
        let name = name.to_string_lossy();
        self.digests.extend([&digest, "  ", &*name, "\n"]);
        Ok(())
    }

    fn settle(&self, path: &Path) -> Result<(), ImageError> {
        match self.seal {
            Seal::Durable => sync(path),
            Seal::Volatile => Ok(()),
        }
    }
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

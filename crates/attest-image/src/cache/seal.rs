//! The digests of an entry's files: written last, they say that the entry is whole.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::digest::Form;
use super::identity::{Identities, Identity};
use super::list;
use crate::error::ImageError;

/// File with the digests of an entry's other files, a line each: `DIGEST  NAME`. Its time of
/// modification is when the entry was last used, and who uses the entry holds a lock on it.
///
/// A digest is BLAKE3's of the file in hexadecimal digits; `sparse:` stands before that of a file
/// with holes (see [`Form`]), and [`NONE`] in the place of one that is not made. The last line of
/// an entry that is not durable is the digest of all lines before it, under this file's own name:
/// a power cut may leave a part of them.
pub(super) const DIGESTS: &str = "DIGESTS";

/// Stands for the digest of a file that has none.
const NONE: &str = "-";
/// Files in memory that are as large have no digest, bytes: smaller ones are read in a millisecond.
const LARGE: u64 = 1 << 20;

/// How safely entries are put in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seal {
    /// On disk before it counts as there: what is read later is whole, even after a power cut.
    Durable,
    /// Without waiting for a disk. A power cut may damage it, which its digests show.
    Volatile,
    /// In a file system in memory, of which a power cut leaves nothing. Only a program damages it,
    /// and what one touches is another file than before: what is large needs no digest.
    InMemory,
}

/// A file of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedFile {
    /// Below the entry.
    pub name: String,
    /// Of its contents, in hexadecimal digits (BLAKE3); of a file with holes `sparse:` and one of
    /// its data and where it lies. None for what is large and lies in memory: it is believed as
    /// long as nothing touches it.
    pub digest: Option<String>,
    /// Its length.
    pub bytes: u64,
}

/// Write the digests of all files of an entry.
pub(super) fn seal(entry: &Path, seal: Seal) -> Result<(), ImageError> {
    let mut sealing = Sealing {
        entry,
        seal,
        digests: String::new(),
        identities: Identities::new(),
    };
    sealing.below(entry)?;
    let mut text = sealing.digests;
    if seal != Seal::Durable {
        let digest = blake3::hash(text.as_bytes()).to_hex();
        text.extend([&*digest, "  ", DIGESTS, "\n"]);
    }
    let path = entry.join(DIGESTS);
    let written = fs::write(&path, text);
    written.map_err(ImageError::file(&path, "it cannot be written"))?;
    match seal {
        Seal::Durable => {
            sync(&path)?;
            sync(entry)
        }
        Seal::Volatile | Seal::InMemory => sealing.identities.write(entry),
    }
}

struct Sealing<'a> {
    entry: &'a Path,
    seal: Seal,
    digests: String,
    identities: Identities,
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

    fn file(&mut self, path: &Path) -> Result<(), ImageError> {
        let read = || {
            let file = File::open(path)?;
            // Before it is read: a change meanwhile makes it another.
            let identity = Identity::of(&file.metadata()?);
            let digest = if self.seal == Seal::InMemory && identity.suffices(LARGE) {
                NONE.to_owned()
            } else {
                Form::of_file(&file)?.digest(&file, &mut |_| {})?
            };
            io::Result::Ok((digest, identity))
        };
        let (digest, identity) = read().map_err(ImageError::file(path, "it cannot be read"))?;
        self.settle(path)?;
        let name = path.strip_prefix(self.entry).unwrap_or(path);
        let name = name.to_string_lossy();
        self.digests.extend([&digest, "  ", &*name, "\n"]);
        self.identities.add(&name, identity);
        Ok(())
    }

    fn settle(&self, path: &Path) -> Result<(), ImageError> {
        match self.seal {
            Seal::Durable => sync(path),
            Seal::Volatile | Seal::InMemory => Ok(()),
        }
    }
}

/// What the digests of an entry say.
pub(super) struct Sealed {
    /// Its files.
    pub(super) files: Vec<SealedFile>,
    /// Whether the digests are what they were, where they say so themselves.
    pub(super) is_whole: Option<bool>,
}

impl Sealed {
    /// Of an entry; without files for what is none.
    pub(super) fn read(entry: &Path) -> Self {
        let text = fs::read(entry.join(DIGESTS)).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let (mut files, mut is_whole) = (Vec::new(), None);
        let mut before = 0;
        for line in text.split_inclusive('\n') {
            match line.trim_end_matches('\n').split_once("  ") {
                Some((digest, DIGESTS)) => {
                    let lines = blake3::hash(&text.as_bytes()[..before]);
                    is_whole = Some(lines.to_hex().as_str() == digest);
                }
                Some((digest, name)) => files.push(SealedFile {
                    name: name.to_owned(),
                    digest: (digest != NONE).then(|| digest.to_owned()),
                    // Nothing of what is missing.
                    bytes: fs::metadata(entry.join(name)).map_or(0, |metadata| metadata.len()),
                }),
                None => {}
            }
            before += line.len();
        }
        Self { files, is_whole }
    }
}

/// The files of an entry; none for what is no whole entry.
pub(super) fn files(entry: &Path) -> Vec<SealedFile> {
    Sealed::read(entry).files
}

pub(super) fn sync(path: &Path) -> Result<(), ImageError> {
    let synced = File::open(path).and_then(|file| file.sync_all());
    synced.map_err(ImageError::file(path, "it cannot be written to disk"))
}

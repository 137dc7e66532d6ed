//! Whether what is in the cache is still what was put there.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::Path;

use super::digest::Form;
use super::identity::{Identities, Identity};
use super::lease::Lease;
use super::seal::{DIGESTS, Sealed, SealedFile};
use super::{CacheEntry, Caches, Holds, seal};
use crate::error::ImageError;
use crate::progress::{Progress, Step};

/// A file of an entry that is not what was put there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damaged {
    /// Of which caches.
    pub of: Holds,
    /// The entry's name.
    pub entry: String,
    /// The file, below the entry.
    pub file: String,
    /// What is wrong with it.
    pub damage: Damage,
}

/// What is wrong with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// Its digest is another.
    Changed,
    /// It is not there.
    Missing,
    /// It is shorter than it was.
    Truncated {
        /// Its length, in bytes.
        bytes: u64,
        /// The length that it had.
        of: u64,
    },
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed => f.write_str("is not what was put there"),
            Self::Missing => f.write_str("is missing"),
            Self::Truncated { bytes, of } => {
                write!(f, "is truncated: {bytes} of {of} bytes are left")
            }
        }
    }
}

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            of,
            entry,
            file,
            damage,
        } = self;
        let command = of.command();
        write!(
            f,
            "{entry}: `{file}` {damage}; remove the entry, and it is built anew: `{command} rm {entry}`"
        )
    }
}

impl Caches {
    /// Compare every file of these entries with its digest; of one that has none, whether anything
    /// touched it. What was removed since it was listed is left out; nothing counts as used by it.
    /// `progress` hears how far it is.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn verify(
        &self,
        entries: &[CacheEntry],
        progress: &mut dyn FnMut(Step),
    ) -> Result<Vec<Damaged>, ImageError> {
        let total = entries.iter().flat_map(|entry| seal::files(&entry.path));
        let total = total.map(|file| file.bytes).sum();
        let mut progress = Progress::new(format!("verifying {}", self.holds), total, progress);
        let (mut done, mut damaged) = (0, Vec::new());
        for entry in entries {
            // As long as it is read, it stays.
            let Some(_lease) = Lease::look(&entry.path)? else {
                continue;
            };
            let mut check = Check {
                entry: &entry.path,
                holds: self.holds,
                reading: Reading::All,
                at: &mut |at| progress.at(done + at),
            };
            damaged.extend(check.run()?);
            let files = seal::files(&entry.path);
            done += files.iter().map(|file| file.bytes).sum::<u64>();
        }
        Ok(damaged)
    }
}

/// Which files are read to be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    All,
    /// Only those that are not known by their identity.
    Unknown,
}

/// The check of an entry.
pub(super) struct Check<'a> {
    pub(super) entry: &'a Path,
    pub(super) holds: Holds,
    pub(super) reading: Reading,
    /// Hears how many bytes are checked.
    pub(super) at: &'a mut dyn FnMut(u64),
}

impl Check<'_> {
    /// What is damaged. Of what is whole, the identities are kept.
    pub(super) fn run(&mut self) -> Result<Vec<Damaged>, ImageError> {
        let sealed = Sealed::read(self.entry);
        let mut damaged = Vec::new();
        // A volatile entry has to say that its digests are all there.
        if !sealed.is_whole.unwrap_or(self.holds != Holds::Snapshots) {
            damaged.push(self.damaged(DIGESTS, Damage::Changed));
        }
        let known = Identities::read(self.entry);
        let (mut seen, mut done, mut is_new) = (Identities::new(), 0, false);
        for file in &sealed.files {
            match self.file(file, &known, done)? {
                Found::Known(identity) => seen.add(&file.name, identity),
                Found::Whole(identity) => {
                    is_new = true;
                    seen.add(&file.name, identity);
                }
                Found::Damaged(damage) => damaged.push(self.damaged(&file.name, damage)),
            }
            done += file.bytes;
        }
        if damaged.is_empty() && is_new && self.holds == Holds::Snapshots {
            // Where they cannot be written, the files are read once more the next time.
            let _ = seen.write(self.entry);
        }
        Ok(damaged)
    }

    fn file(
        &mut self,
        file: &SealedFile,
        known: &Identities,
        done: u64,
    ) -> Result<Found, ImageError> {
        let path = self.entry.join(&file.name);
        let mut look = || {
            let opened = File::open(&path)?;
            // Before it is read: a change meanwhile makes it another.
            let identity = Identity::of(&opened.metadata()?);
            let is_believed = self.reading == Reading::Unknown || file.digest.is_none();
            if is_believed && known.vouch_for(&file.name, &identity) {
                return io::Result::Ok(Found::Known(identity));
            }
            let length = opened.metadata()?.len();
            if let Some(of) = known.length(&file.name).filter(|of| *of > length) {
                return Ok(Found::Damaged(Damage::Truncated { bytes: length, of }));
            }
            let Some(before) = &file.digest else {
                return Ok(Found::Damaged(Damage::Changed));
            };
            let form = Form::of_digest(before);
            let digest = form.digest(&opened, &mut |at| (self.at)(done + at))?;
            Ok(if digest == *before {
                Found::Whole(identity)
            } else {
                Found::Damaged(Damage::Changed)
            })
        };
        match look() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(Found::Damaged(Damage::Missing))
            }
            found => found.map_err(ImageError::file(&path, "it cannot be read")),
        }
    }

    fn damaged(&self, file: &str, damage: Damage) -> Damaged {
        let name = self.entry.file_name().unwrap_or_default();
        Damaged {
            of: self.holds,
            entry: name.to_string_lossy().into_owned(),
            file: file.to_owned(),
            damage,
        }
    }
}

/// What a file was found to be.
enum Found {
    /// It was read before, and has not changed.
    Known(Identity),
    /// It has its digest.
    Whole(Identity),
    Damaged(Damage),
}

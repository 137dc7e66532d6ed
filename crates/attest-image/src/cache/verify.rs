//! Whether what is in the cache is still what was put there.

use std::fmt;
use std::fs::File;
use std::io;

use super::digest::Form;
use super::lease::Lease;
use super::{Cache, CacheEntry, seal};
use crate::error::ImageError;
use crate::progress::{Progress, Step};

/// A file of an entry that is not what was put there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damaged {
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
}

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.damage {
            Damage::Changed => "is not what was put there",
            Damage::Missing => "is missing",
        };
        let Self { entry, file, .. } = self;
        write!(
            f,
            "{entry}: `{file}` {what}; remove the entry, and it is built anew: `attest image rm {entry}`"
        )
    }
}

impl Cache {
    /// Compare every file of these entries with its digest. What was removed since it was listed
    /// is left out; nothing counts as used by it. `progress` hears how far it is.
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
        let mut progress = Progress::new("verifying the cache".to_owned(), total, progress);
        let (mut done, mut damaged) = (0, Vec::new());
        for entry in entries {
            // As long as it is read, it stays.
            let Some(_lease) = Lease::look(&entry.path)? else {
                continue;
            };
            for file in seal::files(&entry.path) {
                let path = entry.path.join(&file.name);
                let digest = File::open(&path).and_then(|opened| {
                    let form = Form::of_digest(&file.digest);
                    form.digest(&opened, &mut |at| progress.at(done + at))
                });
                done += file.bytes;
                let damage = match digest {
                    Ok(digest) if digest == file.digest => continue,
                    Ok(_) => Damage::Changed,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Damage::Missing,
                    Err(error) => return Err(ImageError::file(&path, "it cannot be read")(error)),
                };
                damaged.push(Damaged {
                    entry: entry.name.clone(),
                    file: file.name,
                    damage,
                });
            }
        }
        Ok(damaged)
    }
}

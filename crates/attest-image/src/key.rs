//! Keys of the cache. Files of the host count by identity and time where reading them would take
//! longer than all else.

use std::fs;
use std::path::Path;

use crate::error::ImageError;
use crate::tree::Identity;

/// A key that is being made.
pub(crate) struct Key(blake3::Hasher);

impl Key {
    /// Of a kind of thing, in a version of the code that makes it.
    pub(crate) fn new(kind: &str, version: u64) -> Self {
        let mut key = Self(blake3::Hasher::new());
        key.part(kind.as_bytes());
        key.number(version);
        key
    }

    /// Of parts that cannot run into each other: each with its length.
    pub(crate) fn part(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        self.number(bytes.len() as u64);
        self.0.update(bytes);
    }

    pub(crate) fn number(&mut self, number: u64) {
        self.0.update(&number.to_le_bytes());
    }

    /// Parts, and how many they are.
    pub(crate) fn parts<T: AsRef<[u8]>>(&mut self, parts: impl IntoIterator<Item = T>) {
        let mut count = 0;
        for part in parts {
            self.part(part);
            count += 1;
        }
        self.number(count);
    }

    /// A file of the host by its path, identity and time.
    pub(crate) fn file(&mut self, path: &Path) -> Result<(), ImageError> {
        let metadata = fs::metadata(path).map_err(ImageError::file(path, "it cannot be read"))?;
        self.part(path.as_os_str().as_encoded_bytes());
        self.part(Identity::of(&metadata).bytes());
        Ok(())
    }

    /// The modules of a kernel. `modules.dep` is written anew whenever modules are installed;
    /// without it, the directory counts.
    pub(crate) fn modules(&mut self, directory: &Path) -> Result<(), ImageError> {
        let dependencies = directory.join("modules.dep");
        self.file(if dependencies.exists() {
            &dependencies
        } else {
            directory
        })
    }

    pub(crate) fn finish(self) -> blake3::Hash {
        self.0.finalize()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_run_into_each_other() {
        let of = |parts: &[&str]| {
            let mut key = Key::new("test", 1);
            key.parts(parts);
            key.finish()
        };
        assert_eq!(of(&["ab", "c"]), of(&["ab", "c"]));
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_ne!(of(&["ab"]), of(&["ab", ""]));
        assert_ne!(Key::new("a", 1).finish(), Key::new("a", 2).finish());
    }
}

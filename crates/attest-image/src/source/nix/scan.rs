//! References between the paths of a store. As Nix does it, every path is known by the hash in
//! its name, and whatever has that hash in it needs the path (Nix: `src/libstore/references.cc`).

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Characters of a hash in a name.
const HASH: usize = 32;
/// Bytes that are read at once.
const BUFFER: usize = 256 * 1024;
/// Whether a byte is a digit of Nix's base 32: those without E, O, U and T, which could make words.
const DIGITS: [bool; 256] = {
    let mut digits = [false; 256];
    let all = *b"0123456789abcdfghijklmnpqrsvwxyz";
    let mut at = 0;
    while at < all.len() {
        digits[all[at] as usize] = true;
        at += 1;
    }
    digits
};

type Hash = [u8; HASH];

/// The paths of a store by their hashes.
pub(super) struct Names(HashMap<Hash, String>);

impl Names {
    /// All that are in a store.
    pub(super) fn of(store: &Path) -> io::Result<Self> {
        let mut names = HashMap::new();
        for entry in fs::read_dir(store)? {
            // What is no text is no name of Nix's.
            if let Ok(name) = entry?.file_name().into_string()
                && let Some(hash) = hash(&name)
            {
                names.insert(hash, name);
            }
        }
        Ok(Self(names))
    }

    /// What a path of the store refers to, itself perhaps included.
    pub(super) fn references(&self, path: &Path) -> Result<BTreeSet<&str>, (PathBuf, io::Error)> {
        let mut found = BTreeSet::new();
        let mut buffer = vec![0; BUFFER];
        let mut left = vec![path.to_owned()];
        while let Some(path) = left.pop() {
            let scanned = self.scan(&path, &mut buffer, &mut left, &mut found);
            scanned.map_err(|error| (path, error))?;
        }
        Ok(found)
    }

    fn scan<'a>(
        &'a self,
        path: &Path,
        buffer: &mut [u8],
        left: &mut Vec<PathBuf>,
        found: &mut BTreeSet<&'a str>,
    ) -> io::Result<()> {
        let kind = path.symlink_metadata()?.file_type();
        let mut find = |bytes: &[u8]| {
            hashes(bytes, |hash| {
                found.extend(self.0.get(hash).map(String::as_str));
            });
        };
        if kind.is_dir() {
            for entry in fs::read_dir(path)? {
                let entry = entry?;
                find(entry.file_name().as_bytes());
                left.push(entry.path());
            }
        } else if kind.is_symlink() {
            find(fs::read_link(path)?.as_os_str().as_bytes());
        } else if kind.is_file() {
            stream(File::open(path)?, buffer, find)?;
        }
        Ok(())
    }
}

/// The hash in the name of a path of a store.
pub(super) fn hash(name: &str) -> Option<Hash> {
    let (hash, rest) = name.as_bytes().split_first_chunk::<HASH>()?;
    let fits = hash.iter().all(|byte| DIGITS[usize::from(*byte)]);
    (fits && rest.first() == Some(&b'-')).then_some(*hash)
}

/// Give all bytes of a reader, in parts of which each has the end of that before it.
fn stream(mut reader: impl Read, buffer: &mut [u8], mut give: impl FnMut(&[u8])) -> io::Result<()> {
    let mut kept = 0;
    loop {
        let count = match reader.read(&mut buffer[kept..]) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let filled = kept + count;
        give(&buffer[..filled]);
        kept = filled.min(HASH - 1);
        buffer.copy_within(filled - kept..filled, 0);
    }
}

/// What may be a hash: so many digits in a row, beginning anywhere.
fn hashes(bytes: &[u8], mut give: impl FnMut(&Hash)) {
    let mut at = 0;
    while let Some(window) = bytes.get(at..).and_then(|rest| rest.first_chunk::<HASH>()) {
        // From its end: what is no digit there ends all hashes that would go over it.
        let other = window.iter().rposition(|byte| !DIGITS[usize::from(*byte)]);
        if other.is_none() {
            give(window);
        }
        at += other.unwrap_or(0) + 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(bytes: &[u8]) -> Vec<Hash> {
        let mut found = Vec::new();
        hashes(bytes, |hash| found.push(*hash));
        found
    }

    #[test]
    fn names_have_hashes() {
        let digits = "0123456789abcdfghijklmnpqrsvwxyz";
        assert!(hash(&format!("{digits}-bash")).is_some());
        for name in [
            digits.to_owned(),
            format!("{digits}_bash"),
            digits.replace('a', "e") + "-bash",
            ".links".to_owned(),
        ] {
            assert_eq!(hash(&name), None, "{name}");
        }
    }

    #[test]
    fn hashes_are_found_wherever_they_begin() {
        let hash = b"0123456789abcdfghijklmnpqrsvwxyz";
        assert_eq!(found(hash), [*hash]);
        assert_eq!(found(&hash[1..]), Vec::<Hash>::new());
        let within = [&b"/nix/store/"[..], hash, b"-x:", hash, b"-y"].concat();
        assert_eq!(found(&within), [*hash, *hash]);
        // More digits than a hash has may be one at each place.
        let longer = [&b"00"[..], hash].concat();
        assert_eq!(found(&longer).len(), 3);
        assert!(found(&longer).contains(hash));
    }

    proptest! {
        #[test]
        fn what_is_read_in_parts_has_the_same_hashes(
            bytes in prop::collection::vec(prop::sample::select(b"0123456789abcdfghijklmnpqrsvwxyze-".to_vec()), 0..400),
            size in HASH..100,
        ) {
            let whole: BTreeSet<_> = found(&bytes).into_iter().collect();
            let naive = bytes.windows(HASH).filter(|window| window.iter().all(|byte| DIGITS[usize::from(*byte)]));
            let naive: BTreeSet<_> = naive.map(|window| *window.first_chunk().unwrap()).collect();
            prop_assert_eq!(&whole, &naive);
            let mut parts = BTreeSet::new();
            stream(&*bytes, &mut vec![0; size], |part| parts.extend(found(part))).unwrap();
            prop_assert_eq!(whole, parts);
        }
    }
}

//! An initramfs as the kernel takes it: a cpio archive in the "new ASCII" format
//! (Documentation/driver-api/early-userspace/buffer-format.rst), uncompressed: under TCG the
//! kernel copies faster than it decompresses. Equal inputs give equal bytes.

use std::collections::BTreeMap;

/// A file tree to pack.
#[derive(Debug, Default)]
pub struct Archive {
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    /// Of user and group, which are the same.
    owner: u32,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Directory(u32),
    File(u32, Vec<u8>),
    Symlink(String),
    Device(u32, u32, u32),
}

const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;
const CHARACTER: u32 = 0o020_000;

impl Archive {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Add a directory, with its parents.
    pub fn directory(&mut self, path: &str, mode: u32) {
        self.put(path, Kind::Directory(mode));
    }

    /// Add a file, with its parents. Paths have no leading slash.
    pub fn file(&mut self, path: &str, mode: u32, contents: impl Into<Vec<u8>>) {
        self.put(path, Kind::File(mode, contents.into()));
    }

    /// Add a symbolic link, with its parents.
    pub fn symlink(&mut self, path: &str, target: &str) {
        self.put(path, Kind::Symlink(target.to_owned()));
    }

    /// Add a character device.
    pub fn device(&mut self, path: &str, mode: u32, major: u32, minor: u32) {
        self.put(path, Kind::Device(mode, major, minor));
    }

    /// Give what is at this path to a user and the group of the same number; root has the rest.
    pub fn owner(&mut self, path: &str, owner: u32) {
        if let Some(entry) = self.entries.get_mut(path) {
            entry.owner = owner;
        }
    }

    /// Whether something is at this path.
    pub fn contains(&self, path: &str) -> bool {
        self.entries.contains_key(path)
    }

    /// A file's bytes.
    #[cfg(test)]
    pub(crate) fn contents(&self, path: &str) -> Option<&[u8]> {
        match &self.entries.get(path)?.kind {
            Kind::File(_, bytes) => Some(bytes),
            _ => None,
        }
    }

    fn put(&mut self, path: &str, kind: Kind) {
        for (at, _) in path.match_indices('/') {
            let parent = || Entry {
                owner: 0,
                kind: Kind::Directory(0o755),
            };
            self.entries
                .entry(path[..at].to_owned())
                .or_insert_with(parent);
        }
        self.entries
            .insert(path.to_owned(), Entry { owner: 0, kind });
    }

    /// The archive's bytes.
    pub fn pack(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // Sorted by name, so a directory comes before what is in it.
        for (inode, (path, Entry { owner, kind })) in (1_u32..).zip(&self.entries) {
            let mut header = Header {
                inode,
                owner: *owner,
                ..Header::default()
            };
            let mut contents: &[u8] = &[];
            match kind {
                Kind::Directory(mode) => header.mode = DIRECTORY | mode,
                Kind::File(mode, bytes) => {
                    header.mode = REGULAR | mode;
                    contents = bytes;
                }
                Kind::Symlink(target) => {
                    header.mode = SYMLINK | 0o777;
                    contents = target.as_bytes();
                }
                Kind::Device(mode, major, minor) => {
                    header.mode = CHARACTER | mode;
                    header.device = (*major, *minor);
                }
            }
            header.put(&mut bytes, path, contents);
        }
        Header::default().put(&mut bytes, "TRAILER!!!", &[]);
        bytes
    }
}

/// What differs between the headers here. All times are 0: equal inputs give equal bytes.
#[derive(Default)]
struct Header {
    inode: u32,
    mode: u32,
    owner: u32,
    device: (u32, u32),
}

impl Header {
    fn put(&self, bytes: &mut Vec<u8>, path: &str, contents: &[u8]) {
        let links = if self.mode & DIRECTORY == DIRECTORY {
            2
        } else {
            1
        };
        let size = u32::try_from(contents.len()).expect("files of an initramfs are small");
        let name_size = u32::try_from(path.len() + 1).expect("paths are short");
        let (major, minor) = self.device;
        let (owner, group) = (self.owner, self.owner);
        bytes.extend_from_slice(b"070701");
        for field in [
            self.inode, self.mode, owner, group, links, 0, size, 0, 0, major, minor, name_size, 0,
        ] {
            bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        bytes.extend_from_slice(path.as_bytes());
        bytes.push(0);
        pad(bytes);
        bytes.extend_from_slice(contents);
        pad(bytes);
    }
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A second reading of the format: (path, mode, contents).
    fn read(mut bytes: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let mut entries = Vec::new();
        loop {
            assert_eq!(&bytes[..6], b"070701");
            let field = |at: usize| {
                u32::from_str_radix(
                    std::str::from_utf8(&bytes[6 + 8 * at..14 + 8 * at]).unwrap(),
                    16,
                )
                .unwrap()
            };
            let (mode, size, name_size) = (field(1), field(6) as usize, field(11) as usize);
            let name = String::from_utf8(bytes[110..110 + name_size - 1].to_vec()).unwrap();
            let data = (110 + name_size).next_multiple_of(4);
            if name == "TRAILER!!!" {
                return entries;
            }
            entries.push((name, mode, bytes[data..data + size].to_vec()));
            bytes = &bytes[(data + size).next_multiple_of(4)..];
        }
    }

    proptest! {
        #[test]
        fn what_is_packed_can_be_read(files in prop::collection::btree_map("[a-z]{1,8}(/[a-z]{1,8}x){0,2}y", prop::collection::vec(any::<u8>(), 0..200), 0..20)) {
            let mut archive = Archive::new();
            for (path, contents) in &files {
                archive.file(path, 0o644, contents.clone());
            }
            let entries = read(&archive.pack());
            let back: std::collections::BTreeMap<_, _> = entries
                .iter()
                .filter(|(_, mode, _)| mode & REGULAR == REGULAR)
                .map(|(path, _, contents)| (path.clone(), contents.clone()))
                .collect();
            prop_assert_eq!(back, files);
        }
    }

    #[test]
    fn parents_come_before_their_children() {
        let mut archive = Archive::new();
        archive.file("a/b/c", 0o755, "x");
        archive.symlink("a/link", "b/c");
        archive.device("dev/console", 0o600, 5, 1);
        let entries = read(&archive.pack());
        let paths: Vec<_> = entries
            .iter()
            .map(|(path, mode, _)| (path.as_str(), *mode))
            .collect();
        assert_eq!(
            paths,
            [
                ("a", 0o040_755),
                ("a/b", 0o040_755),
                ("a/b/c", 0o100_755),
                ("a/link", 0o120_777),
                ("dev", 0o040_755),
                ("dev/console", 0o020_600),
            ]
        );
    }
}

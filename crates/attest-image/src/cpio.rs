//! An initramfs as the kernel takes it: a cpio archive in the "new ASCII" format
//! (Documentation/driver-api/early-userspace/buffer-format.rst), uncompressed: under TCG the
//! kernel copies faster than it decompresses. Equal trees give equal bytes.

use std::collections::HashSet;

use crate::error::ImageError;
use crate::tree::{Kind, Node, NodeId, Tree, shown};

/// The archive of a tree. Extended attributes have no place in it.
///
/// # Errors
/// A file of 4 GiB or more, or contents that cannot be read.
pub fn pack(tree: &Tree) -> Result<Vec<u8>, ImageError> {
    let mut bytes = Vec::new();
    let mut packed = HashSet::new();
    // The kernel has the top already. A directory comes before what is in it.
    for visit in tree.walk().skip(1) {
        let contents = if packed.insert(visit.id) {
            contents(visit.node, &visit.path)?
        } else {
            // One more name of what is there; its bytes are not repeated.
            Vec::new()
        };
        Header::of(tree, visit.id, &contents).put(&mut bytes, &visit.path, &contents);
    }
    Header::default().put(&mut bytes, b"TRAILER!!!", &[]);
    Ok(bytes)
}

fn contents(node: &Node, path: &[u8]) -> Result<Vec<u8>, ImageError> {
    match &node.kind {
        Kind::Symlink(target) => Ok(target.to_vec()),
        Kind::File(contents) if contents.len() > u64::from(u32::MAX) => {
            Err(ImageError::Unstorable {
                path: shown(path),
                reason: "an initramfs holds no file of 4 GiB",
            })
        }
        Kind::File(contents) => contents
            .read(u64::MAX)
            .map_err(|source| ImageError::Contents {
                path: shown(path),
                source,
            }),
        _ => Ok(Vec::new()),
    }
}

/// A file's header, as numbers in the order in which they stand.
#[derive(Default)]
struct Header {
    inode: u32,
    mode: u32,
    owner: u32,
    group: u32,
    links: u32,
    modified: u32,
    size: u32,
    device: (u32, u32),
}

impl Header {
    fn of(tree: &Tree, id: NodeId, contents: &[u8]) -> Self {
        let node = tree.node(id);
        let attributes = &node.attributes;
        let device = match node.kind {
            Kind::Character(device) | Kind::Block(device) => (device.major, device.minor),
            _ => (0, 0),
        };
        Self {
            inode: id.number(),
            mode: u32::from(node.st_mode()),
            owner: attributes.uid,
            group: attributes.gid,
            links: tree.links(id),
            // The format ends in 2106 and begins in 1970.
            modified: u32::try_from(attributes.modified.seconds.max(0)).unwrap_or(u32::MAX),
            size: u32::try_from(contents.len()).expect("larger files were refused"),
            device,
        }
    }

    fn put(&self, bytes: &mut Vec<u8>, path: &[u8], contents: &[u8]) {
        let name_size = u32::try_from(path.len() + 1).expect("paths are short");
        let (major, minor) = self.device;
        bytes.extend_from_slice(b"070701");
        for field in [
            self.inode,
            self.mode,
            self.owner,
            self.group,
            self.links,
            self.modified,
            self.size,
            0,
            0,
            major,
            minor,
            name_size,
            0,
        ] {
            bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        bytes.extend_from_slice(path);
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
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    struct Read {
        name: String,
        mode: u32,
        inode: u32,
        links: u32,
        contents: Vec<u8>,
    }

    /// A second reading of the format.
    fn read(mut bytes: &[u8]) -> Vec<Read> {
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
            let (size, name_size) = (field(6) as usize, field(11) as usize);
            let name = String::from_utf8(bytes[110..110 + name_size - 1].to_vec()).unwrap();
            let data = (110 + name_size).next_multiple_of(4);
            if name == "TRAILER!!!" {
                return entries;
            }
            entries.push(Read {
                name,
                mode: field(1),
                inode: field(0),
                links: field(4),
                contents: bytes[data..data + size].to_vec(),
            });
            bytes = &bytes[(data + size).next_multiple_of(4)..];
        }
    }

    proptest! {
        #[test]
        fn what_is_packed_can_be_read(files in prop::collection::btree_map("([a-z]{1,8}x/){0,2}[a-z]{1,8}y", prop::collection::vec(any::<u8>(), 0..200), 0..20)) {
            let mut tree = Tree::new();
            for (path, contents) in &files {
                tree.insert(path, Node::file(0o644, contents.clone())).unwrap();
            }
            let entries = read(&pack(&tree).unwrap());
            let regular = entries.into_iter().filter(|entry| entry.mode & 0o170_000 == 0o100_000);
            let back: BTreeMap<_, _> = regular.map(|entry| (entry.name, entry.contents)).collect();
            prop_assert_eq!(back, files);
        }
    }

    #[test]
    fn parents_come_before_their_children() {
        let mut tree = Tree::new();
        tree.insert("a/b/c", Node::file(0o755, "x")).unwrap();
        tree.insert("a/link", Node::symlink("b/c")).unwrap();
        tree.insert("dev/console", Node::character(0o600, 5, 1))
            .unwrap();
        let entries = read(&pack(&tree).unwrap());
        let paths: Vec<_> = entries
            .iter()
            .map(|entry| (entry.name.as_str(), entry.mode))
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

    #[test]
    fn names_of_one_file_share_its_bytes() {
        let mut tree = Tree::new();
        tree.insert("a", Node::file(0o755, "text")).unwrap();
        tree.link("b", "a").unwrap();
        let entries = read(&pack(&tree).unwrap());
        assert_eq!(entries[0].inode, entries[1].inode);
        assert_eq!((entries[0].links, entries[1].links), (2, 2));
        assert_eq!(
            (&*entries[0].contents, &*entries[1].contents),
            (&b"text"[..], &b""[..])
        );
    }
}

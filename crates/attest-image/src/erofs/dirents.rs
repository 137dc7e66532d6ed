//! The data of a directory: blocks, each with its entries and then their names, all in the order
//! of the names' bytes, `.` and `..` among them. The kernel searches it by halves.

use super::format::BLOCK;

/// Bytes of an entry without its name.
const ENTRY: usize = 12;

/// An entry of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    pub(super) name: &'a [u8],
    pub(super) inode: u64,
    pub(super) kind: u8,
}

/// Bytes of the data of a directory with these names, sorted.
pub(super) fn size<'a>(names: impl Iterator<Item = &'a [u8]>) -> usize {
    let (mut full, mut used) = (0, 0);
    for name in names {
        let more = ENTRY + name.len();
        if used + more > BLOCK {
            full += BLOCK;
            used = 0;
        }
        used += more;
    }
    full + used
}

/// The data of a directory with these entries, sorted by name.
pub(super) fn data(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut data = Vec::with_capacity(size(entries.iter().map(|entry| entry.name)));
    let mut left = entries;
    while !left.is_empty() {
        data.resize(data.len().next_multiple_of(BLOCK), 0);
        let (block, rest) = left.split_at(fitting(left));
        put(&mut data, block);
        left = rest;
    }
    data
}

/// How many of the entries fit into one block.
fn fitting(entries: &[Entry<'_>]) -> usize {
    let mut used = 0;
    let within = entries.iter().take_while(|entry| {
        used += ENTRY + entry.name.len();
        used <= BLOCK
    });
    within.count()
}

fn put(data: &mut Vec<u8>, block: &[Entry<'_>]) {
    let mut at = block.len() * ENTRY;
    for entry in block {
        data.extend_from_slice(&entry.inode.to_le_bytes());
        let offset = u16::try_from(at).expect("it is within a block");
        data.extend_from_slice(&offset.to_le_bytes());
        data.extend_from_slice(&[entry.kind, 0]);
        at += entry.name.len();
    }
    for entry in block {
        data.extend_from_slice(entry.name);
    }
}

/// Names in the order that an image needs, with `.` and `..`.
pub(super) fn sorted<'a>(names: impl Iterator<Item = &'a [u8]>) -> Vec<&'a [u8]> {
    let mut names: Vec<&[u8]> = [&b"."[..], b".."].into_iter().chain(names).collect();
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// A second reading of the format: (name, inode, kind).
    fn read(data: &[u8]) -> Vec<(Vec<u8>, u64, u8)> {
        let mut entries = Vec::new();
        for block in data.chunks(BLOCK) {
            let offset = |entry: usize| {
                usize::from(u16::from_le_bytes(
                    block[entry * 12 + 8..][..2].try_into().unwrap(),
                ))
            };
            let count = offset(0) / 12;
            for entry in 0..count {
                let end = if entry + 1 < count {
                    offset(entry + 1)
                } else {
                    block.len()
                };
                let name = block[offset(entry)..end]
                    .split(|byte| *byte == 0)
                    .next()
                    .unwrap();
                let inode = u64::from_le_bytes(block[entry * 12..][..8].try_into().unwrap());
                entries.push((name.to_vec(), inode, block[entry * 12 + 10]));
            }
        }
        entries
    }

    proptest! {
        #[test]
        fn what_is_written_can_be_read(names in prop::collection::btree_set(prop::collection::vec(1_u8.., 1..256), 0..120)) {
            let names: BTreeSet<Vec<u8>> = names;
            let entries: Vec<_> = (7..).zip(&names).map(|(inode, name)| Entry { name, inode, kind: 2 }).collect();
            let data = data(&entries);
            prop_assert_eq!(data.len(), size(names.iter().map(Vec::as_slice)));
            let back = read(&data);
            let same = entries.iter().map(|entry| (entry.name.to_vec(), entry.inode, entry.kind));
            prop_assert!(same.eq(back));
        }
    }

    #[test]
    fn dots_are_sorted_among_the_names() {
        let names = [&b"!first"[..], b"-", b"...", b"a"];
        assert_eq!(
            sorted(names.into_iter()),
            [&b"!first"[..], b"-", b".", b"..", b"...", b"a"]
        );
    }
}

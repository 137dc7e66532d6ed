//! Where everything goes in an image: all is known before the first byte is written.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::dirents;
use super::format::{self, BLOCK, FIRST_INODE, Form, Inode, SLOT};
use super::xattrs;
use crate::error::ImageError;
use crate::tree::{Entries, Kind, Node, NodeId, Time, Tree, shown};

/// Longest target of a symbolic link that Linux follows, without its NUL.
const LONGEST_LINK: usize = 4095;

/// Where everything goes.
pub(super) struct Plan<'a> {
    tree: &'a Tree,
    /// In the order of the walk; the top is the first.
    pub(super) places: Vec<Place<'a>>,
    /// Which of the places a node has.
    index: HashMap<NodeId, usize>,
    /// Of the inodes with the small form.
    pub(super) time: Time,
    /// Of the whole image.
    pub(super) blocks: u32,
}

/// Where an inode and its data go.
pub(super) struct Place<'a> {
    pub(super) node: &'a Node,
    /// Its first name, for messages.
    pub(super) path: Box<[u8]>,
    /// The directory that it is in.
    parent: usize,
    links: u32,
    form: Form,
    pub(super) xattrs: Vec<u8>,
    pub(super) size: u64,
    /// The part of the data behind the inode.
    pub(super) tail: usize,
    /// Where the inode is, in bytes.
    pub(super) offset: u64,
    /// Where the rest of the data is, in blocks.
    pub(super) block: u32,
}

impl<'a> Plan<'a> {
    pub(super) fn of(tree: &'a Tree) -> Result<Self, ImageError> {
        let mut plan = Self {
            tree,
            places: Vec::with_capacity(tree.count()),
            index: HashMap::with_capacity(tree.count()),
            time: usual_time(tree),
            blocks: 0,
        };
        plan.collect()?;
        let inodes = plan.put_inodes();
        plan.put_data(inodes)?;
        Ok(plan)
    }

    fn collect(&mut self) -> Result<(), ImageError> {
        let mut parents: HashMap<NodeId, usize> = HashMap::new();
        for visit in self.tree.walk() {
            if self.index.contains_key(&visit.id) {
                continue;
            }
            let at = self.places.len();
            let children = visit.node.entries().into_iter().flat_map(Entries::iter);
            parents.extend(children.map(|(_, child)| (child, at)));
            let parent = parents.get(&visit.id).copied().unwrap_or(0);
            let links = self.tree.links(visit.id);
            let place = Place::new(visit.node, &visit.path, parent, links, self.time);
            let place = place.map_err(|reason| ImageError::Unstorable {
                path: shown(&visit.path),
                reason,
            })?;
            self.index.insert(visit.id, at);
            self.places.push(place);
        }
        Ok(())
    }

    /// Give every inode its place; how many blocks they take.
    fn put_inodes(&mut self) -> u64 {
        let mut space = Space::new();
        for place in &mut self.places {
            place.offset = space.take(place.bytes());
        }
        space.blocks
    }

    /// Give the data of directories and then of files their blocks, each in one piece.
    fn put_data(&mut self, inodes: u64) -> Result<(), ImageError> {
        let mut next = inodes;
        for directories in [true, false] {
            for place in &mut self.places {
                if place.node.is_directory() == directories {
                    // What does not fit is found at the end.
                    place.block = u32::try_from(next).unwrap_or(u32::MAX);
                    next = next.saturating_add(place.body().div_ceil(BLOCK as u64));
                }
            }
        }
        self.blocks = u32::try_from(next).map_err(|_| ImageError::Unstorable {
            path: "/".to_owned(),
            reason: "an image of more than 16 TiB cannot be made",
        })?;
        Ok(())
    }

    /// The inode that stands at a place.
    pub(super) fn inode(&self, at: usize) -> Inode<'a> {
        let place = &self.places[at];
        let location = match place.node.kind {
            // The plan has only devices whose numbers can be packed.
            Kind::Character(device) | Kind::Block(device) => {
                format::device(device).unwrap_or_default()
            }
            _ => place.block,
        };
        Inode {
            node: place.node,
            form: place.form,
            inline: place.tail > 0,
            xattrs: place.xattrs.len(),
            size: place.size,
            location,
            number: u32::try_from(at + 1).unwrap_or(u32::MAX),
            links: place.links,
        }
    }

    /// The data of the directory at a place.
    pub(super) fn directory(&self, at: usize) -> Vec<u8> {
        let place = &self.places[at];
        let listed = place.node.entries();
        let place_of = |name: &[u8]| match name {
            b"." => Some(at),
            b".." => Some(place.parent),
            name => self.index.get(&listed?.get(name)?).copied(),
        };
        let mut entries = Vec::new();
        for name in dirents::sorted(names(place.node)) {
            let there = place_of(name).map(|at| &self.places[at]);
            entries.extend(there.map(|there| dirents::Entry {
                name,
                inode: there.number(),
                kind: format::file_type(&there.node.kind),
            }));
        }
        dirents::data(&entries)
    }
}

impl<'a> Place<'a> {
    fn new(
        node: &'a Node,
        path: &[u8],
        parent: usize,
        links: u32,
        time: Time,
    ) -> Result<Self, &'static str> {
        let xattrs = xattrs::data(&node.attributes.xattrs)?;
        let size = size(node)?;
        let form = form(node, size, links, time);
        let rest = usize::try_from(size % BLOCK as u64).expect("it is less than a block");
        let fits = form.bytes() + xattrs.len() + rest <= BLOCK;
        Ok(Self {
            node,
            path: path.into(),
            parent,
            links,
            form,
            xattrs,
            size,
            tail: if fits { rest } else { 0 },
            offset: 0,
            block: 0,
        })
    }

    /// Of the inode, with what is behind it.
    fn bytes(&self) -> usize {
        self.form.bytes() + self.xattrs.len() + self.tail
    }

    /// Bytes of the data that are not behind the inode.
    pub(super) fn body(&self) -> u64 {
        self.size - self.tail as u64
    }

    /// The number of the inode, by its place.
    pub(super) fn number(&self) -> u64 {
        self.offset / SLOT as u64
    }
}

fn size(node: &Node) -> Result<u64, &'static str> {
    match &node.kind {
        Kind::File(contents) => Ok(contents.len()),
        Kind::Directory(_) => Ok(dirents::size(dirents::sorted(names(node)).into_iter()) as u64),
        Kind::Symlink(target) if target.is_empty() => Err("a symbolic link must lead somewhere"),
        Kind::Symlink(target) if target.len() > LONGEST_LINK => {
            Err("no system follows a symbolic link of more than 4095 bytes")
        }
        Kind::Symlink(target) => Ok(target.len() as u64),
        Kind::Character(device) | Kind::Block(device) => match format::device(*device) {
            Some(_) => Ok(0),
            None => Err("Linux has no device of this number"),
        },
        Kind::Pipe => Ok(0),
    }
}

fn names(node: &Node) -> impl Iterator<Item = &[u8]> {
    let entries = node.entries().into_iter().flat_map(Entries::iter);
    entries.map(|(name, _)| name)
}

fn form(node: &Node, size: u64, links: u32, time: Time) -> Form {
    let attributes = &node.attributes;
    let short = |number: u32| u16::try_from(number).is_ok();
    let fits = attributes.modified == time
        && u32::try_from(size).is_ok()
        && [links, attributes.uid, attributes.gid]
            .into_iter()
            .all(short);
    if fits { Form::Compact } else { Form::Extended }
}

/// The time that most nodes have, the earliest of equals.
fn usual_time(tree: &Tree) -> Time {
    let mut times: BTreeMap<Time, usize> = BTreeMap::new();
    for visit in tree.walk() {
        *times.entry(visit.node.attributes.modified).or_default() += 1;
    }
    let most = times.iter().rev().max_by_key(|(_, count)| **count);
    most.map(|(time, _)| *time).unwrap_or_default()
}

/// The blocks of the inodes. An inode and the data behind it stay within one block, unless they
/// are larger than that: the kernel reads them as one. Gaps at the ends of blocks are filled with
/// what fits best.
struct Space {
    /// Free bytes at the end of a block, and the block.
    gaps: BTreeSet<(usize, u64)>,
    blocks: u64,
}

impl Space {
    fn new() -> Self {
        Self {
            gaps: BTreeSet::from([(BLOCK - FIRST_INODE, 0)]),
            blocks: 1,
        }
    }

    fn take(&mut self, bytes: usize) -> u64 {
        let bytes = bytes.next_multiple_of(SLOT);
        let fitting = self.gaps.range((bytes, 0)..).next().copied();
        let (free, block) = if let Some(gap) = fitting {
            self.gaps.remove(&gap);
            gap
        } else {
            let block = self.blocks;
            let needed = bytes.div_ceil(BLOCK);
            self.blocks += needed as u64;
            (needed * BLOCK, block + needed as u64 - 1)
        };
        if free > bytes {
            self.gaps.insert((free - bytes, block));
        }
        (block + 1) * BLOCK as u64 - free as u64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn inodes_are_apart_and_within_blocks(sizes in prop::collection::vec(32_usize..9000, 1..300)) {
            let mut space = Space::new();
            let mut taken = vec![(0, FIRST_INODE as u64)];
            for size in sizes {
                let at = space.take(size);
                let end = at + size as u64;
                prop_assert_eq!(at % SLOT as u64, 0);
                prop_assert!(end <= space.blocks * BLOCK as u64);
                let block = BLOCK as u64;
                prop_assert!(size > BLOCK || at / block == (end - 1) / block);
                taken.push((at, end));
            }
            taken.sort_unstable();
            prop_assert!(taken.windows(2).all(|pair| pair[0].1 <= pair[1].0));
        }
    }

    #[test]
    fn the_usual_time_is_that_of_most() {
        let mut tree = Tree::new();
        for (name, seconds) in [("a", 7), ("b", 7), ("c", 9), ("d", 9), ("e", 8)] {
            let mut node = Node::pipe(0);
            node.attributes.modified.seconds = seconds;
            tree.insert(name, node).unwrap();
        }
        assert_eq!(usual_time(&tree).seconds, 7);
    }
}

//! A file system tree in memory, as it is put into an image: every node with its owner, mode,
//! time and extended attributes, and names that may share a node. Contents of files may lie on
//! disk. Paths are bytes, relative to the top; symbolic links are followed within the tree only.

mod contents;
mod error;
mod layer;
mod materialise;
mod node;
mod path;
mod reader;
mod spool;

pub use contents::Contents;
pub(crate) use contents::{Extent, HostFile, Identity};
pub use error::TreeError;
pub use layer::Layer;
pub(crate) use materialise::Owners;
pub use node::{Attributes, Device, Entries, Kind, Node, Time};
pub use path::shown;
pub(crate) use spool::Position;
pub use spool::Spool;

/// Symbolic links on the way of one path, as many as Linux follows (path_resolution(7)).
const MOST_LINKS: usize = 40;

/// A node of a tree, as long as it is in the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u32);

impl NodeId {
    /// The top of every tree.
    pub const ROOT: Self = Self(0);

    /// Another for every node.
    pub(crate) fn number(self) -> u32 {
        self.0
    }
}

/// A file system tree.
#[derive(Debug, Clone)]
pub struct Tree {
    /// By [`NodeId`], which is never used again: what was removed leaves a gap.
    nodes: Vec<Option<Named>>,
}

#[derive(Debug, Clone)]
struct Named {
    node: Node,
    /// How many directory entries lead to it.
    names: u32,
}

/// What `..` at the top means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Climb {
    /// The top again, as for the kernel.
    Stay,
    /// An attempt to leave, as in an archive.
    Refuse,
}

/// How far a path led.
struct Way {
    /// The directories on it, from the top, with their names.
    directories: Vec<(Box<[u8]>, NodeId)>,
    /// What is at its end when that is no directory.
    leaf: Option<(Box<[u8]>, NodeId)>,
    /// The parts from the first that is not there, the last part first.
    missing: Vec<Box<[u8]>>,
}

/// The place of something in a directory.
struct Spot {
    /// As far as there is one.
    parent: NodeId,
    /// The top has none.
    name: Option<Box<[u8]>>,
    /// What is there.
    node: Option<NodeId>,
}

/// A node met on a walk.
#[derive(Debug, Clone)]
pub struct Visit<'a> {
    /// Without a slash before it; empty for the top.
    pub path: Box<[u8]>,
    /// Which node it is: names of one file have the same.
    pub id: NodeId,
    /// The node.
    pub node: &'a Node,
}

impl Default for Tree {
    fn default() -> Self {
        Self::new()
    }
}

impl Tree {
    /// A tree of an empty top, with the mode 0755, of root.
    pub fn new() -> Self {
        let root = Named {
            node: Node::directory(0o755),
            names: 1,
        };
        Self {
            nodes: vec![Some(root)],
        }
    }

    /// Put a node at a path. Parents that are not there are made; links on the way are followed,
    /// but not what is at the path itself: that is replaced, with all that is in it. A directory
    /// that takes the place of a directory keeps what is in that.
    ///
    /// # Errors
    /// A parent that is no directory, names that no file can have, links in circles.
    pub fn insert(&mut self, path: impl AsRef<[u8]>, node: Node) -> Result<NodeId, TreeError> {
        self.insert_within(path.as_ref(), node, Climb::Stay)
    }

    pub(crate) fn insert_within(
        &mut self,
        path: &[u8],
        node: Node,
        climb: Climb,
    ) -> Result<NodeId, TreeError> {
        let (parents, name) = path::split(path)?;
        let Some(name) = name else {
            if !node.is_directory() {
                return Err(TreeError::Root);
            }
            self.node_mut(NodeId::ROOT).attributes = node.attributes;
            return Ok(NodeId::ROOT);
        };
        path::check(path, name)?;
        let parent = self.make_parents(path, &parents, climb)?;
        if node.is_directory()
            && let Some(there) = self.child(parent, name)
            && self.node(there).is_directory()
        {
            self.node_mut(there).attributes = node.attributes;
            return Ok(there);
        }
        let id = self.add(node)?;
        self.put(parent, name, id);
        Ok(id)
    }

    /// Give a file that is there one more name. What is at the new name is replaced.
    ///
    /// # Errors
    /// As for [`Tree::insert`]; no such file, or a directory.
    pub fn link(
        &mut self,
        path: impl AsRef<[u8]>,
        target: impl AsRef<[u8]>,
    ) -> Result<NodeId, TreeError> {
        self.link_within(path.as_ref(), target.as_ref(), Climb::Stay)
    }

    pub(crate) fn link_within(
        &mut self,
        path: &[u8],
        target: &[u8],
        climb: Climb,
    ) -> Result<NodeId, TreeError> {
        let id = self.place(target, climb)?.node;
        let id = id.ok_or_else(|| TreeError::Missing {
            path: target.into(),
        })?;
        let (parents, name) = path::split(path)?;
        let name = name.ok_or(TreeError::Root)?;
        path::check(path, name)?;
        if self.node(id).is_directory() {
            return Err(TreeError::LinkToDirectory {
                path: path.into(),
                target: target.into(),
            });
        }
        let parent = self.make_parents(path, &parents, climb)?;
        self.put(parent, name, id);
        Ok(id)
    }

    /// Remove what is at a path, and all that is in it. Gives whether it was there. Of the top,
    /// only what is in it is removed.
    ///
    /// # Errors
    /// A parent that is no directory, links in circles.
    pub fn remove(&mut self, path: impl AsRef<[u8]>) -> Result<bool, TreeError> {
        let spot = self.place(path.as_ref(), Climb::Stay)?;
        match (spot.name, spot.node) {
            (_, None) => Ok(false),
            (Some(name), Some(_)) => {
                self.take_away(spot.parent, &name);
                Ok(true)
            }
            (None, Some(root)) => {
                for name in self.names_in(root) {
                    self.take_away(root, &name);
                }
                Ok(true)
            }
        }
    }

    /// What is at a path; a symbolic link there is not followed, those on the way are.
    ///
    /// # Errors
    /// A parent that is no directory, links in circles.
    pub fn find(&self, path: impl AsRef<[u8]>) -> Result<Option<NodeId>, TreeError> {
        Ok(self.place(path.as_ref(), Climb::Stay)?.node)
    }

    /// What a path leads to, and the path to it that has no links. `..` at the top is the top.
    ///
    /// # Errors
    /// Nothing is there, a parent is no directory, links in circles.
    pub fn follow(&self, path: impl AsRef<[u8]>) -> Result<(NodeId, Box<[u8]>), TreeError> {
        let path = path.as_ref();
        let way = self.go(path, path::parts(path), Climb::Stay)?;
        if !way.missing.is_empty() {
            return Err(TreeError::Missing { path: path.into() });
        }
        let id = way.leaf.as_ref().map_or(way.end(), |(_, id)| *id);
        let names = way.directories[1..].iter().chain(&way.leaf);
        Ok((id, path::join(names.map(|(name, _)| &**name))))
    }

    /// The node at a path, links followed; nothing also where the path leads nowhere.
    pub fn get(&self, path: impl AsRef<[u8]>) -> Option<&Node> {
        let (id, _) = self.follow(path).ok()?;
        Some(self.node(id))
    }

    /// The attributes of what is at a path, to be changed; a symbolic link there is not followed.
    ///
    /// # Errors
    /// Nothing is there, a parent is no directory, links in circles.
    pub fn attributes_mut(&mut self, path: impl AsRef<[u8]>) -> Result<&mut Attributes, TreeError> {
        let path = path.as_ref();
        let id = self.find(path)?;
        let id = id.ok_or_else(|| TreeError::Missing { path: path.into() })?;
        Ok(&mut self.node_mut(id).attributes)
    }

    /// A node of this tree.
    ///
    /// # Panics
    /// It was removed, or is of another tree.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.named(id).node
    }

    /// How many names a node has: what `st_nlink` says. A directory has one in its parent, `.`,
    /// and the `..` of each directory in it.
    pub fn links(&self, id: NodeId) -> u32 {
        let named = self.named(id);
        let Some(entries) = named.node.entries() else {
            return named.names;
        };
        let below = entries
            .iter()
            .filter(|(_, id)| self.node(*id).is_directory());
        u32::try_from(below.count() + 2).unwrap_or(u32::MAX)
    }

    /// All names, each directory before what is in it, otherwise in the order of the bytes.
    pub fn walk(&self) -> impl Iterator<Item = Visit<'_>> {
        let mut left: Vec<(Box<[u8]>, NodeId)> = vec![(Box::default(), NodeId::ROOT)];
        std::iter::from_fn(move || {
            let (path, id) = left.pop()?;
            let node = self.node(id);
            for (name, child) in node.entries().into_iter().flat_map(Entries::iter).rev() {
                let path = if path.is_empty() {
                    name.into()
                } else {
                    path::join([&*path, name])
                };
                left.push((path, child));
            }
            Some(Visit { path, id, node })
        })
    }

    /// How many files, directories and other nodes there are.
    pub fn count(&self) -> usize {
        self.nodes.iter().flatten().count()
    }

    /// The bytes of all files, those with many names once.
    pub fn bytes(&self) -> u64 {
        let nodes = self.nodes.iter().flatten();
        let contents = nodes.filter_map(|named| named.node.contents());
        contents.fold(0, |sum, contents| sum.saturating_add(contents.len()))
    }

    fn named(&self, id: NodeId) -> &Named {
        let slot = self.nodes[id.0 as usize].as_ref();
        slot.expect("a node is asked for only while it is in the tree")
    }

    fn node_mut(&mut self, id: NodeId) -> &mut Node {
        let slot = self.nodes[id.0 as usize].as_mut();
        let named = slot.expect("a node is asked for only while it is in the tree");
        &mut named.node
    }

    fn child(&self, directory: NodeId, name: &[u8]) -> Option<NodeId> {
        self.node(directory).entries()?.get(name)
    }

    fn names_in(&self, directory: NodeId) -> Vec<Box<[u8]>> {
        let entries = self.node(directory).entries().into_iter();
        entries
            .flat_map(Entries::iter)
            .map(|(name, _)| name.into())
            .collect()
    }

    /// Go along a path from the top, as far as it leads.
    fn go<'a>(
        &self,
        path: &[u8],
        parts: impl DoubleEndedIterator<Item = &'a [u8]>,
        climb: Climb,
    ) -> Result<Way, TreeError> {
        let mut left: Vec<Box<[u8]>> = parts.rev().map(Into::into).collect();
        let mut way = Way {
            directories: vec![(Box::default(), NodeId::ROOT)],
            leaf: None,
            missing: Vec::new(),
        };
        let mut links = 0;
        while let Some(part) = left.pop() {
            if *part == *b".." {
                match (way.directories.len(), climb) {
                    (1, Climb::Refuse) => return Err(TreeError::Escapes { path: path.into() }),
                    (1, Climb::Stay) => {}
                    _ => drop(way.directories.pop()),
                }
                continue;
            }
            let Some(id) = self.child(way.end(), &part) else {
                left.push(part);
                way.missing = left;
                return Ok(way);
            };
            match &self.node(id).kind {
                Kind::Directory(_) => way.directories.push((part, id)),
                Kind::Symlink(target) => {
                    links += 1;
                    if links > MOST_LINKS {
                        return Err(TreeError::Loop { path: path.into() });
                    }
                    if target.starts_with(b"/") {
                        way.directories.truncate(1);
                    }
                    left.extend(path::parts(target).rev().map(Into::into));
                }
                _ if left.is_empty() => way.leaf = Some((part, id)),
                _ => return Err(way.blocked(path, &part)),
            }
        }
        Ok(way)
    }

    /// Where a path leads, its last part not followed.
    fn place(&self, path: &[u8], climb: Climb) -> Result<Spot, TreeError> {
        let (parents, name) = path::split(path)?;
        let Some(name) = name else {
            return Ok(Spot {
                parent: NodeId::ROOT,
                name: None,
                node: Some(NodeId::ROOT),
            });
        };
        let way = self.go(path, parents.into_iter(), climb)?;
        if let Some((leaf, _)) = &way.leaf {
            return Err(way.blocked(path, leaf));
        }
        let there = way.missing.is_empty().then(|| self.child(way.end(), name));
        Ok(Spot {
            parent: way.end(),
            name: Some(name.into()),
            node: there.flatten(),
        })
    }

    /// The directory that these parts lead to, made where it is not there.
    fn make_parents(
        &mut self,
        path: &[u8],
        parents: &[&[u8]],
        climb: Climb,
    ) -> Result<NodeId, TreeError> {
        let way = self.go(path, parents.iter().copied(), climb)?;
        if let Some((leaf, _)) = &way.leaf {
            return Err(way.blocked(path, leaf));
        }
        // A way back out of what is not there leads nowhere.
        if way.missing.iter().any(|part| **part == *b"..") {
            return Err(TreeError::Missing { path: path.into() });
        }
        let mut directory = way.end();
        for part in way.missing.iter().rev() {
            path::check(path, part)?;
            let made = self.add(Node::directory(0o755))?;
            self.put(directory, part, made);
            directory = made;
        }
        Ok(directory)
    }

    fn add(&mut self, node: Node) -> Result<NodeId, TreeError> {
        let id = u32::try_from(self.nodes.len()).map_err(|_| TreeError::TooMany)?;
        self.nodes.push(Some(Named { node, names: 0 }));
        Ok(NodeId(id))
    }

    fn put(&mut self, directory: NodeId, name: &[u8], id: NodeId) {
        // Counted first: it may be there already under this very name.
        if let Some(named) = &mut self.nodes[id.0 as usize] {
            named.names += 1;
        }
        let replaced = match &mut self.node_mut(directory).kind {
            Kind::Directory(entries) => entries.0.insert(name.into(), id),
            _ => None,
        };
        self.forget(replaced);
    }

    fn take_away(&mut self, directory: NodeId, name: &[u8]) {
        let removed = match &mut self.node_mut(directory).kind {
            Kind::Directory(entries) => entries.0.remove(name),
            _ => None,
        };
        self.forget(removed);
    }

    /// A name of this node is gone; with the last goes the node, and what is in it.
    fn forget(&mut self, unnamed: Option<NodeId>) {
        // Without recursion: trees may be deeper than the stack.
        let mut left: Vec<_> = unnamed.into_iter().collect();
        while let Some(id) = left.pop() {
            let slot = &mut self.nodes[id.0 as usize];
            let Some(named) = slot else { continue };
            named.names -= 1;
            if named.names == 0 {
                let entries = named.node.entries().into_iter().flat_map(Entries::iter);
                left.extend(entries.map(|(_, id)| id));
                *slot = None;
            }
        }
    }
}

impl Way {
    /// The last directory.
    fn end(&self) -> NodeId {
        self.directories.last().map_or(NodeId::ROOT, |(_, id)| *id)
    }

    fn blocked(&self, path: &[u8], leaf: &[u8]) -> TreeError {
        let names = self.directories[1..].iter().map(|(name, _)| &**name);
        TreeError::NotADirectory {
            path: path.into(),
            at: path::join(names.chain([leaf])),
        }
    }
}

#[cfg(test)]
mod tests;

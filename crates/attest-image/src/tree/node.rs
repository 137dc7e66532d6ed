//! What is in a tree: files, directories, links, devices, and what is said of each.

use std::collections::BTreeMap;

use super::NodeId;
use super::contents::Contents;

/// Bits of a mode that are kept: permissions, set-user-ID, set-group-ID and sticky.
const PERMISSIONS: u16 = 0o7777;

/// Something in a tree, without its name: names are in directories, and one node may have many.
#[derive(Debug, Clone)]
pub struct Node {
    /// Owner, permissions, time and extended attributes.
    pub attributes: Attributes,
    /// What it is.
    pub kind: Kind,
}

/// What a node is.
#[derive(Debug, Clone)]
pub enum Kind {
    /// A directory.
    Directory(Entries),
    /// A file.
    File(Contents),
    /// A symbolic link, and where it leads.
    Symlink(Box<[u8]>),
    /// A character device.
    Character(Device),
    /// A block device.
    Block(Device),
    /// A named pipe.
    Pipe,
}

/// What every node has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Permissions, set-user-ID, set-group-ID and sticky: 12 bits.
    pub mode: u16,
    /// The owner.
    pub uid: u32,
    /// The owning group.
    pub gid: u32,
    /// When it was modified.
    pub modified: Time,
    /// Extended attributes by their full names, as `security.capability`.
    pub xattrs: BTreeMap<Box<[u8]>, Box<[u8]>>,
}

/// A time since 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time {
    /// Whole seconds; negative before 1970.
    pub seconds: i64,
    /// And nanoseconds, below a thousand million.
    pub nanoseconds: u32,
}

/// The number of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    /// Which driver.
    pub major: u32,
    /// Which of the driver's devices.
    pub minor: u32,
}

/// What is in a directory, sorted by the bytes of the names.
#[derive(Debug, Clone, Default)]
pub struct Entries(pub(super) BTreeMap<Box<[u8]>, NodeId>);

impl Entries {
    /// Names and nodes in the order of the names.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&[u8], NodeId)> {
        self.0.iter().map(|(name, node)| (&**name, *node))
    }

    /// What has this name.
    pub fn get(&self, name: &[u8]) -> Option<NodeId> {
        self.0.get(name).copied()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Node {
    /// An empty directory of root's, of the year 1970, as the other constructors make theirs.
    pub fn directory(mode: u16) -> Self {
        Self::new(mode, Kind::Directory(Entries::default()))
    }

    /// A file.
    pub fn file(mode: u16, contents: impl Into<Contents>) -> Self {
        Self::new(mode, Kind::File(contents.into()))
    }

    /// A symbolic link.
    pub fn symlink(target: impl AsRef<[u8]>) -> Self {
        Self::new(0o777, Kind::Symlink(target.as_ref().into()))
    }

    /// A character device.
    pub fn character(mode: u16, major: u32, minor: u32) -> Self {
        Self::new(mode, Kind::Character(Device { major, minor }))
    }

    /// A block device.
    pub fn block(mode: u16, major: u32, minor: u32) -> Self {
        Self::new(mode, Kind::Block(Device { major, minor }))
    }

    /// A named pipe.
    pub fn pipe(mode: u16) -> Self {
        Self::new(mode, Kind::Pipe)
    }

    fn new(mode: u16, kind: Kind) -> Self {
        let attributes = Attributes {
            mode: mode & PERMISSIONS,
            ..Attributes::default()
        };
        Self { attributes, kind }
    }

    /// The same with these attributes; a symbolic link has all permissions whatever is said.
    #[must_use]
    pub fn with(mut self, attributes: Attributes) -> Self {
        self.attributes = attributes;
        self.attributes.mode = match self.kind {
            Kind::Symlink(_) => 0o777,
            _ => self.attributes.mode & PERMISSIONS,
        };
        self
    }

    /// The same with another owner.
    #[must_use]
    pub fn owned(mut self, uid: u32, gid: u32) -> Self {
        self.attributes.uid = uid;
        self.attributes.gid = gid;
        self
    }

    /// The same with an extended attribute.
    #[must_use]
    pub fn xattr(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        let xattrs = &mut self.attributes.xattrs;
        xattrs.insert(name.as_ref().into(), value.as_ref().into());
        self
    }

    /// What is in it, if it is a directory.
    pub fn entries(&self) -> Option<&Entries> {
        match &self.kind {
            Kind::Directory(entries) => Some(entries),
            _ => None,
        }
    }

    /// Its contents, if it is a file.
    pub fn contents(&self) -> Option<&Contents> {
        match &self.kind {
            Kind::File(contents) => Some(contents),
            _ => None,
        }
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.entries().is_some()
    }

    /// The type and the permissions as `st_mode` has them (inode(7)).
    pub fn st_mode(&self) -> u16 {
        let kind = match self.kind {
            Kind::Pipe => 0o010_000,
            Kind::Character(_) => 0o020_000,
            Kind::Directory(_) => 0o040_000,
            Kind::Block(_) => 0o060_000,
            Kind::File(_) => 0o100_000,
            Kind::Symlink(_) => 0o120_000,
        };
        kind | self.attributes.mode
    }
}

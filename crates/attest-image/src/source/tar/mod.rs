//! A tar archive as a tree, read as a stream. The archive may be anybody's: nothing that is in it
//! leads out of the tree, and what makes no sense is an error that names the entry.
//!
//! What could be taken in more than one way:
//! - a name is relative to the top of the tree, whether it begins with a slash or not; one with
//!   `..` is refused, and so is a path through a link that climbs out of the tree;
//! - the last of entries with the same name counts, and a directory that comes again keeps what
//!   is in it;
//! - symbolic links may lead anywhere, for they are followed by the system that boots;
//! - sockets, labels of the archive and attributes of other systems are left out.

mod error;
mod pax;
mod sparse;
mod stream;

use std::io::{self, Read};

use tar::{EntryType, Header};

pub use error::TarError;

use super::directory::KEPT;
use crate::tree::{Attributes, Climb, Contents, Layer, Node, Spool, Time, Tree, TreeError};
use sparse::Map;
use stream::{Entry, Stream};

/// Read an archive into a tree, over what is there.
pub(super) fn unpack(
    reader: impl Read,
    into: &mut impl Sink,
    spool: &mut Spool,
) -> Result<(), TarError> {
    let mut stream = Stream::new(reader);
    while let Some(entry) = stream.entry()? {
        put(&mut stream, &entry, into, spool)?;
    }
    stream.finish()
}

/// Where entries go.
pub(super) trait Sink {
    fn insert(&mut self, path: &[u8], node: Node) -> Result<(), TreeError>;
    fn link(&mut self, path: &[u8], target: &[u8]) -> Result<(), TreeError>;
}

impl Sink for Layer<'_> {
    fn insert(&mut self, path: &[u8], node: Node) -> Result<(), TreeError> {
        Layer::insert(self, path, node)
    }

    fn link(&mut self, path: &[u8], target: &[u8]) -> Result<(), TreeError> {
        Layer::link(self, path, target)
    }
}

/// A tree in which no entry is a whiteout.
pub(super) struct Plain<'a>(pub(super) &'a mut Tree);

impl Sink for Plain<'_> {
    fn insert(&mut self, path: &[u8], node: Node) -> Result<(), TreeError> {
        self.0.insert_within(path, node, Climb::Refuse).map(drop)
    }

    fn link(&mut self, path: &[u8], target: &[u8]) -> Result<(), TreeError> {
        self.0.link_within(path, target, Climb::Refuse).map(drop)
    }
}

fn put(
    stream: &mut Stream<impl Read>,
    entry: &Entry,
    into: &mut impl Sink,
    spool: &mut Spool,
) -> Result<(), TarError> {
    let refused = |reason: &str| TarError::Entry {
        entry: entry.name.clone(),
        reason: reason.to_owned(),
    };
    let put = |node: Node, into: &mut dyn Sink| {
        let attributes = attributes(entry).map_err(refused)?;
        let inserted = into.insert(&entry.name, node.with(attributes));
        inserted.map_err(|source| TarError::Tree {
            entry: entry.name.clone(),
            source,
        })
    };
    // A name that climbs is an attack or an accident, wherever it would end.
    if climbs(&entry.name) {
        return Err(refused("its name leads out of the tree, or has `..` in it"));
    }
    let device = || device(&entry.header).ok_or_else(|| refused("its device number is damaged"));
    match entry.header.entry_type() {
        // Very old archives know directories by their slash.
        EntryType::Regular if entry.name.ends_with(b"/") => put(Node::directory(0), into),
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
            let contents = contents(stream, entry, spool)?;
            put(Node::file(0, contents), into)
        }
        EntryType::Directory => put(Node::directory(0), into),
        EntryType::Symlink if entry.link.is_empty() => Err(refused("the link leads nowhere")),
        EntryType::Symlink => put(Node::symlink(&entry.link), into),
        EntryType::Link if climbs(&entry.link) => Err(refused(
            "the file that it is a second name of is out of the tree",
        )),
        EntryType::Link => {
            let linked = into.link(&entry.name, &entry.link);
            linked.map_err(|source| TarError::Tree {
                entry: entry.name.clone(),
                source,
            })
        }
        EntryType::Char => {
            let (major, minor) = device()?;
            put(Node::character(0, major, minor), into)
        }
        EntryType::Block => {
            let (major, minor) = device()?;
            put(Node::block(0, major, minor), into)
        }
        EntryType::Fifo => put(Node::pipe(0), into),
        // GNU's label of the archive.
        other if other.as_byte() == b'V' => Ok(()),
        other => Err(refused(&format!(
            "attest does not know what an entry of the type `{}` is",
            char::from(other.as_byte()).escape_default()
        ))),
    }
}

fn climbs(path: &[u8]) -> bool {
    path.split(|byte| *byte == b'/').any(|part| part == b"..")
}

fn contents(
    stream: &mut Stream<impl Read>,
    entry: &Entry,
    spool: &mut Spool,
) -> Result<Contents, TarError> {
    let refused = |reason: &str| TarError::Entry {
        entry: entry.name.clone(),
        reason: reason.to_owned(),
    };
    let size = entry.records.number("size").map_err(refused)?;
    let own = || unless_blank(&entry.header.as_old().size, entry.header.entry_size());
    let size = size.or_else(own);
    let size = size.ok_or_else(|| refused("its size is damaged"))?;
    let mut left = size;
    let map = if entry.header.entry_type() == EntryType::GNUSparse {
        Some(sparse::old(stream, &entry.header)?)
    } else {
        sparse::extended(stream, &entry.records, &mut left)?
    };
    let whole = || {
        Ok(Map {
            places: vec![(0, left)],
            size: left,
        })
    };
    let map = map.unwrap_or_else(whole).map_err(refused)?;
    if map.bytes() != left {
        return Err(refused("its size is not that of its parts"));
    }
    let mut failure = None;
    let mut watched = Watched {
        reader: stream.reader(),
        failure: &mut failure,
    };
    let contents = spool.add_sparse(&mut watched, &map.places, map.size);
    let contents = contents.map_err(|source| match failure {
        Some(kind) if kind == source.kind() => stream.failed(source),
        _ => TarError::Spool {
            entry: entry.name.clone(),
            source,
        },
    })?;
    stream.pad(size)?;
    Ok(contents)
}

/// A reader that remembers its failure: copying fails at either end, and only one is the archive's.
struct Watched<'a, R> {
    reader: &'a mut R,
    failure: &'a mut Option<io::ErrorKind>,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer);
        match &read {
            Ok(0) => *self.failure = Some(io::ErrorKind::UnexpectedEof),
            Ok(_) => {}
            Err(error) => *self.failure = Some(error.kind()),
        }
        read
    }
}

fn attributes(entry: &Entry) -> Result<Attributes, &'static str> {
    let (header, records) = (&entry.header, &entry.records);
    let fields = header.as_old();
    let id = |key, field: &[u8], own: io::Result<u64>| {
        let id = records.number(key)?.or_else(|| unless_blank(field, own));
        let id = id.ok_or("its owner is damaged")?;
        u32::try_from(id).map_err(|_| "its owner has a number that Linux has not")
    };
    let mode = unless_blank(&fields.mode, header.mode()).ok_or("its mode is damaged")?;
    let modified = match records.modified()? {
        Some(time) => time,
        None => Time {
            // Times before 1970 are negative numbers in the guise of great ones.
            seconds: unless_blank(&fields.mtime, header.mtime())
                .ok_or("its time is damaged")?
                .cast_signed(),
            nanoseconds: 0,
        },
    };
    let xattrs = records.beginning(b"SCHILY.xattr.");
    let xattrs = xattrs.filter(|(name, _)| KEPT.iter().any(|kept| name.starts_with(kept)));
    Ok(Attributes {
        // Of 32 bits; the upper say what it is, which the type has said.
        mode: (mode & 0o7777) as u16,
        uid: id("uid", &fields.uid, header.uid())?,
        gid: id("gid", &fields.gid, header.gid())?,
        modified,
        xattrs: xattrs
            .map(|(name, value)| (name.into(), value.into()))
            .collect(),
    })
}

/// A number of a header; some writers leave the field of a zero blank.
fn unless_blank<T: Default>(field: &[u8], number: io::Result<T>) -> Option<T> {
    let blank = field.iter().all(|byte| matches!(byte, 0 | b' '));
    if blank {
        Some(T::default())
    } else {
        number.ok()
    }
}

fn device(header: &Header) -> Option<(u32, u32)> {
    let major = header.device_major().ok()??;
    let minor = header.device_minor().ok()??;
    Some((major, minor))
}

#[cfg(test)]
mod tests;

//! Reading images back: what the cache keeps is built upon, as a root that is customized anew, or
//! a root whose kernel is to be booted. Only what [`super::write`] writes is understood.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::format::{BLOCK, MAGIC, SLOT, SUPERBLOCK};
use super::xattrs;
use crate::error::ImageError;
use crate::tree::{
    Attributes, Contents, Device, Extent, HostFile, Identity, Kind, Node, Time, Tree,
};

/// Bytes of the data of one directory: a million names.
const LARGEST_DIRECTORY: u64 = 256 * 1024 * 1024;

/// The tree of an image. Contents are read from the image when they are needed, and the image may
/// not change until then.
///
/// # Errors
/// It cannot be read, is damaged, or is none that attest wrote.
pub fn read(path: &Path) -> Result<Tree, ImageError> {
    let failed = || ImageError::file(path, "the image cannot be read");
    let file = File::open(path).map_err(failed())?;
    let identity = Identity::of(&file.metadata().map_err(failed())?);
    let host = HostFile {
        path: path.to_owned(),
        identity,
        keeps: None,
    };
    let mut image = Image {
        file,
        host: Arc::new(host),
        time: Time::default(),
    };
    match image.tree() {
        Ok(tree) => Ok(tree),
        Err(Trouble::Damaged(reason)) => Err(ImageError::NotAnImage {
            path: path.to_owned(),
            reason,
        }),
        Err(Trouble::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(ImageError::NotAnImage {
                path: path.to_owned(),
                reason: "it is cut short",
            })
        }
        Err(Trouble::Io(error)) => Err(failed()(error)),
    }
}

enum Trouble {
    Damaged(&'static str),
    Io(io::Error),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<&'static str> for Trouble {
    fn from(reason: &'static str) -> Self {
        Self::Damaged(reason)
    }
}

struct Image {
    file: File,
    host: Arc<HostFile>,
    /// Of the inodes with the small form.
    time: Time,
}

/// An inode, and where its data are.
struct Inode {
    mode: u16,
    size: u64,
    location: u32,
    attributes: Attributes,
    /// In the image, in the order of the data.
    data: Vec<Range<u64>>,
}

impl Image {
    fn tree(&mut self) -> Result<Tree, Trouble> {
        let superblock: [u8; 128] = self.bytes(SUPERBLOCK as u64)?;
        if number(&superblock, 0) != MAGIC {
            return Err("it is no erofs image".into());
        }
        if u32::from(superblock[12]) != BLOCK.ilog2() || number(&superblock, 80) != 0 {
            return Err("it is an erofs image of a form that attest does not write".into());
        }
        self.time = Time {
            seconds: long(&superblock, 24).cast_signed(),
            nanoseconds: number(&superblock, 32),
        };
        let mut tree = Tree::new();
        let mut names: HashMap<u64, Vec<u8>> = HashMap::new();
        let mut left = vec![(u64::from(short(&superblock, 14)), Vec::new())];
        while let Some((id, path)) = left.pop() {
            if let Some(first) = names.get(&id) {
                // A directory with two names would be one that is in itself.
                tree.link(&path, first)
                    .map_err(|_| "its directories lead in a circle")?;
                continue;
            }
            let inode = self.inode(id)?;
            let kind = self.kind(&inode)?;
            if let Kind::Directory(_) = kind {
                for (name, child) in self.directory(&inode)? {
                    let slash = if path.is_empty() { &b""[..] } else { b"/" };
                    left.push((child, [&path, slash, &name].concat()));
                }
            }
            let node = Node {
                kind,
                attributes: Attributes::default(),
            };
            let inserted = tree.insert(&path, node.with(inode.attributes));
            inserted.map_err(|_| "its directories make no sense")?;
            names.insert(id, path);
        }
        Ok(tree)
    }

    fn bytes<const N: usize>(&self, at: u64) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.file.read_exact_at(&mut bytes, at)?;
        Ok(bytes)
    }

    fn inode(&self, id: u64) -> Result<Inode, Trouble> {
        let at = id
            .checked_mul(SLOT as u64)
            .ok_or("it has an inode at no place")?;
        let compact: [u8; 32] = self.bytes(at)?;
        let format = short(&compact, 0);
        let (header, size, links) = if format & 1 == 0 {
            (compact.to_vec(), u64::from(number(&compact, 8)), 24)
        } else {
            let extended: [u8; 64] = self.bytes(at)?;
            (extended.to_vec(), long(&extended, 8), 0)
        };
        let mode = short(&header, 4);
        let mut attributes = Attributes {
            mode: mode & 0o7777,
            modified: self.time,
            ..Attributes::default()
        };
        if links == 0 {
            attributes.uid = number(&header, 24);
            attributes.gid = number(&header, 28);
            attributes.modified = Time {
                seconds: long(&header, 32).cast_signed(),
                nanoseconds: number(&header, 40),
            };
        } else {
            attributes.uid = u32::from(short(&header, links));
            attributes.gid = u32::from(short(&header, links + 2));
        }
        let behind = at + header.len() as u64;
        let words = usize::from(short(&header, 2));
        let mut xattrs = vec![0; words.checked_sub(1).map_or(0, |words| 12 + 4 * words)];
        self.file.read_exact_at(&mut xattrs, behind)?;
        attributes.xattrs = xattrs::read(&xattrs)?;
        let location = number(&header, 16);
        let tail = behind + xattrs.len() as u64;
        let data = data(format, size, location, tail)?;
        Ok(Inode {
            mode,
            size,
            location,
            attributes,
            data,
        })
    }

    fn kind(&self, inode: &Inode) -> Result<Kind, Trouble> {
        let device = || {
            let packed = inode.location;
            Device {
                major: (packed >> 8) & 0xfff,
                minor: (packed & 0xff) | ((packed >> 12) & 0xf_ff00),
            }
        };
        Ok(match inode.mode & 0o170_000 {
            0o010_000 => Kind::Pipe,
            0o020_000 => Kind::Character(device()),
            0o040_000 => Node::directory(0).kind,
            0o060_000 => Kind::Block(device()),
            0o100_000 => Kind::File(self.contents(inode)),
            0o120_000 => Kind::Symlink(self.data(inode, BLOCK as u64)?.into()),
            _ => return Err("it has an inode of no kind".into()),
        })
    }

    fn contents(&self, inode: &Inode) -> Contents {
        let mut at = 0;
        let extents = inode.data.iter().map(|range| {
            let length = range.end - range.start;
            let extent = Extent {
                at,
                length,
                offset: range.start,
            };
            at += length;
            extent
        });
        Contents::host(inode.size, extents.collect(), Arc::clone(&self.host))
    }

    fn data(&self, inode: &Inode, most: u64) -> Result<Vec<u8>, Trouble> {
        if inode.size > most {
            return Err("it has a directory or link that is too large".into());
        }
        let mut data = Vec::new();
        for range in &inode.data {
            let start = data.len();
            let length = usize::try_from(range.end - range.start).map_err(|_| "it is too large")?;
            data.resize(start + length, 0);
            self.file.read_exact_at(&mut data[start..], range.start)?;
        }
        Ok(data)
    }

    /// Names and inodes, without `.` and `..`.
    fn directory(&self, inode: &Inode) -> Result<Vec<(Vec<u8>, u64)>, Trouble> {
        const DAMAGED: &str = "it has a damaged directory";
        let data = self.data(inode, LARGEST_DIRECTORY)?;
        let mut entries = Vec::new();
        for block in data.chunks(BLOCK) {
            let first = block.get(8..10).ok_or(DAMAGED)?;
            let count = usize::from(short(first, 0)) / 12;
            let header = block.get(..count * 12).ok_or(DAMAGED)?;
            let starts = header
                .chunks_exact(12)
                .map(|entry| usize::from(short(entry, 8)));
            let ends = starts.clone().skip(1).chain([block.len()]);
            for ((entry, start), end) in header.chunks_exact(12).zip(starts).zip(ends) {
                let name = block.get(start..end).ok_or(DAMAGED)?;
                let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
                match name {
                    b"." | b".." => {}
                    name if name.is_empty() || name.contains(&b'/') => return Err(DAMAGED.into()),
                    name => entries.push((name.to_vec(), long(entry, 0))),
                }
            }
        }
        Ok(entries)
    }
}

/// Where the data of an inode are: blocks, and what is behind the inode.
fn data(format: u16, size: u64, location: u32, tail: u64) -> Result<Vec<Range<u64>>, &'static str> {
    let block = BLOCK as u64;
    let start = u64::from(location) * block;
    let inline = match format >> 1 {
        0 => 0,
        2 => size % block,
        _ => return Err("it has a file of a form that attest does not write"),
    };
    let end = start
        .checked_add(size - inline)
        .ok_or("it has a file that is too large")?;
    let parts = [start..end, tail..tail + inline];
    Ok(parts.into_iter().filter(|part| !part.is_empty()).collect())
}

fn short(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from(short(bytes, at)) | u32::from(short(bytes, at + 2)) << 16
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from(number(bytes, at)) | u64::from(number(bytes, at + 4)) << 32
}

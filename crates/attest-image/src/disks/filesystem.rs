//! An empty ext4 for what is written: made once, as no library in Rust makes one and a guest need
//! not have `mkfs`, and then taken again and again: all that is in it are some 700 KB.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use super::{lengthen, nameless};
use crate::cache::Cache;
use crate::error::ImageError;
use crate::key::Key;
use crate::{program, sparse};

/// Bytes of [`writable`]: more than any test writes. It takes what is written. `e2fsck` never runs on it.
pub const WRITABLE_BYTES: u64 = 64 << 30;
const PROGRAM: &str = "mke2fs";
/// In the entry of the cache: each piece that is no hole, behind its place and its length. So the
/// cache need not hash 64 GiB of nothing.
const FILE: &str = "pieces";
/// No journal and no reserve, for nothing outlives its machine. Tables are left as the holes that
/// they are: a file of 64 GiB has 700 KB. It could be 150 KB, with `sparse_super2` and
/// `packed_meta_blocks`, but then Linux 6.1 takes its own blocks for illegal ones.
const OPTIONS: [&str; 12] = [
    "-q",
    "-F",
    "-t",
    "ext4",
    "-O",
    "^has_journal,^resize_inode",
    "-E",
    "lazy_itable_init=1,nodiscard,root_owner=0:0",
    "-m",
    "0",
    "-i",
    "65536",
];
/// Bytes of a number.
const NUMBER: usize = 8;

/// A disk with an empty ext4 of 64 GiB, which takes space as it is written to.
///
/// # Errors
/// There is no `mke2fs`, or it fails; errors of the cache's file system.
pub fn writable(cache: &Cache) -> Result<OwnedFd, ImageError> {
    let key = {
        let mut key = Key::new("empty-ext4", 2);
        key.number(WRITABLE_BYTES);
        key.parts(OPTIONS);
        key.finish()
    };
    let entry = cache.entry("empty-ext4", key, &mut |_| {}, |directory, _| {
        make(directory)
    })?;
    let path = entry.join(FILE);
    let pieces = fs::read(&path).map_err(ImageError::file(&path, "it cannot be read"))?;
    let to = nameless(cache)?;
    lengthen(cache, &to, WRITABLE_BYTES)?;
    write_pieces(&pieces, &to).map_err(ImageError::file(
        cache.directory(),
        "no empty file system can be written there",
    ))?;
    Ok(to.into())
}

fn make(directory: &Path) -> Result<(), ImageError> {
    let whole = tempfile::NamedTempFile::new_in(directory)
        .map_err(ImageError::file(directory, "no file can be made there"))?;
    format(whole.as_file(), whole.path())?;
    let path = directory.join(FILE);
    let pieces = read_pieces(whole.as_file()).and_then(|pieces| fs::write(&path, pieces));
    pieces.map_err(ImageError::file(&path, "it cannot be written"))
}

fn format(file: &File, path: &Path) -> Result<(), ImageError> {
    file.set_len(WRITABLE_BYTES)
        .map_err(ImageError::file(path, "it cannot be so long"))?;
    let mut command = Command::new(PROGRAM);
    command.args(OPTIONS).arg(path);
    program::run(
        &mut command,
        "it is in the package e2fsprogs of every distribution",
    )
}

fn read_pieces(from: &File) -> io::Result<Vec<u8>> {
    let mut pieces = Vec::new();
    for data in sparse::data(from) {
        let data = data?;
        let length = data.end - data.start;
        let mut piece = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        from.read_exact_at(&mut piece, data.start)?;
        pieces.extend(data.start.to_le_bytes());
        pieces.extend(length.to_le_bytes());
        pieces.append(&mut piece);
    }
    Ok(pieces)
}

fn write_pieces(mut pieces: &[u8], to: &File) -> io::Result<()> {
    let number = |pieces: &mut &[u8]| -> Option<u64> {
        let (number, rest) = pieces.split_first_chunk::<NUMBER>()?;
        *pieces = rest;
        Some(u64::from_le_bytes(*number))
    };
    while !pieces.is_empty() {
        let mut piece = || {
            let (place, length) = (number(&mut pieces)?, number(&mut pieces)?);
            let (piece, rest) = pieces.split_at_checked(usize::try_from(length).ok()?)?;
            pieces = rest;
            Some((place, piece))
        };
        let (place, piece) = piece().ok_or(io::ErrorKind::UnexpectedEof)?;
        to.write_all_at(piece, place)?;
    }
    Ok(())
}

//! A snapshot as one file, for who keeps it elsewhere: without what is empty, and compressed if that is wanted.
//!
//! After [`MAGIC`] comes a length (32 bits, little-endian, as all numbers) and so many bytes of JSON: [`Contents`]. Then, for
//! each file that it names, chunks of what is not zeros: the place in the file (64 bits), the length (32), the
//! length as it is stored (32; where both are equal it is stored as it is, else as a block of LZ4), and the bytes; a chunk
//! of no length ends the file. At the end is BLAKE3's digest of all that.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{SnapshotError, SnapshotStore};
use crate::cache::{ABOUT, CacheEntry, Lease, Wanted};
use crate::error::ImageError;
use crate::progress::{Progress, Step};
use crate::sparse;

/// First bytes of a file; the number is raised when the form changes.
const MAGIC: &[u8] = b"attest snapshot 1\n";
/// Bytes of a chunk before it is compressed, at most.
const CHUNK: usize = sparse::CHUNK;
/// Bytes of what a file says of itself: it names files, and holds no data.
const MOST_CONTENTS: usize = 16 << 20;
/// How an entry of the cache names a key: the first half of its digits.
const NAMED: usize = 32;

/// How a snapshot is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// As it is: what takes the space that it has.
    None,
    /// Compressed with LZ4: a guest's memory becomes a third, at hundreds of MB a second.
    Lz4,
}

/// A snapshot that was packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packed {
    /// Bytes of data that it has.
    pub data: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

/// What became of a snapshot that was unpacked.
#[derive(Debug)]
#[non_exhaustive]
pub enum Unpacked {
    /// It is kept here from now on.
    New(Lease),
    /// The same was there already.
    Known(Lease),
}

/// What the file says of itself.
#[derive(Debug, Serialize, Deserialize)]
struct Contents {
    /// The first half of the key's digits, by which it is found.
    key: String,
    /// In a line, for people.
    about: String,
    files: Vec<PackedFile>,
}

#[derive(Debug, Serialize, Deserialize)]
struct PackedFile {
    /// No path: entries of snapshots have no directories.
    name: String,
    /// Bytes.
    length: u64,
}

/// Why a file is no snapshot.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackedError {
    /// It is something else, or of another attest.
    #[error("it is not a snapshot that this attest has packed")]
    Form,
    /// It is not what was written.
    #[error("it is damaged: {0}; make it again")]
    Damaged(&'static str),
}

/// Pack a snapshot that is kept into a new file. `progress` hears how far it is.
///
/// # Errors
/// It cannot be read, or the file cannot be written.
pub fn pack(
    entry: &CacheEntry,
    to: &Path,
    packing: Packing,
    progress: &mut dyn FnMut(Step),
) -> Result<Packed, SnapshotError> {
    let unwritten = || ImageError::file(to, "the snapshot cannot be written");
    let (mut files, mut opened) = (Vec::new(), Vec::new());
    for path in entry.files()? {
        let read = File::open(&path).and_then(|file| Ok((file.metadata()?.len(), file)));
        let (length, file) = read.map_err(ImageError::file(&path, "it cannot be read"))?;
        let name = path.file_name().unwrap_or_default();
        let name = name.to_string_lossy().into_owned();
        files.push(PackedFile { name, length });
        opened.push((file, path));
    }
    let contents = Contents {
        key: entry.key().to_owned(),
        about: entry.about.clone().unwrap_or_default(),
        files,
    };
    let file = File::create_new(to).map_err(unwritten())?;
    let mut writer = Digested::new(BufWriter::new(file));
    writer.contents(&contents).map_err(unwritten())?;
    let mut steps = Progress::new("packing the snapshot".to_owned(), entry.bytes, progress);
    let mut data = 0;
    for (file, path) in opened {
        let mut chunks = sparse::Chunks::of(&file);
        loop {
            let chunk = chunks.next();
            let chunk = chunk.map_err(ImageError::file(&path, "it cannot be read"))?;
            let Some((at, bytes)) = chunk else { break };
            data += bytes.len() as u64;
            writer.chunk(at, bytes, packing).map_err(unwritten())?;
            steps.at(data);
        }
        writer.chunk(0, &[], packing).map_err(unwritten())?;
    }
    let bytes = writer.end().map_err(unwritten())?;
    Ok(Packed { data, bytes })
}

impl SnapshotStore {
    /// Keep a snapshot that was packed, here or elsewhere. Labs find it where all that it is of is the same here.
    /// `progress` hears how far it is.
    ///
    /// # Errors
    /// The file is no snapshot, or damaged, or there is no place for what is in it: nothing is left of it then.
    pub fn unpack(
        &self,
        path: &Path,
        progress: &mut dyn FnMut(Step),
    ) -> Result<Unpacked, SnapshotError> {
        let unread = || ImageError::file(path, "the snapshot cannot be read");
        let failed = |error: io::Error| -> SnapshotError {
            match error.downcast::<PackedError>() {
                Ok(source) => SnapshotError::Packed {
                    path: path.to_owned(),
                    source,
                },
                Err(error) => unread()(error).into(),
            }
        };
        let file = File::open(path).map_err(unread())?;
        let packed = file.metadata().map_err(unread())?.len();
        let mut reader = Digested::new(BufReader::with_capacity(CHUNK, file));
        let contents = reader.read_contents().map_err(failed)?;
        let key = contents.key().map_err(|error| failed(error.into()))?;
        // What it takes is not known before it is read; memory is about three times as large.
        let wanted = self.want(key, packed.saturating_mul(3), progress)?;
        let unfinished = match wanted.wanted {
            Wanted::Ready(lease) => return Ok(Unpacked::Known(lease)),
            Wanted::Make(unfinished) => unfinished,
        };
        for file in &contents.files {
            let to = unfinished.directory().join(&file.name);
            reader.read_file(&to, file.length).map_err(failed)?;
        }
        reader.read_end().map_err(failed)?;
        let kept = self.finish(unfinished, contents.about.trim_end(), progress)?;
        Ok(Unpacked::New(kept.lease))
    }
}

impl Contents {
    /// Entries are named by half of it, so that half will do.
    fn key(&self) -> Result<blake3::Hash, PackedError> {
        let form = |_| PackedError::Form;
        if self.key.len() != NAMED {
            return Err(PackedError::Form);
        }
        blake3::Hash::from_hex(format!("{}{}", self.key, "0".repeat(64 - NAMED))).map_err(form)
    }

    fn check(self) -> Result<Self, PackedError> {
        let mut names: Vec<&str> = self.files.iter().map(|file| &*file.name).collect();
        let is_plain = |name: &&str| {
            !name.is_empty() && !name.starts_with('.') && !name.contains('/') && *name != ABOUT
        };
        names.sort_unstable();
        let twice = names.windows(2).any(|pair| pair[0] == pair[1]);
        if twice || !names.iter().all(is_plain) {
            return Err(PackedError::Form);
        }
        Ok(self)
    }
}

/// Everything that passes is counted, and part of the digest.
struct Digested<T> {
    inner: T,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl<T> Digested<T> {
    fn new(inner: T) -> Self {
        Self {
            inner,
            hasher: blake3::Hasher::new(),
            bytes: 0,
        }
    }

    fn passes(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
    }
}

impl<T: Write> Digested<T> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.passes(bytes);
        self.inner.write_all(bytes)
    }

    fn contents(&mut self, contents: &Contents) -> io::Result<()> {
        let json = serde_json::to_vec(contents)?;
        let length = u32::try_from(json.len()).map_err(io::Error::other)?;
        self.put(MAGIC)?;
        self.put(&length.to_le_bytes())?;
        self.put(&json)
    }

    fn chunk(&mut self, at: u64, bytes: &[u8], packing: Packing) -> io::Result<()> {
        let compressed = match packing {
            Packing::None => Vec::new(),
            Packing::Lz4 => lz4_flex::block::compress(bytes),
        };
        let stored = match packing {
            Packing::Lz4 if compressed.len() < bytes.len() => &compressed,
            _ => bytes,
        };
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("no more than a chunk");
        self.put(&at.to_le_bytes())?;
        self.put(&length(bytes).to_le_bytes())?;
        self.put(&length(stored).to_le_bytes())?;
        self.put(stored)
    }

    fn end(mut self) -> io::Result<u64> {
        let digest = self.hasher.finalize();
        self.inner.write_all(digest.as_bytes())?;
        self.inner.flush()?;
        Ok(self.bytes + digest.as_bytes().len() as u64)
    }
}

impl<T: Read> Digested<T> {
    fn get<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        self.inner.read_exact(bytes).map_err(cut)?;
        self.passes(bytes);
        Ok(())
    }

    fn read_contents(&mut self) -> io::Result<Contents> {
        let mut magic = [0; MAGIC.len()];
        let whole = self.fill(&mut magic);
        if whole.is_err() || magic != MAGIC {
            return Err(PackedError::Form.into());
        }
        let length = u32::from_le_bytes(self.get()?) as usize;
        if length > MOST_CONTENTS {
            return Err(PackedError::Form.into());
        }
        let mut json = vec![0; length];
        self.fill(&mut json)?;
        let contents: Contents = serde_json::from_slice(&json).map_err(|_| PackedError::Form)?;
        Ok(contents.check()?)
    }

    /// The next file, as a new one.
    fn read_file(&mut self, to: &Path, length: u64) -> io::Result<()> {
        let file = File::create_new(to)?;
        file.set_len(length)?;
        let damaged = |what| Err(PackedError::Damaged(what).into());
        let (mut stored, mut bytes) = (Vec::new(), vec![0; CHUNK]);
        loop {
            let at = u64::from_le_bytes(self.get()?);
            let whole = u32::from_le_bytes(self.get()?) as usize;
            let packed = u32::from_le_bytes(self.get()?) as usize;
            if whole == 0 {
                return Ok(());
            }
            let end = at.checked_add(whole as u64);
            if whole > CHUNK || packed > whole || end.is_none_or(|end| end > length) {
                return damaged("a part is larger than it can be");
            }
            stored.resize(packed, 0);
            self.fill(&mut stored)?;
            let bytes = if packed == whole {
                &stored
            } else {
                let unpacked = lz4_flex::block::decompress_into(&stored, &mut bytes[..whole]);
                if unpacked.ok() != Some(whole) {
                    return damaged("a part does not decompress");
                }
                &bytes[..whole]
            };
            sparse::write_all_but_zeros(bytes, &file, at)?;
        }
    }

    fn read_end(&mut self) -> io::Result<()> {
        let digest = self.hasher.finalize();
        let mut there = [0; 32];
        self.inner.read_exact(&mut there).map_err(cut)?;
        if there != *digest.as_bytes() {
            return Err(PackedError::Damaged("its digest is another one").into());
        }
        Ok(())
    }
}

fn cut(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => PackedError::Damaged("its end is missing").into(),
        _ => error,
    }
}

impl From<PackedError> for io::Error {
    fn from(error: PackedError) -> Self {
        Self::other(error)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{FileExt, MetadataExt};

    use super::super::tests::{KIB, ready, store, to_make, want};
    use super::*;

    const LENGTH: u64 = 64 << 20;

    /// A snapshot of some memory, most of which is empty.
    fn made(store: &SnapshotStore) -> CacheEntry {
        let unfinished = to_make(want(store, "it"));
        let memory = File::create(unfinished.directory().join("a.memory")).unwrap();
        memory.set_len(LENGTH).unwrap();
        let noise: Vec<u8> = (0..CHUNK * 2)
            .map(|at| ((at * at) >> 7).to_le_bytes()[0])
            .collect();
        memory.write_all_at(&noise, 4096).unwrap();
        memory.write_all_at(&[7; 9000], LENGTH - 9000).unwrap();
        memory.write_all_at(&[0; 9000], LENGTH / 2).unwrap();
        fs::write(unfinished.directory().join("a.console"), "").unwrap();
        drop(store.finish(unfinished, "web, ready", &mut |_| {}).unwrap());
        store.caches().ls().unwrap().remove(0)
    }

    fn damaged(error: &SnapshotError) -> String {
        assert!(matches!(error, SnapshotError::Packed { .. }), "{error:?}");
        let source = std::error::Error::source(error).unwrap();
        source.to_string()
    }

    #[test]
    fn a_snapshot_is_the_same_elsewhere() {
        for packing in [Packing::None, Packing::Lz4] {
            let (directory, here) = store(KIB << 20);
            let entry = made(&here);
            let file = directory.path().join("packed");
            let packed = pack(&entry, &file, packing, &mut |_| {}).unwrap();
            assert_eq!(fs::metadata(&file).unwrap().len(), packed.bytes);
            assert!(packed.data < 3 << 20 && packed.bytes < packed.data + 4096);
            let (_elsewhere, there) = store(KIB << 20);
            let unpacked = there.unpack(&file, &mut |_| {}).unwrap();
            assert!(matches!(unpacked, Unpacked::New(_)));
            let lease = ready(want(&there, "it"));
            let (was, is) = (entry.path.join("a.memory"), lease.entry().join("a.memory"));
            assert!(fs::read(&was).unwrap() == fs::read(&is).unwrap());
            assert!(fs::metadata(is).unwrap().blocks() * 512 < 4 << 20);
            let listed = there.caches().ls().unwrap();
            assert_eq!(listed[0].about.as_deref(), Some("web, ready"));
            let again = there.unpack(&file, &mut |_| {}).unwrap();
            assert!(matches!(again, Unpacked::Known(_)));
        }
    }

    #[test]
    fn what_is_damaged_is_not_kept() {
        let (directory, here) = store(KIB << 20);
        let file = directory.path().join("packed");
        pack(&made(&here), &file, Packing::Lz4, &mut |_| {}).unwrap();
        let whole = fs::read(&file).unwrap();
        let (_elsewhere, there) = store(KIB << 20);
        let refused = |bytes: &[u8]| {
            fs::write(&file, bytes).unwrap();
            let error = there.unpack(&file, &mut |_| {}).unwrap_err();
            assert_eq!(there.caches().ls().unwrap(), []);
            damaged(&error)
        };
        assert!(refused(b"").contains("not a snapshot"));
        assert!(refused(b"attest snapshot 2\n{}").contains("not a snapshot"));
        assert!(refused(&whole[..whole.len() - 1]).contains("its end is missing"));
        assert!(refused(&whole[..whole.len() / 2]).contains("its end is missing"));
        for at in (MAGIC.len() + 4..whole.len()).step_by(whole.len() / 50) {
            let mut other = whole.clone();
            other[at] ^= 0x10;
            refused(&other);
        }
    }

    #[test]
    fn a_file_writes_nowhere_else() {
        let named = |names: &[&str]| Contents {
            key: "0".repeat(NAMED),
            about: String::new(),
            files: names
                .iter()
                .map(|name| PackedFile {
                    name: (*name).to_owned(),
                    length: 1,
                })
                .collect(),
        };
        for names in [&["../x"][..], &["/etc/x"], &[""], &[".."], &["a", "b", "a"]] {
            assert!(named(names).check().is_err(), "{names:?}");
        }
        assert!(named(&["a.memory", "a.disk.root.0"]).check().is_ok());
        let mut other = named(&[]);
        other.key = "x".repeat(NAMED);
        assert!(other.key().is_err());
        other.key.clear();
        assert!(other.key().is_err());
    }
}

//! Digests of files, in the time of their data: what is a hole costs nothing.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use crate::sparse;

/// Blocks of a file that are nothing but zeros count as holes, so that a digest is of the contents
/// alone and not of how they lie on a disk. As large as what guests clear at once.
const BLOCK: u64 = 64 << 10;
/// A block of a hole.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
/// So much is read at once.
const PIECE: u64 = 16 * BLOCK;
/// Marks the digest of a file with holes in a line of digests.
const SPARSE: &str = "sparse:";
/// Keeps digests of files with holes apart from all others (BLAKE3, 6.2: hard-coded, unique).
const CONTEXT: &str = "attest cache 2026-11-28 digest of a sparse file";

/// How the digest of a file is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// BLAKE3 of all of it, as `b3sum` gives it.
    Plain,
    /// Of its blocks that are not zeros, and of where they are.
    Sparse,
}

impl Form {
    /// The one in which a digest was written.
    pub(super) fn of_digest(digest: &str) -> Self {
        if digest.starts_with(SPARSE) {
            Self::Sparse
        } else {
            Self::Plain
        }
    }

    /// The one that suits a file: plain where it has no holes.
    pub(super) fn of_file(file: &File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        let is_full = match sparse::data(file).next().transpose()? {
            Some(data) => data == (0..length),
            None => length == 0,
        };
        Ok(if is_full { Self::Plain } else { Self::Sparse })
    }

    /// The digest of a file in this form, as it is written. `at` hears how far in the file it is.
    pub(super) fn digest(self, file: &File, at: &mut dyn FnMut(u64)) -> io::Result<String> {
        let length = file.metadata()?.len();
        Ok(match self {
            Self::Plain => {
                let mut hasher = blake3::Hasher::new();
                let mut reading = Reading::new(file, at);
                reading.pieces(0..length, |_, bytes| {
                    hasher.update(bytes);
                })?;
                hasher.finalize().to_string()
            }
            Self::Sparse => format!("{SPARSE}{}", of_data(file, length, at)?),
        })
    }
}

/// The digest of where the data is, of the data, and of the length. Each is hashed by itself, so
/// that the data stays in whole blocks, which BLAKE3 takes fastest.
fn of_data(file: &File, length: u64, at: &mut dyn FnMut(u64)) -> io::Result<blake3::Hash> {
    let mut runs = Runs::default();
    let mut contents = blake3::Hasher::new();
    let mut reading = Reading::new(file, at);
    let mut next = 0;
    for data in sparse::data(file) {
        let Range { start, end } = data?;
        // Whole blocks: what is a hole in them is read as zeros.
        let start = (start - start % BLOCK).max(next);
        let end = end.next_multiple_of(BLOCK).min(length);
        reading.pieces(start..end, |offset, bytes| {
            for (run, bytes) in filled(offset, bytes) {
                contents.update(bytes);
                runs.add(run);
            }
        })?;
        next = end.max(next);
    }
    let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
    hasher.update(runs.finish().as_bytes());
    hasher.update(contents.finalize().as_bytes());
    hasher.update(&length.to_le_bytes());
    Ok(hasher.finalize())
}

/// The parts of what was read at an offset that are not zeros, each as long as it can be.
fn filled(offset: u64, bytes: &[u8]) -> impl Iterator<Item = (Range<u64>, &[u8])> {
    let is_zero = |block: &[u8]| *block == ZEROS[..block.len()];
    let mut from = 0;
    std::iter::from_fn(move || {
        let rest = &bytes[from..];
        let zeros = rest.chunks(ZEROS.len()).take_while(|block| is_zero(block));
        let start = from + zeros.map(<[u8]>::len).sum::<usize>();
        let rest = &bytes[start..];
        let data = rest.chunks(ZEROS.len()).take_while(|block| !is_zero(block));
        let end = start + data.map(<[u8]>::len).sum::<usize>();
        from = end;
        let run = offset + start as u64..offset + end as u64;
        (start < end).then_some((run, &bytes[start..end]))
    })
}

/// The digest of where data is, whatever the pieces in which it comes.
#[derive(Default)]
struct Runs {
    hasher: blake3::Hasher,
    last: Range<u64>,
}

impl Runs {
    fn add(&mut self, run: Range<u64>) {
        if run.start == self.last.end {
            self.last.end = run.end;
        } else {
            self.write();
            self.last = run;
        }
    }

    fn finish(mut self) -> blake3::Hash {
        self.write();
        self.hasher.finalize()
    }

    fn write(&mut self) {
        if !self.last.is_empty() {
            self.hasher.update(&self.last.start.to_le_bytes());
            self.hasher.update(&self.last.end.to_le_bytes());
        }
    }
}

/// Reads a file in pieces that need not fit into memory together.
struct Reading<'a> {
    file: &'a File,
    buffer: Vec<u8>,
    at: &'a mut dyn FnMut(u64),
}

impl<'a> Reading<'a> {
    fn new(file: &'a File, at: &'a mut dyn FnMut(u64)) -> Self {
        Self {
            file,
            buffer: Vec::new(),
            at,
        }
    }

    fn pieces(&mut self, range: Range<u64>, mut take: impl FnMut(u64, &[u8])) -> io::Result<()> {
        let mut offset = range.start;
        while offset < range.end {
            let length = (range.end - offset).min(PIECE);
            self.buffer.resize(usize::try_from(length).unwrap_or(0), 0);
            self.file.read_exact_at(&mut self.buffer, offset)?;
            take(offset, &self.buffer);
            offset += length;
            (self.at)(offset);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::collection::btree_map;
    use proptest::prelude::*;

    use super::*;

    fn of(file: &File, form: Form) -> String {
        form.digest(file, &mut |_| {}).unwrap()
    }

    /// A file of this length with bytes at these offsets, of which some are written as zeros that
    /// take their place on the disk.
    fn file(length: u64, bytes: &BTreeMap<u64, u8>, zeros: &BTreeMap<u64, u64>) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(length).unwrap();
        for (offset, count) in zeros {
            let count = (*count).min(length.saturating_sub(*offset));
            let zeros = vec![0; usize::try_from(count).unwrap()];
            file.write_all_at(&zeros, *offset).unwrap();
        }
        for (offset, byte) in bytes.iter().filter(|(offset, _)| **offset < length) {
            file.write_all_at(&[*byte], *offset).unwrap();
        }
        file
    }

    /// What the digest is of, said in the plainest way.
    fn meaning(length: u64, bytes: &BTreeMap<u64, u8>) -> (u64, BTreeMap<u64, u8>) {
        let told = bytes
            .iter()
            .filter(|(at, byte)| **at < length && **byte != 0);
        (length, told.map(|(at, byte)| (*at, *byte)).collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn a_digest_is_of_the_contents_and_not_of_the_holes(
            length in 1..6_000_000_u64,
            bytes in btree_map(0..6_000_000_u64, any::<u8>(), 0..6),
            other in btree_map(0..6_000_000_u64, any::<u8>(), 0..2),
            zeros in btree_map(0..6_000_000_u64, 1..300_000_u64, 0..4),
        ) {
            let digest = of(&file(length, &bytes, &BTreeMap::new()), Form::Sparse);
            prop_assert_eq!(&digest, &of(&file(length, &bytes, &zeros), Form::Sparse));
            let mut changed = bytes.clone();
            changed.extend(other);
            let same = meaning(length, &bytes) == meaning(length, &changed);
            let again = of(&file(length, &changed, &zeros), Form::Sparse);
            prop_assert_eq!(digest == again, same);
            prop_assert_ne!(digest, of(&file(length + 1, &bytes, &zeros), Form::Sparse));
        }
    }

    #[test]
    fn what_moved_by_a_block_is_not_the_same() {
        let at = |offset| {
            of(
                &file(BLOCK * 4, &[(offset, 7)].into(), &BTreeMap::new()),
                Form::Sparse,
            )
        };
        assert_ne!(at(0), at(BLOCK));
        assert_ne!(at(BLOCK), at(BLOCK + 1));
    }

    #[test]
    fn holes_are_not_read() {
        let length = 1 << 40;
        let file = file(
            length,
            &[(length - 1, 1), (BLOCK * 9, 1)].into(),
            &BTreeMap::new(),
        );
        if Form::of_file(&file).unwrap() == Form::Plain {
            return eprintln!("SKIPPED: the file system of temporary files has no holes");
        }
        let mut read = Vec::new();
        Form::Sparse.digest(&file, &mut |at| read.push(at)).unwrap();
        assert_eq!(read.last(), Some(&length));
        assert!(read.len() < 10, "{}", read.len());
    }

    #[test]
    fn a_file_without_holes_has_the_digest_that_b3sum_gives() {
        let whole = tempfile::tempfile().unwrap();
        let bytes: Vec<u8> = (0..PIECE * 2 + 5)
            .map(|at| at.to_le_bytes()[0] | 1)
            .collect();
        whole.write_all_at(&bytes, 0).unwrap();
        assert_eq!(Form::of_file(&whole).unwrap(), Form::Plain);
        assert_eq!(of(&whole, Form::Plain), blake3::hash(&bytes).to_string());
        let empty = tempfile::tempfile().unwrap();
        assert_eq!(Form::of_file(&empty).unwrap(), Form::Plain);
        assert_eq!(of(&empty, Form::Plain), blake3::hash(b"").to_string());
        // The form stands in what is written.
        for form in [Form::Plain, Form::Sparse] {
            assert_eq!(Form::of_digest(&of(&whole, form)), form);
        }
    }
}

//! Files with holes: where their data is.

use std::fs::File;
use std::io;
use std::iter;
use std::num::NonZero;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

/// Where a file has data, from its beginning on: all else of it is holes, which are zeros (lseek(2)). File systems
/// without holes have data everywhere. It moves the place in the file at which it is read and written next.
///
/// # Errors
/// The file cannot be looked at, or became shorter.
pub fn data(file: &File) -> impl Iterator<Item = io::Result<Range<u64>>> {
    let mut at = Some(0);
    iter::from_fn(move || {
        let found = next(file, at?).transpose();
        at = match &found {
            Some(Ok(data)) => Some(data.end),
            Some(Err(_)) | None => None,
        };
        found
    })
}

/// Bytes that are looked at together: where they are all zeros, they are a hole. A page of memory, and a block of most
/// file systems.
const BLOCK: usize = 4096;
/// Bytes that are read at once: large enough for what is done with them, and no matter to hold.
pub(crate) const CHUNK: usize = 256 * BLOCK;

/// Where a file has data, in pieces of a chunk at most.
fn pieces(file: &File) -> impl Iterator<Item = io::Result<Range<u64>>> {
    let mut ranges = data(file);
    let mut now = 0..0;
    iter::from_fn(move || {
        if now.is_empty() {
            match ranges.next()? {
                Ok(range) => now = range,
                Err(error) => return Some(Err(error)),
            }
        }
        let start = now.start;
        now.start = now.end.min(start + CHUNK as u64);
        Some(Ok(start..now.start))
    })
}

/// Read a piece, into the beginning of the room of a chunk.
fn read<'a>(file: &File, piece: &Range<u64>, room: &'a mut [u8]) -> io::Result<&'a [u8]> {
    let length = usize::try_from(piece.end - piece.start).unwrap_or(CHUNK);
    let bytes = &mut room[..length];
    file.read_exact_at(bytes, piece.start)?;
    Ok(bytes)
}

/// What of a file is not zeros, in chunks.
pub(crate) struct Chunks<'a> {
    file: &'a File,
    pieces: Box<dyn Iterator<Item = io::Result<Range<u64>>> + 'a>,
    room: Vec<u8>,
}

impl<'a> Chunks<'a> {
    pub(crate) fn of(file: &'a File) -> Self {
        Self {
            file,
            pieces: Box::new(pieces(file)),
            room: vec![0; CHUNK],
        }
    }

    /// The next one, and where it is.
    pub(crate) fn next(&mut self) -> io::Result<Option<(u64, &[u8])>> {
        while let Some(piece) = self.pieces.next().transpose()? {
            let bytes = read(self.file, &piece, &mut self.room)?;
            if bytes.iter().any(|byte| *byte != 0) {
                let length = bytes.len();
                return Ok(Some((piece.start, &self.room[..length])));
            }
        }
        Ok(None)
    }
}

/// More processors than this share one memory.
const MOST_AT_ONCE: usize = 4;

/// Write all of a file that is not zeros to the same places of another, which is zeros there; what is large by several
/// threads.
///
/// # Errors
/// One cannot be read, or the other not be written.
pub fn copy(from: &File, to: &File) -> io::Result<()> {
    let pieces: Vec<_> = pieces(from).collect::<io::Result<_>>()?;
    let next = AtomicUsize::new(0);
    let copy_pieces = || {
        let mut room = vec![0; CHUNK];
        while let Some(piece) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
            write_all_but_zeros(read(from, piece, &mut room)?, to, piece.start)?;
        }
        io::Result::Ok(())
    };
    let at_once = thread::available_parallelism().map_or(1, NonZero::get);
    let others = at_once
        .min(MOST_AT_ONCE)
        .min(pieces.len())
        .saturating_sub(1);
    thread::scope(|scope| {
        let others: Vec<_> = (0..others).map(|_| scope.spawn(copy_pieces)).collect();
        let own = copy_pieces();
        let joined = others.into_iter().map(|other| {
            let joined = other.join();
            joined.unwrap_or_else(|_| Err(io::Error::other("a thread that copies panicked")))
        });
        joined.fold(own, Result::and)
    })
}

/// In runs of blocks: to a place that is zeros.
pub(crate) fn write_all_but_zeros(bytes: &[u8], to: &File, at: u64) -> io::Result<()> {
    /// To compare with: memory is compared at its own speed.
    const ZEROS: [u8; BLOCK] = [0; BLOCK];
    let is_zeros = |block: &[u8]| *block == ZEROS[..block.len()];
    let blocks: Vec<&[u8]> = bytes.chunks(BLOCK).collect();
    let mut offset = 0;
    for run in blocks.chunk_by(|one, next| is_zeros(one) == is_zeros(next)) {
        let length = run.iter().map(|block| block.len()).sum::<usize>();
        if !is_zeros(run[0]) {
            to.write_all_at(&bytes[offset..offset + length], at + offset as u64)?;
        }
        offset += length;
    }
    Ok(())
}

fn next(file: &File, at: u64) -> io::Result<Option<Range<u64>>> {
    match seek(file, SeekFrom::Data(at)) {
        Ok(start) => Ok(Some(start..seek(file, SeekFrom::Hole(start))?)),
        // There is no more.
        Err(Errno::NXIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(file: &File) -> Vec<Range<u64>> {
        data(file).collect::<io::Result<_>>().unwrap()
    }

    #[test]
    fn data_is_between_holes() {
        const BLOCK: u64 = 64 << 10;
        let file = tempfile::tempfile().unwrap();
        assert_eq!(of(&file), []);
        file.set_len(BLOCK * 8).unwrap();
        if !of(&file).is_empty() {
            return eprintln!("SKIPPED: the file system of temporary files has no holes");
        }
        let block = vec![1; usize::try_from(BLOCK).unwrap()];
        for at in [1, 2, 6] {
            file.write_all_at(&block, at * BLOCK).unwrap();
        }
        assert_eq!(of(&file), [BLOCK..BLOCK * 3, BLOCK * 6..BLOCK * 7]);
        // Up to the end, without one behind it.
        file.write_all_at(&block, BLOCK * 7).unwrap();
        assert_eq!(of(&file), [BLOCK..BLOCK * 3, BLOCK * 6..BLOCK * 8]);
    }

    #[test]
    fn zeros_become_holes() {
        const BYTES: usize = CHUNK + 3 * BLOCK;
        const LENGTH: u64 = BYTES as u64;
        let (from, to) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        from.write_all_at(&vec![0; BYTES], 0).unwrap();
        let places = [
            7,
            BLOCK as u64 * 5,
            CHUNK as u64 - 1,
            CHUNK as u64,
            LENGTH - 1,
        ];
        for at in places {
            from.write_all_at(b"x", at).unwrap();
        }
        to.set_len(LENGTH).unwrap();
        copy(&from, &to).unwrap();
        let read = |file: &File| {
            let mut bytes = vec![0; BYTES];
            file.read_exact_at(&mut bytes, 0).unwrap();
            bytes
        };
        assert!(read(&from) == read(&to));
        let written: u64 = of(&to).iter().map(|data| data.end - data.start).sum();
        assert!(
            written <= places.len() as u64 * 64 * 1024,
            "{written} bytes"
        );
    }
}

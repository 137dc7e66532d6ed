//! Files with holes: where their data is.

use std::fs::File;
use std::io::{self, Seek};
use std::iter;
use std::ops::Range;

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

/// Write all of a file that is no hole to the same places of another.
///
/// # Errors
/// One cannot be read, or the other not be written.
pub fn copy(from: &File, to: &File) -> io::Result<()> {
    for data in data(from) {
        let data = data?;
        (&mut &*from).seek(io::SeekFrom::Start(data.start))?;
        (&mut &*to).seek(io::SeekFrom::Start(data.start))?;
        io::copy(&mut io::Read::take(from, data.end - data.start), &mut &*to)?;
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
    use std::os::unix::fs::FileExt;

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
}

//! Contents of files that come in a stream. They are kept on disk, in a file without a name that
//! goes with its last user, so that a tree of gigabytes needs no memory; or they stay where they
//! are, in a plain archive.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use super::contents::{Contents, Extent, HostFile};
use crate::error::ImageError;

/// Bytes that are read at once.
const BUFFER: usize = 256 * 1024;

/// Where contents of a stream go.
#[derive(Debug)]
pub struct Spool {
    place: Place,
    buffer: Vec<u8>,
}

#[derive(Debug)]
enum Place {
    /// Copied, and how much is there.
    Copied(Arc<File>, u64),
    /// Left in the file that the stream is, and how much of it was read.
    Left(Arc<HostFile>, Position),
}

/// How much of a stream was read.
pub(crate) type Position = Rc<Cell<u64>>;

impl Spool {
    /// An empty one on the file system of a directory.
    ///
    /// # Errors
    /// No file can be made there.
    pub fn new(directory: &Path) -> Result<Self, ImageError> {
        let file = tempfile::tempfile_in(directory);
        let file = file.map_err(ImageError::file(directory, "no file can be made there"))?;
        Ok(Self::at(Place::Copied(Arc::new(file), 0)))
    }

    /// For a stream that is a file itself, of which this says how much was read.
    pub(crate) fn over(file: Arc<HostFile>, position: Position) -> Self {
        Self::at(Place::Left(file, position))
    }

    fn at(place: Place) -> Self {
        Self {
            place,
            buffer: vec![0; BUFFER],
        }
    }

    /// Take so many bytes of a stream.
    ///
    /// # Errors
    /// The stream ends before ([`io::ErrorKind::UnexpectedEof`]), or the disk is full.
    pub fn add(&mut self, stream: &mut impl Read, length: u64) -> io::Result<Contents> {
        self.add_sparse(stream, &[(0, length)], length)
    }

    /// Take the bytes of a stream for places, each with its length, in contents that have zeros
    /// elsewhere. The places are in order, apart, and within the length.
    ///
    /// # Errors
    /// As for [`Spool::add`].
    pub(crate) fn add_sparse(
        &mut self,
        stream: &mut impl Read,
        places: &[(u64, u64)],
        length: u64,
    ) -> io::Result<Contents> {
        let mut extents = Vec::with_capacity(places.len());
        for (at, length) in places.iter().copied().filter(|(_, length)| *length > 0) {
            let offset = match &self.place {
                Place::Copied(_, end) => *end,
                Place::Left(_, position) => position.get(),
            };
            self.take(stream, length)?;
            extents.push(Extent { at, length, offset });
        }
        Ok(match &self.place {
            Place::Copied(file, _) => Contents::spooled(length, extents, Arc::clone(file)),
            Place::Left(file, _) => Contents::host(length, extents, Arc::clone(file)),
        })
    }

    fn take(&mut self, stream: &mut impl Read, length: u64) -> io::Result<()> {
        let mut left = length;
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(BUFFER);
            let count = match stream.read(&mut self.buffer[..most]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if let Place::Copied(file, end) = &mut self.place {
                file.write_all_at(&self.buffer[..count], *end)?;
                *end += count as u64;
            }
            left -= count as u64;
        }
        Ok(())
    }
}

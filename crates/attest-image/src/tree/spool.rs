//! Contents of files that come in a stream: kept on disk, in a file without a name that goes with
//! its last user, so that a tree of gigabytes needs no memory.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::contents::{Contents, Extent};
use crate::error::ImageError;

/// Bytes that are read at once.
const BUFFER: usize = 256 * 1024;

/// A spool file.
#[derive(Debug)]
pub struct Spool {
    file: Arc<File>,
    end: u64,
    buffer: Vec<u8>,
}

impl Spool {
    /// An empty one on the file system of a directory.
    ///
    /// # Errors
    /// No file can be made there.
    pub fn new(directory: &Path) -> Result<Self, ImageError> {
        let file = tempfile::tempfile_in(directory);
        let file = file.map_err(ImageError::file(directory, "no file can be made there"))?;
        Ok(Self {
            file: Arc::new(file),
            end: 0,
            buffer: vec![0; BUFFER],
        })
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
            let offset = self.end;
            self.take(stream, length)?;
            extents.push(Extent { at, length, offset });
        }
        Ok(Contents::spooled(length, extents, Arc::clone(&self.file)))
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
            self.file.write_all_at(&self.buffer[..count], self.end)?;
            self.end += count as u64;
            left -= count as u64;
        }
        Ok(())
    }
}

//! Readers that know how far they are.

use std::io::{self, Read};

use crate::progress::Progress;
use crate::tree::Position;

/// A reader that says how much was taken from it.
pub(super) struct Counted<R> {
    pub(super) reader: R,
    /// Where the next byte is.
    pub(super) position: Position,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.position.set(self.position.get() + count as u64);
        Ok(count)
    }
}

/// A reader that tells its progress.
pub(super) struct Told<'a, 'b, R> {
    reader: R,
    done: u64,
    progress: &'a mut Progress<'b>,
}

impl<'a, 'b, R> Told<'a, 'b, R> {
    /// One before which so much was done.
    pub(super) fn new(reader: R, done: u64, progress: &'a mut Progress<'b>) -> Self {
        Self {
            reader,
            done,
            progress,
        }
    }
}

impl<R: Read> Read for Told<'_, '_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.done += count as u64;
        self.progress.at(self.done);
        Ok(count)
    }
}

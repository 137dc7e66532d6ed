//! Contents as a stream, for those who look into what is in a tree.

use std::io::{self, Read};
use std::sync::Arc;

use super::contents::{Contents, HostFile, Opened};

/// Contents that are read from their beginning to their end.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    /// Nothing when its end was met.
    opened: Option<Opened<'a>>,
    at: u64,
    length: u64,
}

impl Contents {
    /// As a stream. That a file of the host changed meanwhile is an error at the end of it.
    pub(crate) fn reader(&self) -> io::Result<Reader<'_>> {
        Ok(Reader {
            opened: Some(self.open()?),
            at: 0,
            length: self.len(),
        })
    }

    /// Where all of it is in a file of the host; nothing for what is elsewhere or has holes.
    pub(crate) fn in_place(&self) -> Option<(Arc<HostFile>, u64)> {
        let (file, extents) = self.on_host()?;
        match extents {
            [only] if only.length == self.len() => Some((Arc::clone(file), only.offset)),
            _ => None,
        }
    }
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.length - self.at).unwrap_or(usize::MAX);
        let count = left.min(buffer.len());
        match &self.opened {
            Some(opened) if count > 0 => opened.read_at(self.at, &mut buffer[..count])?,
            Some(_) if left == 0 => self.opened.take().map_or(Ok(()), Opened::close)?,
            _ => {}
        }
        self.at += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Spool;
    use super::*;

    #[test]
    fn all_of_it_is_read_and_holes_are_zeros() {
        let directory = tempfile::tempdir().unwrap();
        let mut spool = Spool::new(directory.path()).unwrap();
        let contents = spool.add_sparse(&mut &b"abcde"[..], &[(2, 3), (8, 2)], 12);
        let contents = contents.unwrap();
        let mut bytes = Vec::new();
        contents.reader().unwrap().read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"\0\0abc\0\0\0de\0\0");
        assert!(contents.in_place().is_none());
    }

    #[test]
    fn a_change_is_found_at_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, "first").unwrap();
        let tree = crate::source::directory(directory.path()).unwrap();
        let contents = tree.get("file").unwrap().contents().unwrap();
        assert_eq!(contents.in_place().unwrap().1, 0);
        let mut reader = contents.reader().unwrap();
        std::fs::write(&path, "other").unwrap();
        let error = reader.read_to_end(&mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("changed"), "{error}");
    }
}

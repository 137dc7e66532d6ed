//! What is in a file: bytes in memory, a part of a spool file, or a file of the host that is
//! read when it is needed. Runs of zeros may be left out as holes.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;

use nix::fcntl::OFlag;

/// Bytes that are copied at once where the kernel cannot copy by itself.
const BUFFER: usize = 128 * 1024;

/// What is in a file. A clone shares it.
#[derive(Debug, Clone)]
pub struct Contents {
    length: u64,
    /// In order and apart; what is between them is zeros.
    extents: Arc<[Extent]>,
    source: Source,
}

/// Bytes that are somewhere else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Where they are in the contents.
    pub(crate) at: u64,
    pub(crate) length: u64,
    /// Where they are in the source.
    pub(crate) offset: u64,
}

#[derive(Debug, Clone)]
enum Source {
    Bytes(Arc<[u8]>),
    Spool(Arc<File>),
    Host(Arc<HostFile>),
}

/// A file of the host that may not change.
#[derive(Debug)]
pub(crate) struct HostFile {
    pub(crate) path: PathBuf,
    pub(crate) identity: Identity,
    /// What must live as long as the file is read: a directory that is removed afterwards.
    #[expect(dead_code, reason = "it is held, and never looked at")]
    pub(crate) keeps: Option<Arc<tempfile::TempDir>>,
}

/// What differs when a file was changed or replaced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Identity {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            // A change also counts where a tool sets the time of modification back.
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// The same of a file in a Nix store, where nobody changes contents: Nix itself gives files more names, and takes one
    /// for another that is the same, at any time.
    pub(crate) fn in_store(self) -> Self {
        Self {
            size: self.size,
            ..Self::default()
        }
    }

    /// All of it as bytes, for keys.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let times = [
            self.modified.0,
            self.modified.1,
            self.changed.0,
            self.changed.1,
        ];
        let numbers = [self.device, self.inode, self.size];
        let numbers = numbers.into_iter().chain(times.map(i64::cast_unsigned));
        numbers.flat_map(u64::to_le_bytes).collect()
    }
}

impl HostFile {
    fn open(&self) -> io::Result<File> {
        // Neither a link nor a pipe that took the file's place may lead astray or block.
        let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(flags.bits())
            .open(&self.path)?;
        self.check(&file)?;
        Ok(file)
    }

    fn check(&self, file: &File) -> io::Result<()> {
        let now = Identity::of(&file.metadata()?);
        if now == self.identity || now.in_store() == self.identity {
            return Ok(());
        }
        let what = format!("{} changed while it was read", self.path.display());
        Err(io::Error::other(what))
    }
}

impl Default for Contents {
    fn default() -> Self {
        Self::from(Vec::new())
    }
}

impl From<Vec<u8>> for Contents {
    fn from(bytes: Vec<u8>) -> Self {
        let length = bytes.len() as u64;
        let whole = Extent {
            at: 0,
            length,
            offset: 0,
        };
        Self {
            length,
            extents: if bytes.is_empty() {
                [].into()
            } else {
                [whole].into()
            },
            source: Source::Bytes(bytes.into()),
        }
    }
}

impl From<&[u8]> for Contents {
    fn from(bytes: &[u8]) -> Self {
        bytes.to_vec().into()
    }
}

impl From<&str> for Contents {
    fn from(text: &str) -> Self {
        text.as_bytes().into()
    }
}

impl From<String> for Contents {
    fn from(text: String) -> Self {
        text.into_bytes().into()
    }
}

impl Contents {
    /// Parts of a spool file. The extents are in order, apart, and within the length.
    pub(super) fn spooled(length: u64, extents: Vec<Extent>, file: Arc<File>) -> Self {
        Self {
            length,
            extents: extents.into(),
            source: Source::Spool(file),
        }
    }

    /// A file of the host. The extents are as for a spool file.
    pub(crate) fn host(length: u64, extents: Vec<Extent>, file: Arc<HostFile>) -> Self {
        Self {
            length,
            extents: extents.into(),
            source: Source::Host(file),
        }
    }

    /// The file of the host that it is in, and where.
    pub(super) fn on_host(&self) -> Option<(&Arc<HostFile>, &[Extent])> {
        match &self.source {
            Source::Host(file) => Some((file, &self.extents)),
            _ => None,
        }
    }

    /// Bytes of it, holes included.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Where there are bytes and not only zeros.
    #[cfg(test)]
    pub(crate) fn data(&self) -> impl Iterator<Item = Range<u64>> {
        self.extents
            .iter()
            .map(|extent| extent.at..extent.at + extent.length)
    }

    /// All of it, of which there may be at most `most` bytes.
    ///
    /// # Errors
    /// There is more, or it cannot be read.
    pub fn read(&self, most: u64) -> io::Result<Vec<u8>> {
        if self.length > most {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let length = usize::try_from(self.length).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let mut bytes = vec![0; length];
        let opened = self.open()?;
        opened.read_at(0, &mut bytes)?;
        opened.close()?;
        Ok(bytes)
    }

    /// Ready to be read.
    pub(crate) fn open(&self) -> io::Result<Opened<'_>> {
        let host = match &self.source {
            Source::Host(host) => Some((&**host, host.open()?)),
            _ => None,
        };
        Ok(Opened {
            contents: self,
            host,
        })
    }
}

/// Contents that are being read.
#[derive(Debug)]
pub(crate) struct Opened<'a> {
    contents: &'a Contents,
    host: Option<(&'a HostFile, File)>,
}

impl Opened<'_> {
    /// Bytes from somewhere on; all of them must be within the contents.
    pub(crate) fn read_at(&self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        let range = at..at + buffer.len() as u64;
        buffer.fill(0);
        for extent in self.within(&range) {
            let into = index(extent.at - at)..index(extent.at - at + extent.length);
            self.source_at(extent.offset, &mut buffer[into])?;
        }
        Ok(())
    }

    /// Copy a part to a place in a file, which must be zeros: holes are left out.
    pub(crate) fn copy(&self, range: &Range<u64>, file: &File, to: u64) -> io::Result<()> {
        for extent in self.within(range) {
            let to = to + (extent.at - range.start);
            match self.descriptor() {
                Some(source) => copy(source, &extent, file, to)?,
                None => self.write(&extent, file, to)?,
            }
        }
        Ok(())
    }

    /// Ends the reading, and finds whether what was read is what was there when it began.
    pub(crate) fn close(self) -> io::Result<()> {
        self.host.map_or(Ok(()), |(host, file)| host.check(&file))
    }

    /// The parts of extents that are within a range.
    fn within(&self, range: &Range<u64>) -> impl Iterator<Item = Extent> {
        let (start, end) = (range.start, range.end);
        self.contents.extents.iter().filter_map(move |extent| {
            let at = extent.at.max(start);
            let length = (extent.at + extent.length).min(end).checked_sub(at)?;
            let offset = extent.offset + (at - extent.at);
            (length > 0).then_some(Extent { at, length, offset })
        })
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match (&self.contents.source, &self.host) {
            (Source::Spool(file), _) => Some(file.as_fd()),
            (_, Some((_, file))) => Some(file.as_fd()),
            _ => None,
        }
    }

    fn source_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        match (&self.contents.source, &self.host) {
            (Source::Bytes(bytes), _) => {
                let start = index(offset);
                buffer.copy_from_slice(&bytes[start..start + buffer.len()]);
                Ok(())
            }
            (Source::Spool(file), _) => file.read_exact_at(buffer, offset),
            (Source::Host(_), Some((_, file))) => file.read_exact_at(buffer, offset),
            (Source::Host(_), None) => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn write(&self, extent: &Extent, file: &File, to: u64) -> io::Result<()> {
        match &self.contents.source {
            Source::Bytes(bytes) => {
                let from = index(extent.offset)..index(extent.offset + extent.length);
                file.write_all_at(&bytes[from], to)
            }
            _ => Ok(()),
        }
    }
}

/// What is in memory can be indexed.
fn index(at: u64) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}

/// Copy by the kernel, which shares blocks where the file system can.
fn copy(source: BorrowedFd<'_>, extent: &Extent, file: &File, to: u64) -> io::Result<()> {
    let (mut from, mut into) = (extent.offset, to);
    let end = extent.offset + extent.length;
    while from < end {
        let length = usize::try_from(end - from).unwrap_or(usize::MAX);
        let copied =
            rustix::fs::copy_file_range(source, Some(&mut from), file, Some(&mut into), length);
        match copied {
            // Copying nothing, the source is shorter than it was, or of a kind that the kernel does
            // not copy; reading tells which.
            Ok(0)
            | Err(
                rustix::io::Errno::XDEV
                | rustix::io::Errno::INVAL
                | rustix::io::Errno::NOSYS
                | rustix::io::Errno::OPNOTSUPP
                | rustix::io::Errno::PERM,
            ) => return copy_slowly(source, from..end, file, into),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn copy_slowly(
    source: BorrowedFd<'_>,
    mut range: Range<u64>,
    file: &File,
    mut to: u64,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    while !range.is_empty() {
        let length = buffer.len().min(index(range.end - range.start));
        let count = rustix::io::retry_on_intr(|| {
            rustix::io::pread(source, &mut buffer[..length], range.start)
        })?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        file.write_all_at(&buffer[..count], to)?;
        range.start += count as u64;
        to += count as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::tree::Spool;

    fn copied(contents: &Contents, range: Range<u64>) -> Vec<u8> {
        let mut file = tempfile::tempfile().unwrap();
        file.set_len(range.end - range.start).unwrap();
        contents.open().unwrap().copy(&range, &file, 0).unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn bytes_are_read_and_copied() {
        let contents = Contents::from("0123456789");
        assert_eq!(contents.read(10).unwrap(), b"0123456789");
        assert_eq!(copied(&contents, 3..7), b"3456");
        assert!(contents.read(9).is_err());
    }

    #[test]
    fn holes_are_zeros() {
        let directory = tempfile::tempdir().unwrap();
        let mut spool = Spool::new(directory.path()).unwrap();
        let _other = spool.add(&mut &b"..."[..], 3).unwrap();
        let extents = [(2, 3), (8, 2)];
        let contents = spool.add_sparse(&mut &b"abcde"[..], &extents, 12).unwrap();
        assert_eq!(contents.read(12).unwrap(), b"\0\0abc\0\0\0de\0\0");
        assert_eq!(copied(&contents, 1..9), b"\0abc\0\0\0d");
        assert_eq!(contents.data().collect::<Vec<_>>(), [2..5, 8..10]);
    }

    #[test]
    fn a_file_of_the_host_may_not_change() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, "first").unwrap();
        let identity = Identity::of(&path.metadata().unwrap());
        let file = HostFile {
            path: path.clone(),
            identity,
            keeps: None,
        };
        let whole = Extent {
            at: 0,
            length: 5,
            offset: 0,
        };
        let contents = Contents::host(5, vec![whole], Arc::new(file));
        assert_eq!(contents.read(5).unwrap(), b"first");
        let opened = contents.open().unwrap();
        std::fs::write(&path, "second").unwrap();
        assert!(
            opened
                .close()
                .unwrap_err()
                .to_string()
                .contains("file changed")
        );
        assert!(
            contents
                .read(5)
                .unwrap_err()
                .to_string()
                .contains("file changed")
        );
    }

    #[test]
    fn a_source_that_ends_early_is_an_error() {
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, b"abc").unwrap();
        let whole = Extent {
            at: 0,
            length: 5,
            offset: 0,
        };
        let contents = Contents::spooled(5, vec![whole], Arc::new(file));
        let into = tempfile::tempfile().unwrap();
        let error = contents
            .open()
            .unwrap()
            .copy(&(0..5), &into, 0)
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}

//! A file or tree as a stream.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header, HeaderMode};

use super::{MTIME, TOP, TreeError, file_error};
use crate::frame::MAX_PAYLOAD;

/// Files up to this size are read before their header is written: those of `/sys` are shorter
/// than they say, and small files on ext4 may own no block and yet hold bytes.
const SMALL: u64 = 64 * 1024;
/// Files that say they are empty, as all in `/proc` do, are read up to this size.
const MOST_UNSIZED: u64 = 64 * 1024 * 1024;
/// Longest target of a link that fits into a header.
const LINK_NAME: usize = 100;

/// What was packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// Bytes of file contents, holes included.
    pub bytes: u64,
    /// Sockets, which were left out: they cannot live apart from their server.
    pub skipped: Vec<PathBuf>,
}

/// As [`pack_listing`], without the list.
///
/// # Errors
/// A file that cannot be read, a device or pipe, or a writer that fails.
pub fn pack(path: &Path, writer: impl Write) -> Result<u64, TreeError> {
    pack_listing(path, writer).map(|packed| packed.bytes)
}

/// Write a file, link or directory as a stream. A file that grows meanwhile is packed with the
/// length that it had.
///
/// # Errors
/// A file that cannot be read or that becomes shorter meanwhile, a device or pipe, or a writer
/// that fails.
pub fn pack_listing(path: &Path, writer: impl Write) -> Result<Packed, TreeError> {
    let mut packer = Packer {
        builder: builder(writer),
        links: HashMap::new(),
        packed: Packed {
            bytes: 0,
            skipped: Vec::new(),
        },
    };
    packer.entry(path, Path::new(TOP))?;
    finish(packer.builder)?;
    Ok(packer.packed)
}

/// Write one file that exists only in memory.
///
/// # Errors
/// A writer that fails.
pub fn pack_bytes(contents: &[u8], mode: u32, writer: impl Write) -> Result<u64, TreeError> {
    let mut builder = builder(writer);
    let mut header = Header::new_gnu();
    header.set_size(contents.len() as u64);
    header.set_mode(mode);
    header.set_entry_type(EntryType::Regular);
    builder
        .append_data(&mut header, TOP, contents)
        .map_err(TreeError::Stream)?;
    finish(builder)?;
    Ok(contents.len() as u64)
}

type Out<W> = Builder<io::BufWriter<W>>;

fn builder<W: Write>(writer: W) -> Out<W> {
    let mut builder = Builder::new(io::BufWriter::with_capacity(MAX_PAYLOAD, writer));
    builder.mode(HeaderMode::Complete);
    builder.follow_symlinks(false);
    builder.sparse(true);
    builder
}

fn finish<W: Write>(builder: Out<W>) -> Result<(), TreeError> {
    builder
        .into_inner()
        .and_then(|mut writer| writer.flush())
        .map_err(TreeError::Stream)
}

struct Packer<W: Write> {
    builder: Out<W>,
    /// Names in the stream of files with several, by device and inode.
    links: HashMap<(u64, u64), PathBuf>,
    packed: Packed,
}

impl<W: Write> Packer<W> {
    fn entry(&mut self, path: &Path, name: &Path) -> Result<(), TreeError> {
        let metadata = fs::symlink_metadata(path).map_err(file_error(path, "it cannot be read"))?;
        let kind = metadata.file_type();
        if kind.is_dir() {
            self.directory(path, name, &metadata)
        } else if kind.is_file() {
            self.file(path, name, &metadata)
        } else if kind.is_symlink() {
            self.symlink(path, name, &metadata)
        } else if kind.is_socket() && name != Path::new(TOP) {
            self.packed.skipped.push(path.to_owned());
            Ok(())
        } else {
            let kind = match () {
                () if kind.is_socket() => "socket",
                () if kind.is_fifo() => "pipe",
                () => "device",
            };
            Err(TreeError::Special {
                path: path.to_owned(),
                kind,
            })
        }
    }

    fn directory(
        &mut self,
        path: &Path,
        name: &Path,
        metadata: &Metadata,
    ) -> Result<(), TreeError> {
        self.append(header(metadata), name, metadata, io::empty())?;
        let mut children: Vec<_> = fs::read_dir(path)
            .and_then(Iterator::collect::<io::Result<Vec<_>>>)
            .map_err(file_error(path, "it cannot be listed"))?;
        // In a stable order, so that equal trees give equal streams.
        children.sort_by_key(fs::DirEntry::file_name);
        for child in children {
            self.entry(&child.path(), &name.join(child.file_name()))?;
        }
        Ok(())
    }

    fn symlink(&mut self, path: &Path, name: &Path, metadata: &Metadata) -> Result<(), TreeError> {
        let target = fs::read_link(path).map_err(file_error(path, "it cannot be read"))?;
        self.link(name, metadata, EntryType::Symlink, &target)
    }

    fn file(&mut self, path: &Path, name: &Path, found: &Metadata) -> Result<(), TreeError> {
        if found.nlink() > 1 {
            if let Some(first) = self.links.get(&(found.dev(), found.ino())) {
                return self.link(name, found, EntryType::Link, &first.clone());
            }
            self.links
                .insert((found.dev(), found.ino()), name.to_owned());
        }
        let cannot = || file_error(path, "it cannot be read");
        let mut file = File::open(path).map_err(cannot())?;
        let metadata = file.metadata().map_err(cannot())?;
        let size = metadata.len();
        if size <= SMALL {
            let most = if size == 0 { MOST_UNSIZED } else { size };
            let mut contents = Vec::new();
            (&file)
                .take(most)
                .read_to_end(&mut contents)
                .map_err(cannot())?;
            let mut header = header(&metadata);
            header.set_size(contents.len() as u64);
            self.packed.bytes += contents.len() as u64;
            return self.append(header, name, &metadata, &*contents);
        }
        self.packed.bytes += size;
        if metadata.blocks().saturating_mul(512) < size {
            return self.sparse(&mut file, path, name, &metadata);
        }
        let mut contents = Exactly {
            file: &file,
            left: size,
            failure: None,
        };
        let appended = self.append(
            header(&metadata),
            name,
            &metadata,
            io::BufReader::with_capacity(MAX_PAYLOAD, &mut contents),
        );
        match contents.failure {
            Some(failure) => Err(cannot()(failure)),
            None => appended,
        }
    }

    /// A file with holes. The library looks at it by itself, so look afterwards whether it stayed.
    fn sparse(
        &mut self,
        file: &mut File,
        path: &Path,
        name: &Path,
        before: &Metadata,
    ) -> Result<(), TreeError> {
        self.times(before)?;
        self.builder
            .append_file(name, file)
            .map_err(TreeError::Stream)?;
        let after = file
            .metadata()
            .map_err(file_error(path, "it cannot be read"))?;
        let same = |metadata: &Metadata| (metadata.len(), metadata.mtime(), metadata.mtime_nsec());
        if same(before) == same(&after) {
            return Ok(());
        }
        let changed = io::Error::other("a file with holes changed while it was read");
        Err(file_error(path, "it cannot be read")(changed))
    }

    fn append(
        &mut self,
        mut header: Header,
        name: &Path,
        metadata: &Metadata,
        contents: impl Read,
    ) -> Result<(), TreeError> {
        self.times(metadata)?;
        self.builder
            .append_data(&mut header, name, contents)
            .map_err(TreeError::Stream)
    }

    /// A link, with its target byte for byte: the library's own way takes `.` and `//` away.
    fn link(
        &mut self,
        name: &Path,
        metadata: &Metadata,
        kind: EntryType,
        target: &Path,
    ) -> Result<(), TreeError> {
        let target = target.as_os_str().as_bytes();
        let mut header = header(metadata);
        header.set_size(0);
        header.set_entry_type(kind);
        if target.len() <= LINK_NAME {
            header
                .set_link_name_literal(target)
                .map_err(TreeError::Stream)?;
        } else {
            let mut long = Header::new_gnu();
            long.set_entry_type(EntryType::GNULongLink);
            long.set_size(target.len() as u64);
            long.set_cksum();
            self.builder
                .append(&long, target)
                .map_err(TreeError::Stream)?;
        }
        self.append(header, name, metadata, io::empty())
    }

    /// The part of the time that does not fit into a header.
    fn times(&mut self, metadata: &Metadata) -> Result<(), TreeError> {
        // Decimal seconds have one sign for both parts; times before 1970 stay whole.
        if metadata.mtime_nsec() == 0 || metadata.mtime() < 0 {
            return Ok(());
        }
        let time = format!("{}.{:09}", metadata.mtime(), metadata.mtime_nsec());
        let record = pax_record(MTIME, &time);
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::XHeader);
        // Without a name, busybox takes it for the end of the archive.
        header.set_path("pax").map_err(TreeError::Stream)?;
        header.set_mode(0o644);
        header.set_size(record.len() as u64);
        header.set_cksum();
        self.builder
            .append(&header, record.as_bytes())
            .map_err(TreeError::Stream)
    }
}

/// A line that begins with its own length, in bytes and with that number (POSIX, pax, "pax Extended
/// Header").
fn pax_record(key: &str, value: &str) -> String {
    let rest = format!(" {key}={value}\n");
    let mut length = rest.len();
    while length != rest.len() + length.to_string().len() {
        length = rest.len() + length.to_string().len();
    }
    format!("{length}{rest}")
}

fn header(metadata: &Metadata) -> Header {
    let mut header = Header::new_gnu();
    header.set_metadata_in_mode(metadata, HeaderMode::Complete);
    header
}

/// Just as many bytes as the header says, whatever happens to the file.
struct Exactly<'a> {
    file: &'a File,
    left: u64,
    failure: Option<io::Error>,
}

impl Read for &mut Exactly<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match self.file.take(self.left).read(buffer) {
            Ok(0) if self.left > 0 => Err(io::Error::other("it became shorter while it was read")),
            other => other,
        };
        match count {
            Ok(count) => {
                self.left -= count as u64;
                Ok(count)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                self.failure = Some(error);
                Err(io::ErrorKind::Other.into())
            }
        }
    }
}

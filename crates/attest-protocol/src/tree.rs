//! Files and directories as tar streams: modes, times, links, holes; never out of their place.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::path::{Component, Path, PathBuf};

use tar::{Archive, Builder, EntryType, Header, HeaderMode};

/// The name of a stream's top-level entry; it becomes the destination itself.
const TOP: &str = "content";
/// Blocks of zeros of this size become holes: the block size of the file systems in use.
const BLOCK: usize = 4096;

/// What can go wrong with a tree.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TreeError {
    /// A file of the tree cannot be read or written.
    #[error("{}: {action}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A device or a pipe: nothing that can be copied.
    #[error("{}: a {kind} cannot be copied", path.display())]
    Special {
        /// Which.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// An entry that would leave the destination.
    #[error("the entry `{}` would leave the destination", name.display())]
    Escapes {
        /// Its name in the stream.
        name: PathBuf,
    },
    /// The stream is no tar stream, or is cut.
    #[error("the stream of files is broken")]
    Stream(#[source] io::Error),
}

impl TreeError {
    /// Whether the stream broke, and not a file: the link's own error says more then.
    pub fn is_stream(&self) -> bool {
        matches!(self, Self::Stream(_))
    }

    /// The operating system's error, if there is one.
    pub fn io(&self) -> Option<&io::Error> {
        match self {
            Self::File { source, .. } | Self::Stream(source) => Some(source),
            Self::Special { .. } | Self::Escapes { .. } => None,
        }
    }
}

fn file_error(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> TreeError {
    move |source| TreeError::File {
        path: path.to_owned(),
        action,
        source,
    }
}

/// Write a file, link or directory as a stream. Sockets are left out: they cannot live apart
/// from their server. Gives the bytes of file contents.
///
/// # Errors
/// A file that cannot be read, a device or pipe, or a writer that fails.
pub fn pack(path: &Path, writer: impl Write) -> Result<u64, TreeError> {
    let mut builder = builder(writer);
    let bytes = pack_entry(&mut builder, path, Path::new(TOP))?;
    finish(builder)?;
    Ok(bytes)
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

fn builder<W: Write>(writer: W) -> Builder<io::BufWriter<W>> {
    let mut builder = Builder::new(io::BufWriter::with_capacity(
        crate::frame::MAX_PAYLOAD,
        writer,
    ));
    builder.mode(HeaderMode::Complete);
    builder.follow_symlinks(false);
    builder.sparse(true);
    builder
}

fn finish<W: Write>(builder: Builder<io::BufWriter<W>>) -> Result<(), TreeError> {
    builder
        .into_inner()
        .and_then(|mut writer| writer.flush())
        .map_err(TreeError::Stream)
}

fn pack_entry<W: Write>(
    builder: &mut Builder<W>,
    path: &Path,
    name: &Path,
) -> Result<u64, TreeError> {
    use std::os::unix::fs::FileTypeExt;
    let metadata = fs::symlink_metadata(path).map_err(file_error(path, "it cannot be read"))?;
    let kind = metadata.file_type();
    let special = |kind| {
        Err(TreeError::Special {
            path: path.to_owned(),
            kind,
        })
    };
    if kind.is_dir() {
        builder.append_dir(name, path).map_err(TreeError::Stream)?;
        let mut bytes = 0;
        let mut children: Vec<_> = fs::read_dir(path)
            .and_then(Iterator::collect::<io::Result<Vec<_>>>)
            .map_err(file_error(path, "it cannot be listed"))?;
        // In a stable order, so that equal trees give equal streams.
        children.sort_by_key(fs::DirEntry::file_name);
        for child in children {
            bytes += pack_entry(builder, &child.path(), &name.join(child.file_name()))?;
        }
        Ok(bytes)
    } else if kind.is_file() {
        let mut file = File::open(path).map_err(file_error(path, "it cannot be read"))?;
        builder
            .append_file(name, &mut file)
            .map_err(TreeError::Stream)?;
        Ok(metadata.len())
    } else if kind.is_symlink() {
        builder
            .append_path_with_name(path, name)
            .map_err(TreeError::Stream)?;
        Ok(0)
    } else if kind.is_socket() {
        Ok(0)
    } else if kind.is_fifo() {
        special("pipe")
    } else {
        special("device")
    }
}

/// Unpack a stream to `destination`: its top-level entry becomes that path itself. Missing
/// parents are made; a file or link that is there is replaced; a directory is merged into.
/// Gives the bytes of file contents.
///
/// # Errors
/// A broken stream, an entry that would leave the destination, or a file that cannot be written.
pub fn unpack(reader: impl Read, destination: &Path) -> Result<u64, TreeError> {
    let mut archive = Archive::new(reader);
    let mut bytes = 0;
    let mut directories = Vec::new();
    let mut any = false;
    for entry in archive.entries().map_err(TreeError::Stream)? {
        let mut entry = entry.map_err(TreeError::Stream)?;
        let name = entry.path().map_err(TreeError::Stream)?.into_owned();
        let target = place(destination, &name)?;
        if !any && let Some(parent) = destination.parent() {
            fs::create_dir_all(parent)
                .map_err(file_error(parent, "the directory cannot be made"))?;
        }
        any = true;
        guard_parents(destination, &target, &name)?;
        bytes += unpack_entry(&mut entry, &target, &mut directories)?;
    }
    // Deepest first: writing into a directory would change its time, and its mode may forbid it.
    for (path, mode, time) in directories.into_iter().rev() {
        set_attributes(&path, mode, time)?;
    }
    if any {
        Ok(bytes)
    } else {
        Err(TreeError::Stream(io::ErrorKind::UnexpectedEof.into()))
    }
}

fn place(destination: &Path, name: &Path) -> Result<PathBuf, TreeError> {
    let escapes = || TreeError::Escapes {
        name: name.to_owned(),
    };
    let mut components = name.components();
    if components.next() != Some(Component::Normal(TOP.as_ref())) {
        return Err(escapes());
    }
    let mut target = destination.to_owned();
    for component in components {
        match component {
            Component::Normal(part) => target.push(part),
            _ => return Err(escapes()),
        }
    }
    Ok(target)
}

/// No parent below the destination may be a link: a stream could have made it to write elsewhere.
fn guard_parents(destination: &Path, target: &Path, name: &Path) -> Result<(), TreeError> {
    let mut parent = target;
    while parent != destination {
        let Some(above) = parent.parent() else { break };
        parent = above;
        let is_directory = fs::symlink_metadata(parent).is_ok_and(|metadata| metadata.is_dir());
        let is_root =
            parent == destination && fs::metadata(parent).is_ok_and(|metadata| metadata.is_dir());
        if !is_directory && !is_root {
            return Err(TreeError::Escapes {
                name: name.to_owned(),
            });
        }
    }
    Ok(())
}

type Directory = (PathBuf, u32, u64);

fn unpack_entry<R: Read>(
    entry: &mut tar::Entry<'_, R>,
    target: &Path,
    directories: &mut Vec<Directory>,
) -> Result<u64, TreeError> {
    let header = entry.header();
    let mode = header.mode().map_err(TreeError::Stream)? & 0o7777;
    let time = header.mtime().map_err(TreeError::Stream)?;
    match header.entry_type() {
        EntryType::Directory => {
            if !target.is_dir() {
                replace(target)?;
                fs::create_dir(target)
                    .map_err(file_error(target, "the directory cannot be made"))?;
            }
            directories.push((target.to_owned(), mode, time));
            Ok(0)
        }
        EntryType::Symlink => {
            let link = entry.link_name().map_err(TreeError::Stream)?;
            let link = link.ok_or_else(|| TreeError::Stream(io::ErrorKind::InvalidData.into()))?;
            replace(target)?;
            std::os::unix::fs::symlink(link, target)
                .map_err(file_error(target, "the link cannot be made"))?;
            Ok(0)
        }
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
            replace(target)?;
            let mut file =
                File::create_new(target).map_err(file_error(target, "it cannot be made"))?;
            let bytes = write_sparse(entry, &mut file, target)?;
            set_attributes(target, mode, time)?;
            Ok(bytes)
        }
        _ => Err(TreeError::Special {
            path: target.to_owned(),
            kind: "device or pipe",
        }),
    }
}

/// Remove what is in the way; a directory is not.
fn replace(target: &Path) -> Result<(), TreeError> {
    match fs::remove_file(target) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(TreeError::File {
            path: target.to_owned(),
            action: "it cannot be replaced",
            source: error,
        }),
        _ => Ok(()),
    }
}

fn write_sparse(reader: &mut impl Read, file: &mut File, path: &Path) -> Result<u64, TreeError> {
    let failed = || file_error(path, "it cannot be written");
    let mut buffer = vec![0; 32 * BLOCK];
    let mut length = 0_u64;
    let mut hole = false;
    loop {
        let filled = fill(reader, &mut buffer).map_err(TreeError::Stream)?;
        let mut at = 0;
        while at < filled {
            let (end, zero) = run_of_blocks(&buffer[..filled], at);
            hole = zero;
            if zero {
                file.seek_relative(i64::try_from(end - at).expect("within the buffer"))
                    .map_err(failed())?;
            } else {
                file.write_all(&buffer[at..end]).map_err(failed())?;
            }
            at = end;
        }
        length += filled as u64;
        if filled < buffer.len() {
            break;
        }
    }
    if hole {
        file.set_len(length).map_err(failed())?;
    }
    Ok(length)
}

/// The end of the blocks from `at` on that are alike, and whether they are zeros.
fn run_of_blocks(buffer: &[u8], at: usize) -> (usize, bool) {
    let mut blocks = buffer[at..].chunks(BLOCK);
    let first = blocks.next().expect("there are bytes");
    let zero = is_hole(first);
    let more: usize = blocks
        .take_while(|block| is_hole(block) == zero)
        .map(<[u8]>::len)
        .sum();
    (at + first.len() + more, zero)
}

fn is_hole(block: &[u8]) -> bool {
    block.len() == BLOCK && block.iter().all(|byte| *byte == 0)
}

fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

fn set_attributes(path: &Path, mode: u32, time: u64) -> Result<(), TreeError> {
    use std::os::unix::fs::PermissionsExt;
    let failed = || file_error(path, "its mode or time cannot be set");
    let file = File::open(path).map_err(failed())?;
    let modified = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(time);
    file.set_modified(modified).map_err(failed())?;
    file.set_permissions(fs::Permissions::from_mode(mode))
        .map_err(failed())
}

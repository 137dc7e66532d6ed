//! A stream as a file or tree, within its destination.

use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::sys::stat::{Mode, SFlag, UtimensatFlags, fchmod, fstatat, futimens, mkdirat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{UnlinkatFlags, linkat, symlinkat, unlinkat};
use tar::{Archive, EntryType};

use super::{MTIME, TOP, TreeError, broken, file_error, holes};

/// Bytes of one entry's header, names and map of holes: what the stream can make us hold.
const MOST_METADATA: u64 = 1024 * 1024;

/// How much a stream may make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of file contents, holes included.
    pub bytes: u64,
    /// Files, links and directories.
    pub entries: u64,
}

impl Default for Limits {
    /// 1 TiB and 4 million entries: beyond what tests copy, and yet an end.
    fn default() -> Self {
        Self {
            bytes: 1 << 40,
            entries: 4_000_000,
        }
    }
}

/// As [`unpack_within`] with the default limits.
///
/// # Errors
/// As there.
pub fn unpack(reader: impl Read, destination: &Path) -> Result<u64, TreeError> {
    unpack_within(reader, destination, Limits::default())
}

/// Unpack a stream to `destination`: its top-level entry becomes that path itself. Missing
/// parents are made; a file or link that is there is replaced; a directory is merged into, and
/// keeps its mode and time. Nothing is written elsewhere, whatever the stream holds and whoever
/// changes the destination meanwhile. Owners are not kept. Gives the bytes of file contents.
///
/// # Errors
/// A broken stream, an entry that would leave the destination, more than the limits allow, or a
/// file that cannot be written. What was unpacked until then stays.
pub fn unpack_within(
    reader: impl Read,
    destination: &Path,
    limits: Limits,
) -> Result<u64, TreeError> {
    let meter = Rc::new(Meter {
        left: Cell::new(0),
        at_end: Cell::new(false),
    });
    let mut archive = Archive::new(Metered {
        reader,
        meter: Rc::clone(&meter),
    });
    let mut entries = archive.entries().map_err(TreeError::Stream)?;
    let mut unpacker: Option<Unpacker> = None;
    let (mut bytes, mut count) = (0, 0);
    loop {
        meter.left.set(MOST_METADATA);
        let Some(entry) = entries.next() else { break };
        let mut entry = entry.map_err(TreeError::Stream)?;
        meter.left.set(u64::MAX);
        let unpacker = match &mut unpacker {
            Some(unpacker) => unpacker,
            none => none.insert(Unpacker::new(
                destination,
                entry.header().entry_type().is_dir(),
            )?),
        };
        count += 1;
        if count > limits.entries {
            return Err(unpacker.too_much(&entry, limits.entries, "entries"));
        }
        // A file with holes has the size that it will have, not that of its bytes here.
        if entry.size() > limits.bytes - bytes {
            return Err(unpacker.too_much(&entry, limits.bytes, "bytes"));
        }
        bytes += unpacker.entry(&mut entry)?;
    }
    // A whole stream says that it ends.
    let unpacker = unpacker.filter(|_| !meter.at_end.get());
    unpacker
        .ok_or_else(|| broken(io::ErrorKind::UnexpectedEof))?
        .finish()?;
    Ok(bytes)
}

struct Meter {
    left: Cell<u64>,
    at_end: Cell<bool>,
}

/// A reader with a limit.
struct Metered<R> {
    reader: R,
    meter: Rc<Meter>,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.meter.left.get();
        if left == 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "an entry's names are too long",
            ));
        }
        let most = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let count = self.reader.read(&mut buffer[..most])?;
        self.meter.left.set(left - count as u64);
        self.meter.at_end.set(count == 0 && most > 0);
        Ok(count)
    }
}

/// What a directory gets once all is in it.
struct Directory {
    /// Below the top.
    path: PathBuf,
    attributes: Attributes,
}

#[derive(Clone, Copy)]
struct Attributes {
    mode: Mode,
    modified: TimeSpec,
}

/// Where an entry goes: a name in an open directory. Only the last part of a path is ever looked
/// up by name, and never followed, so that no link can lead elsewhere.
struct Spot {
    parent: Rc<OwnedFd>,
    leaf: OsString,
    /// For messages.
    path: PathBuf,
}

struct Unpacker {
    destination: PathBuf,
    /// The top's own parent and name; none when the destination has no name, as `/`.
    outside: Option<(Rc<OwnedFd>, OsString)>,
    /// The last directory that was walked to, below the top.
    walked: Option<(PathBuf, Rc<OwnedFd>)>,
    directories: Vec<Directory>,
}

impl Unpacker {
    fn new(destination: &Path, is_dir: bool) -> Result<Self, TreeError> {
        // A link to a directory that is there from before is meant; one from the stream is not.
        let real = if is_dir && destination.is_dir() {
            fs::canonicalize(destination).ok()
        } else {
            None
        };
        let destination = real.unwrap_or_else(|| destination.to_owned());
        let outside = match (destination.parent(), destination.file_name()) {
            (Some(parent), Some(name)) => {
                let parent = if parent.as_os_str().is_empty() {
                    Path::new(".")
                } else {
                    parent
                };
                fs::create_dir_all(parent)
                    .map_err(file_error(parent, "the directory cannot be made"))?;
                Some((open_directory(parent)?, name.to_owned()))
            }
            _ => None,
        };
        Ok(Self {
            destination,
            outside,
            walked: None,
            directories: Vec::new(),
        })
    }

    fn too_much<R: Read>(
        &self,
        entry: &tar::Entry<'_, R>,
        limit: u64,
        unit: &'static str,
    ) -> TreeError {
        let name = entry
            .path()
            .map_or_else(|_| self.destination.clone(), std::borrow::Cow::into_owned);
        TreeError::TooMuch {
            path: name,
            limit,
            unit,
        }
    }

    fn entry<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>) -> Result<u64, TreeError> {
        let name = entry.path().map_err(TreeError::Stream)?.into_owned();
        let path = below_top(&name)?;
        let attributes = attributes(entry)?;
        if path.as_os_str().is_empty() && self.outside.is_none() {
            // The destination has no name, so it is there.
            return if entry.header().entry_type().is_dir() {
                Ok(0)
            } else {
                Err(TreeError::Escapes { name })
            };
        }
        let spot = self.spot(&path, &name)?;
        match entry.header().entry_type() {
            EntryType::Directory => {
                if spot.make_directory()? {
                    self.directories.push(Directory { path, attributes });
                }
                Ok(0)
            }
            EntryType::Symlink => {
                spot.make_symlink(&link_name(entry)?, attributes)?;
                Ok(0)
            }
            EntryType::Link => {
                let target = link_name(entry)?;
                let target = self.spot(&below_top(&target)?, &target)?;
                spot.make_link(&target)?;
                Ok(0)
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                spot.make_file(entry, attributes)
            }
            EntryType::Fifo => Err(TreeError::Special {
                path: spot.path,
                kind: "pipe",
            }),
            EntryType::Block | EntryType::Char => Err(TreeError::Special {
                path: spot.path,
                kind: "device",
            }),
            _ => Err(broken(io::ErrorKind::InvalidData)),
        }
    }

    /// Where the entry of this path below the top goes.
    fn spot(&mut self, path: &Path, name: &Path) -> Result<Spot, TreeError> {
        let (parent, leaf) = match (path.parent(), path.file_name(), &self.outside) {
            (Some(parent), Some(leaf), _) => (self.walk(parent, name)?, leaf.to_owned()),
            (_, _, Some((parent, leaf))) => (Rc::clone(parent), leaf.clone()),
            (_, _, None) => {
                return Err(TreeError::Escapes {
                    name: name.to_owned(),
                });
            }
        };
        Ok(Spot {
            parent,
            leaf,
            path: self.path(path),
        })
    }

    fn path(&self, below: &Path) -> PathBuf {
        // Joining nothing would add a slash.
        if below.as_os_str().is_empty() {
            self.destination.clone()
        } else {
            self.destination.join(below)
        }
    }

    /// Open a directory below the top, part by part and without following links.
    fn walk(&mut self, path: &Path, name: &Path) -> Result<Rc<OwnedFd>, TreeError> {
        if let Some((walked, directory)) = &self.walked
            && walked == path
        {
            return Ok(Rc::clone(directory));
        }
        let failed = |error| match error {
            Errno::ENOTDIR | Errno::ELOOP => TreeError::Escapes {
                name: name.to_owned(),
            },
            error => file_error(&self.path(path), "the directory cannot be opened")(error),
        };
        let mut directory = match &self.outside {
            Some((parent, leaf)) => Rc::new(step(parent, leaf).map_err(failed)?),
            None => open_directory(&self.destination)?,
        };
        for part in path {
            directory = Rc::new(step(&directory, part).map_err(failed)?);
        }
        self.walked = Some((path.to_owned(), Rc::clone(&directory)));
        Ok(directory)
    }

    /// Deepest first: writing into a directory changes its time, and its mode may forbid it.
    fn finish(mut self) -> Result<(), TreeError> {
        for Directory { path, attributes } in
            std::mem::take(&mut self.directories).into_iter().rev()
        {
            let spot = self.spot(&path, &path)?;
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let directory = openat(&spot.parent, &*spot.leaf, flags, Mode::empty());
            directory
                .and_then(|directory| attributes.set(&directory))
                .map_err(spot.failed(ATTRIBUTES))?;
        }
        Ok(())
    }
}

const ATTRIBUTES: &str = "its mode or time cannot be set";

impl Attributes {
    fn set(self, file: impl AsFd) -> nix::Result<()> {
        futimens(&file, &TimeSpec::UTIME_OMIT, &self.modified)?;
        fchmod(&file, self.mode)
    }
}

impl Spot {
    fn failed<E: Into<io::Error>>(&self, action: &'static str) -> impl FnOnce(E) -> TreeError {
        file_error(&self.path, action)
    }

    /// Remove the file or link that is in the way.
    fn clear(&self) -> Result<(), TreeError> {
        self.refuse_special()?;
        match unlinkat(&self.parent, &*self.leaf, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(error) => Err(self.failed("it cannot be replaced")(error)),
        }
    }

    /// Whoever names `/dev/stdout` or a daemon's socket as the destination of a copy means
    /// anything but to lose it.
    fn refuse_special(&self) -> Result<(), TreeError> {
        let Ok(there) = fstatat(&self.parent, &*self.leaf, AtFlags::AT_SYMLINK_NOFOLLOW) else {
            return Ok(());
        };
        let kind = match SFlag::from_bits_truncate(there.st_mode) & SFlag::S_IFMT {
            SFlag::S_IFCHR | SFlag::S_IFBLK => "device",
            SFlag::S_IFIFO => "pipe",
            SFlag::S_IFSOCK => "socket",
            _ => return Ok(()),
        };
        Err(TreeError::InTheWay {
            path: self.path.clone(),
            kind,
        })
    }

    /// Whether it was not there before.
    fn make_directory(&self) -> Result<bool, TreeError> {
        let make = || mkdirat(&self.parent, &*self.leaf, Mode::S_IRWXU);
        match make() {
            Ok(()) => Ok(true),
            Err(Errno::EEXIST) if step(&self.parent, &self.leaf).is_ok() => Ok(false),
            Err(Errno::EEXIST) => {
                self.clear()?;
                make()
                    .map(|()| true)
                    .map_err(self.failed("the directory cannot be made"))
            }
            Err(error) => Err(self.failed("the directory cannot be made")(error)),
        }
    }

    fn make_symlink(&self, target: &Path, attributes: Attributes) -> Result<(), TreeError> {
        self.clear()?;
        symlinkat(target, &self.parent, &*self.leaf)
            .map_err(self.failed("the link cannot be made"))?;
        let modified = attributes.modified;
        utimensat(
            &self.parent,
            &*self.leaf,
            &TimeSpec::UTIME_OMIT,
            &modified,
            UtimensatFlags::NoFollowSymlink,
        )
        .map_err(self.failed(ATTRIBUTES))
    }

    fn make_link(&self, target: &Self) -> Result<(), TreeError> {
        self.clear()?;
        // A link that is linked to stays what it is.
        linkat(
            &target.parent,
            &*target.leaf,
            &self.parent,
            &*self.leaf,
            AtFlags::empty(),
        )
        .map_err(self.failed("the link cannot be made"))
    }

    fn make_file(
        &self,
        contents: &mut impl Read,
        attributes: Attributes,
    ) -> Result<u64, TreeError> {
        self.clear()?;
        let flags =
            OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = openat(
            &self.parent,
            &*self.leaf,
            flags,
            Mode::S_IRUSR | Mode::S_IWUSR,
        );
        let mut file = File::from(file.map_err(self.failed("it cannot be made"))?);
        let bytes = holes::write(contents, &mut file, &self.path)?;
        attributes.set(&file).map_err(self.failed(ATTRIBUTES))?;
        Ok(bytes)
    }
}

fn open_directory(path: &Path) -> Result<Rc<OwnedFd>, TreeError> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let directory = open(path, flags, Mode::empty());
    directory
        .map(Rc::new)
        .map_err(file_error(path, "the directory cannot be opened"))
}

fn step(directory: &OwnedFd, part: &OsStr) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(directory, part, flags, Mode::empty())
}

/// The entry's path below the top.
fn below_top(name: &Path) -> Result<PathBuf, TreeError> {
    let escapes = || TreeError::Escapes {
        name: name.to_owned(),
    };
    let mut components = name.components();
    if components.next() != Some(Component::Normal(TOP.as_ref())) {
        return Err(escapes());
    }
    components
        .map(|component| match component {
            Component::Normal(part) => Ok(part),
            _ => Err(escapes()),
        })
        .collect()
}

fn link_name<R: Read>(entry: &tar::Entry<'_, R>) -> Result<PathBuf, TreeError> {
    let name = entry.link_name().map_err(TreeError::Stream)?;
    name.map(std::borrow::Cow::into_owned)
        .ok_or_else(|| broken(io::ErrorKind::InvalidData))
}

fn attributes<R: Read>(entry: &mut tar::Entry<'_, R>) -> Result<Attributes, TreeError> {
    let exact = exact_time(entry)?;
    let header = entry.header();
    let mode = Mode::from_bits_truncate(header.mode().map_err(TreeError::Stream)? & 0o7777);
    // Times before 1970 are negative numbers in the guise of great ones.
    let seconds = header.mtime().map_err(TreeError::Stream)?.cast_signed();
    Ok(Attributes {
        mode,
        // `TimeSpec::seconds` panics on what the sender may well have damaged.
        modified: exact.unwrap_or_else(|| TimeSpec::new(seconds, 0)),
    })
}

fn exact_time<R: Read>(entry: &mut tar::Entry<'_, R>) -> Result<Option<TimeSpec>, TreeError> {
    let Some(extensions) = entry.pax_extensions().map_err(TreeError::Stream)? else {
        return Ok(None);
    };
    for extension in extensions {
        let extension = extension.map_err(TreeError::Stream)?;
        if extension.key_bytes() == MTIME.as_bytes() {
            let time = extension.value().ok().and_then(|value| {
                let (seconds, fraction) = value.split_once('.')?;
                let nanoseconds = format!("{fraction:0<9.9}");
                Some(TimeSpec::new(
                    seconds.parse().ok()?,
                    nanoseconds.parse().ok()?,
                ))
            });
            return time
                .map(Some)
                .ok_or_else(|| broken(io::ErrorKind::InvalidData));
        }
    }
    Ok(None)
}

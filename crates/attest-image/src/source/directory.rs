//! A directory of the host as a tree, with owners and all: contents are read later, and what
//! changes until then is an error. Other file systems that are mounted in it are left out, and so
//! are sockets, which mean nothing without the program that listens.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;

use crate::error::ImageError;
use crate::sparse;
use crate::tree::{
    Attributes, Contents, Device, Extent, HostFile, Identity, Kind, Node, Time, Tree,
};

/// What units `st_blocks` counts, whatever the file system (stat(3type)).
const SECTOR: u64 = 512;
/// Times that a list of attributes is asked for anew because it grew meanwhile.
const ATTEMPTS: usize = 10;

/// Extended attributes that mean something in an image. The others are the host's own: of its
/// file system, or of its network shares.
pub(super) const KEPT: [&[u8]; 4] = [b"security.", b"system.posix_acl_", b"trusted.", b"user."];

/// Read a directory.
///
/// # Errors
/// Something in it cannot be read, or changed while it was.
pub fn directory(path: &Path) -> Result<Tree, ImageError> {
    read(path, None)
}

/// Read a directory that is removed when its last contents are.
pub(crate) fn temporary(directory: tempfile::TempDir, below: &Path) -> Result<Tree, ImageError> {
    let path = directory.path().join(below);
    read(&path, Some(Arc::new(directory)))
}

fn read(top: &Path, keeps: Option<Arc<tempfile::TempDir>>) -> Result<Tree, ImageError> {
    let failed = || ImageError::file(top, "the directory cannot be read");
    // A link to the directory is meant; one in its place later would not be.
    let top = top.canonicalize().map_err(failed())?;
    let metadata = top.symlink_metadata().map_err(failed())?;
    if !metadata.is_dir() {
        return Err(failed()(io::ErrorKind::NotADirectory.into()));
    }
    let mut reader = Reader {
        keeps,
        left: vec![(top.clone(), Vec::new())],
        ..Reader::over(Tree::new(), metadata.dev())
    };
    let attributes = attributes(&top, &metadata)?;
    reader
        .tree
        .insert("", Node::directory(0).with(attributes))?;
    reader.rest()?;
    Ok(reader.tree)
}

/// Read files and directories that are in one directory of the host into a directory of a tree,
/// as root's.
pub(super) fn named<'a>(
    tree: Tree,
    host: &Path,
    into: &str,
    names: impl Iterator<Item = &'a str>,
) -> Result<Tree, ImageError> {
    let mut reader = Reader::over(tree, 0);
    reader.is_store = true;
    for name in names {
        let (host, path) = (host.join(name), format!("{into}/{name}"));
        let metadata = host.symlink_metadata();
        let metadata = metadata.map_err(ImageError::file(&host, "it cannot be read"))?;
        // Each may be mounted.
        reader.device = metadata.dev();
        reader.entry(&host, path.as_bytes())?;
        reader.rest()?;
    }
    Ok(reader.tree)
}

struct Reader {
    tree: Tree,
    /// The file system of the top.
    device: u64,
    /// First names of the files that have more, by their devices and inodes.
    links: HashMap<(u64, u64), Vec<u8>>,
    /// Whether it is a Nix store: root owns everything, whoever does here, and contents never change.
    is_store: bool,
    keeps: Option<Arc<tempfile::TempDir>>,
    /// Directories that are still to be read, and their paths in the tree.
    left: Vec<(PathBuf, Vec<u8>)>,
}

impl Reader {
    fn over(tree: Tree, device: u64) -> Self {
        Self {
            tree,
            device,
            links: HashMap::new(),
            is_store: false,
            keeps: None,
            left: Vec::new(),
        }
    }

    fn rest(&mut self) -> Result<(), ImageError> {
        while let Some((directory, path)) = self.left.pop() {
            self.directory(&directory, &path)?;
        }
        Ok(())
    }

    fn directory(&mut self, directory: &Path, path: &[u8]) -> Result<(), ImageError> {
        let failed = || ImageError::file(directory, "the directory cannot be read");
        let before = self.identity(&directory.symlink_metadata().map_err(failed())?);
        for entry in fs::read_dir(directory).map_err(failed())? {
            let entry = entry.map_err(failed())?;
            let name = entry.file_name();
            let path = match path {
                b"" => name.as_bytes().to_vec(),
                path => [path, b"/", name.as_bytes()].concat(),
            };
            self.entry(&entry.path(), &path)?;
        }
        let now = self.identity(&directory.symlink_metadata().map_err(failed())?);
        if now != before {
            return Err(changed(directory));
        }
        Ok(())
    }

    fn identity(&self, metadata: &Metadata) -> Identity {
        let identity = Identity::of(metadata);
        if self.is_store {
            return identity.in_store();
        }
        identity
    }

    fn entry(&mut self, host: &Path, path: &[u8]) -> Result<(), ImageError> {
        let failed = || ImageError::file(host, "it cannot be read");
        let metadata = host.symlink_metadata().map_err(failed())?;
        let kind = metadata.file_type();
        if kind.is_socket() {
            return Ok(());
        }
        if metadata.nlink() > 1
            && !kind.is_dir()
            && let Some(first) = self.links.get(&(metadata.dev(), metadata.ino()))
        {
            let first = first.clone();
            self.tree.link(path, first)?;
            return Ok(());
        }
        let node = Node {
            kind: self.kind(host, &metadata).map_err(failed())?,
            attributes: Attributes::default(),
        };
        let mut node = node.with(attributes(host, &metadata)?);
        if self.is_store {
            node = node.owned(0, 0);
        }
        if kind.is_dir() {
            if metadata.dev() == self.device {
                self.left.push((host.to_owned(), path.to_owned()));
            }
        } else {
            let now = host.symlink_metadata().map_err(failed())?;
            if self.identity(&now) != self.identity(&metadata) {
                return Err(changed(host));
            }
            let inode = (metadata.dev(), metadata.ino());
            self.links.insert(inode, path.to_owned());
        }
        self.tree.insert(path, node)?;
        Ok(())
    }

    fn kind(&self, host: &Path, metadata: &Metadata) -> io::Result<Kind> {
        let kind = metadata.file_type();
        let device = || Device {
            major: rustix::fs::major(metadata.rdev()),
            minor: rustix::fs::minor(metadata.rdev()),
        };
        Ok(if kind.is_dir() {
            Node::directory(0).kind
        } else if kind.is_symlink() {
            Kind::Symlink(fs::read_link(host)?.into_os_string().into_vec().into())
        } else if kind.is_char_device() {
            Kind::Character(device())
        } else if kind.is_block_device() {
            Kind::Block(device())
        } else if kind.is_fifo() {
            Kind::Pipe
        } else {
            let identity = self.identity(metadata);
            Kind::File(contents(host, metadata, identity, self.keeps.clone())?)
        })
    }
}

/// A file of the host as contents that are read later.
///
/// # Errors
/// It is no file, or cannot be read.
pub(crate) fn file(path: &Path) -> Result<Contents, ImageError> {
    let failed = || ImageError::file(path, "it cannot be read");
    let path = path.canonicalize().map_err(failed())?;
    let metadata = path.metadata().map_err(failed())?;
    if !metadata.is_file() {
        return Err(failed()(io::Error::other("it is no file")));
    }
    let identity = Identity::of(&metadata);
    contents(&path, &metadata, identity, None).map_err(failed())
}

fn contents(
    path: &Path,
    metadata: &Metadata,
    identity: Identity,
    keeps: Option<Arc<tempfile::TempDir>>,
) -> io::Result<Contents> {
    let size = metadata.size();
    let whole = 0..size;
    let data = if metadata.blocks().saturating_mul(SECTOR) < size {
        sparse::data(&File::open(path)?).collect::<io::Result<_>>()?
    } else {
        vec![whole]
    };
    // It may have become longer since it was looked at.
    let data = data.into_iter().map(|data| data.start..data.end.min(size));
    let extents = data.filter(|data| !data.is_empty()).map(|data| Extent {
        at: data.start,
        length: data.end - data.start,
        offset: data.start,
    });
    let file = HostFile {
        path: path.to_owned(),
        identity,
        keeps,
    };
    Ok(Contents::host(size, extents.collect(), Arc::new(file)))
}

fn changed(path: &Path) -> ImageError {
    ImageError::Changed {
        path: path.to_owned(),
    }
}

fn attributes(path: &Path, metadata: &Metadata) -> Result<Attributes, ImageError> {
    let mut attributes = Attributes {
        // Of 32 bits; the upper say what it is.
        mode: (metadata.mode() & 0o7777) as u16,
        uid: metadata.uid(),
        gid: metadata.gid(),
        modified: Time {
            seconds: metadata.mtime(),
            nanoseconds: u32::try_from(metadata.mtime_nsec()).unwrap_or_default(),
        },
        ..Attributes::default()
    };
    let failed = || ImageError::file(path, "its extended attributes cannot be read");
    for name in names(path).map_err(failed())? {
        if KEPT.iter().any(|kept| name.starts_with(kept)) {
            let called = OsStr::from_bytes(&name);
            let value = sized(
                || rustix::fs::lgetxattr_query(path, called),
                |buffer| rustix::fs::lgetxattr(path, called, buffer),
            );
            match value {
                // It was removed meanwhile, which its file's time tells.
                Err(Errno::NODATA) => {}
                value => {
                    let value = value.map_err(io::Error::from).map_err(failed())?;
                    attributes.xattrs.insert(name.into(), value.into());
                }
            }
        }
    }
    Ok(attributes)
}

fn names(path: &Path) -> io::Result<Vec<Vec<u8>>> {
    let list = sized(
        || rustix::fs::llistxattr_query(path),
        |buffer| rustix::fs::llistxattr(path, buffer),
    );
    let list = match list {
        // A file system without any.
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        list => list?,
    };
    let names = list
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty());
    Ok(names.map(<[u8]>::to_vec).collect())
}

/// What a call gives whose size must be asked for first.
fn sized(
    size: impl Fn() -> rustix::io::Result<usize>,
    get: impl Fn(&mut [u8]) -> rustix::io::Result<usize>,
) -> rustix::io::Result<Vec<u8>> {
    for _ in 0..ATTEMPTS {
        let mut buffer = vec![0; size()?];
        if buffer.is_empty() {
            return Ok(buffer);
        }
        match get(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            Err(Errno::RANGE) => {}
            Err(error) => return Err(error),
        }
    }
    Err(Errno::RANGE)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::tree::shown;

    fn made() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir(at("sub")).unwrap();
        fs::write(at("sub/file"), "text").unwrap();
        fs::set_permissions(at("sub/file"), fs::Permissions::from_mode(0o4751)).unwrap();
        fs::hard_link(at("sub/file"), at("again")).unwrap();
        symlink("/no/where", at("link")).unwrap();
        nix::unistd::mkfifo(&at("pipe"), nix::sys::stat::Mode::S_IRUSR).unwrap();
        UnixListener::bind(at("socket")).unwrap();
        directory
    }

    #[test]
    fn a_directory_becomes_a_tree() {
        let directory = made();
        let tree = super::directory(directory.path()).unwrap();
        let paths: Vec<_> = tree.walk().map(|visit| shown(&visit.path)).collect();
        assert_eq!(
            paths,
            ["", "again", "link", "pipe", "sub", "sub/file"],
            "and no socket"
        );
        let file = tree.get("sub/file").unwrap();
        let metadata = directory.path().join("again").metadata().unwrap();
        assert_eq!(file.attributes.mode, 0o4751);
        assert_eq!(file.attributes.uid, metadata.uid());
        assert_eq!(file.attributes.modified.seconds, metadata.mtime());
        assert_eq!(file.contents().unwrap().read(10).unwrap(), b"text");
        assert_eq!(tree.find("again").unwrap(), tree.find("sub/file").unwrap());
        let link = tree.node(tree.find("link").unwrap().unwrap());
        assert!(matches!(&link.kind, Kind::Symlink(target) if **target == *b"/no/where"));
    }

    #[test]
    fn attributes_of_the_image_are_kept() {
        let directory = made();
        let path = directory.path().join("sub/file");
        let set =
            rustix::fs::setxattr(&path, "user.kept", b"\0\n", rustix::fs::XattrFlags::empty());
        if let Err(error) = set {
            return eprintln!("SKIPPED: the file system keeps no extended attributes: {error}");
        }
        let tree = super::directory(directory.path()).unwrap();
        let xattrs = &tree.get("again").unwrap().attributes.xattrs;
        assert_eq!(
            xattrs.get(&b"user.kept"[..]).map(|value| &**value),
            Some(&b"\0\n"[..])
        );
    }

    #[test]
    fn holes_stay_holes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sparse");
        let file = File::create(&path).unwrap();
        file.set_len(1 << 30).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, b"x", 1 << 20).unwrap();
        let tree = super::directory(directory.path()).unwrap();
        let contents = tree.get("sparse").unwrap().contents().unwrap();
        let bytes: u64 = contents.data().map(|range| range.end - range.start).sum();
        assert_eq!(contents.len(), 1 << 30);
        if bytes == contents.len() {
            return eprintln!("SKIPPED: the file system has no holes");
        }
        assert!((1..=1 << 21).contains(&bytes), "{bytes}");
        assert!(contents.data().any(|range| range.contains(&(1 << 20))));
    }

    #[test]
    fn what_changes_or_goes_is_an_error() {
        let directory = made();
        let tree = super::directory(directory.path()).unwrap();
        let contents = tree.get("sub/file").unwrap().contents().unwrap();
        fs::write(directory.path().join("again"), "other").unwrap();
        assert!(
            contents
                .read(10)
                .unwrap_err()
                .to_string()
                .contains("changed while")
        );
        let path = directory.path().join("missing");
        assert!(
            super::directory(&path)
                .unwrap_err()
                .to_string()
                .contains("missing")
        );
        assert!(
            super::directory(&directory.path().join("again")).is_err(),
            "a file"
        );
    }

    #[test]
    fn a_temporary_directory_lives_as_long_as_its_contents() {
        let directory = made();
        let path = directory.path().to_owned();
        let tree = temporary(directory, Path::new("sub")).unwrap();
        let contents = tree.get("file").unwrap().contents().unwrap().clone();
        drop(tree);
        assert_eq!(contents.read(10).unwrap(), b"text");
        drop(contents);
        assert!(!path.exists());
    }
}

//! A tree written into a directory of the host.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};

use super::{Attributes, Device, Kind, Node, NodeId, Tree, Visit};
use crate::error::ImageError;
use crate::progress::Progress;
use crate::progress::Step;

/// Whose what is written becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owners {
    /// As the tree says, with all attributes, and devices: this needs root.
    Kept,
    /// The writer's own, with nothing but the contents; devices and pipes are left out.
    Writer,
}

impl Tree {
    /// Write what is below a path of the tree (`""` is all) into an empty directory. Names of one
    /// file stay names of one file.
    ///
    /// # Errors
    /// The disk is full, contents cannot be read, and with [`Owners::Kept`] rights are missing.
    pub(crate) fn materialise(
        &self,
        below: &str,
        directory: &Path,
        owners: Owners,
        progress: &mut dyn FnMut(Step),
    ) -> Result<(), ImageError> {
        let mut writer = Writer {
            directory,
            owners,
            first_names: HashMap::new(),
        };
        let total = if below.is_empty() { self.bytes() } else { 0 };
        let mut progress = Progress::new("unpacking the system".to_owned(), total, progress);
        let mut done = 0;
        let mut directories = Vec::new();
        for visit in self.walk() {
            let Some(place) = writer.place(&visit, below) else {
                continue;
            };
            progress.at(done);
            done += visit.node.contents().map_or(0, super::Contents::len);
            writer.write(&visit, &place)?;
            if visit.node.is_directory() {
                directories.push((place, visit.node));
            }
        }
        // What is put into a directory changes its time, and its mode may keep its owner out.
        for (place, node) in directories.into_iter().rev() {
            writer.finish(&place, node)?;
        }
        Ok(())
    }
}

struct Writer<'a> {
    directory: &'a Path,
    owners: Owners,
    first_names: HashMap<NodeId, PathBuf>,
}

impl Writer<'_> {
    fn place(&self, visit: &Visit<'_>, below: &str) -> Option<PathBuf> {
        let relative = if below.is_empty() {
            &*visit.path
        } else {
            let rest = visit.path.strip_prefix(below.as_bytes())?;
            if !rest.is_empty() && rest[0] != b'/' {
                return None;
            }
            rest.strip_prefix(b"/").unwrap_or(rest)
        };
        // Joining an empty path would end it with a slash.
        if relative.is_empty() {
            return Some(self.directory.to_owned());
        }
        Some(self.directory.join(std::ffi::OsStr::from_bytes(relative)))
    }

    fn write(&mut self, visit: &Visit<'_>, place: &Path) -> Result<(), ImageError> {
        let failed = || ImageError::file(place, "it cannot be written");
        let node = visit.node;
        if let Some(first) = self.first_names.get(&visit.id) {
            return fs::hard_link(first, place).map_err(failed());
        }
        match &node.kind {
            Kind::Directory(_) if place == self.directory => return Ok(()),
            Kind::Directory(_) => {
                let made = fs::DirBuilder::new().mode(0o700).create(place);
                return made.map_err(failed());
            }
            Kind::File(contents) => {
                let mut options = File::options();
                let file = options.write(true).create_new(true).mode(0o600).open(place);
                let file = file.map_err(failed())?;
                file.set_len(contents.len()).map_err(failed())?;
                let copied = contents.open().and_then(|opened| {
                    opened.copy(&(0..contents.len()), &file, 0)?;
                    opened.close()
                });
                copied.map_err(failed())?;
            }
            Kind::Symlink(target) => {
                let target = std::ffi::OsStr::from_bytes(target);
                symlink(target, place).map_err(failed())?;
            }
            Kind::Character(_) | Kind::Block(_) | Kind::Pipe if self.owners == Owners::Writer => {
                return Ok(());
            }
            Kind::Character(device) => {
                special(place, FileType::CharacterDevice, Some(device)).map_err(failed())?;
            }
            Kind::Block(device) => {
                special(place, FileType::BlockDevice, Some(device)).map_err(failed())?;
            }
            Kind::Pipe => special(place, FileType::Fifo, None).map_err(failed())?,
        }
        self.first_names.insert(visit.id, place.to_owned());
        self.finish(place, node)
    }

    /// Owner, mode, attributes and time.
    fn finish(&self, place: &Path, node: &Node) -> Result<(), ImageError> {
        match self.owners {
            Owners::Writer => Ok(()),
            Owners::Kept => attributes(place, node)
                .map_err(ImageError::file(place, "its owner and mode cannot be set")),
        }
    }
}

fn special(place: &Path, kind: FileType, device: Option<&Device>) -> io::Result<()> {
    let device = device.map_or(0, |device| rustix::fs::makedev(device.major, device.minor));
    Ok(rustix::fs::mknodat(CWD, place, kind, Mode::RUSR, device)?)
}

fn attributes(place: &Path, node: &Node) -> io::Result<()> {
    let Attributes {
        mode,
        uid,
        gid,
        modified,
        xattrs,
    } = &node.attributes;
    let owner = (Uid::from_raw(*uid), Gid::from_raw(*gid));
    let no_follow = AtFlags::SYMLINK_NOFOLLOW;
    // The owner first: a change takes set-user-ID and capabilities away.
    rustix::fs::chownat(CWD, place, Some(owner.0), Some(owner.1), no_follow)?;
    if !matches!(node.kind, Kind::Symlink(_)) {
        let mode = Mode::from_raw_mode((*mode).into());
        rustix::fs::chmodat(CWD, place, mode, AtFlags::empty())?;
    }
    for (name, value) in xattrs {
        let name = std::ffi::OsStr::from_bytes(name);
        rustix::fs::lsetxattr(place, name, value, XattrFlags::empty())?;
    }
    let time = Timespec {
        tv_sec: modified.seconds,
        tv_nsec: modified.nanoseconds.into(),
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    Ok(rustix::fs::utimensat(CWD, place, &times, no_follow)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Time;

    fn tree() -> Tree {
        let mut tree = Tree::new();
        let time = Attributes {
            mode: 0o4511,
            uid: 12,
            gid: 34,
            modified: Time {
                seconds: 1_000_000,
                nanoseconds: 7,
            },
            xattrs: [(b"user.a"[..].into(), b"b"[..].into())].into(),
        };
        let mut put = |path: &str, node: Node| tree.insert(path, node).unwrap();
        put("usr/bin/su", Node::file(0, "program").with(time.clone()));
        put(
            "usr/closed",
            Node::directory(0).with(Attributes {
                mode: 0o500,
                ..time.clone()
            }),
        );
        put("usr/closed/file", Node::file(0o600, ""));
        put("link", Node::symlink("/nowhere").owned(5, 6));
        put("dev/null", Node::character(0o666, 1, 3));
        put("dev/disk", Node::block(0o660, 8, 1));
        put("pipe", Node::pipe(0o644));
        tree.link("usr/bin/same", "usr/bin/su").unwrap();
        tree
    }

    fn listed(tree: &Tree) -> Vec<String> {
        let visits = tree.walk().map(|visit| {
            let Visit { path, id, node } = visit;
            // Sizes of directories and the like are not compared.
            let contents = node.contents().map(|contents| contents.read(100).unwrap());
            let kind = match &node.kind {
                Kind::Directory(_) => "directory".to_owned(),
                Kind::File(_) => format!("{contents:?}"),
                other => format!("{other:?}"),
            };
            format!(
                "{:?} {kind} {:?} {}",
                super::super::shown(&path),
                node.attributes,
                tree.links(id)
            )
        });
        visits.collect()
    }

    #[test]
    fn what_is_written_is_what_is_read_back() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: only root may give files to others");
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let written = tree().materialise("", directory.path(), Owners::Kept, &mut |_| {});
        written.unwrap();
        let read = crate::source::directory(directory.path()).unwrap();
        assert_eq!(listed(&read), listed(&tree()));
    }

    #[test]
    fn a_part_is_written_as_the_writers_own() {
        let directory = tempfile::tempdir().unwrap();
        let written = tree().materialise("usr", directory.path(), Owners::Writer, &mut |_| {});
        written.unwrap();
        let read = crate::source::directory(directory.path()).unwrap();
        let paths: Vec<_> = read
            .walk()
            .map(|visit| super::super::shown(&visit.path))
            .collect();
        assert_eq!(
            paths,
            ["", "bin", "bin/same", "bin/su", "closed", "closed/file"]
        );
        let own = nix::unistd::geteuid().as_raw();
        assert!(read.walk().all(|visit| visit.node.attributes.uid == own));
    }
}

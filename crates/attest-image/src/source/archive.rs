//! A tar archive of the host as a source, compressed or not.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use super::meter::{Counted, Told};
use super::tar::{Plain, TarError, unpack};
use crate::error::ImageError;
use crate::packing::Packing;
use crate::progress::{Progress, Step};
use crate::tree::{HostFile, Identity, Position, Spool, Tree};
use crate::unpacking;

/// Bytes that are read at once.
const BUFFER: usize = 128 * 1024;

/// Read an archive: plain, or compressed with gzip, xz or zstd. Contents of a plain one are read
/// from it when they are needed, and it may not change until then; those of a compressed one are
/// kept in `directory`. `progress` hears how far it is.
///
/// # Errors
/// The archive cannot be read, is damaged or makes no sense, or the disk is full.
pub fn archive(
    path: &Path,
    directory: &Path,
    progress: &mut dyn FnMut(Step),
) -> Result<Tree, ImageError> {
    let failed = || ImageError::file(path, "the archive cannot be read");
    let path = path.canonicalize().map_err(failed())?;
    let file = File::open(&path).map_err(failed())?;
    let metadata = file.metadata().map_err(failed())?;
    if !metadata.is_file() {
        return Err(failed()(io::Error::other("it is no file")));
    }
    let identity = Identity::of(&metadata);
    let mut start = Vec::new();
    (&file).take(6).read_to_end(&mut start).map_err(failed())?;
    io::Seek::rewind(&mut &file).map_err(failed())?;
    let position = Position::default();
    let what = format!("reading {}", path.display());
    let mut progress = Progress::new(what, metadata.len(), progress);
    let file = Counted {
        reader: BufReader::with_capacity(BUFFER, Told::new(file, 0, &mut progress)),
        position: Rc::clone(&position),
    };
    let mut tree = Tree::new();
    let into = &mut Plain(&mut tree);
    let read = if Packing::of(&start).is_none() {
        let host = HostFile {
            path: path.clone(),
            identity,
            keeps: None,
        };
        unpack(file, into, &mut Spool::over(Arc::new(host), position))
    } else {
        let stream = unpacking::plain(file);
        let stream = stream.map_err(|source| TarError::Stream {
            last: Vec::new(),
            source,
        });
        let mut spool = Spool::new(directory)?;
        stream.and_then(|stream| unpack(stream, into, &mut spool))
    };
    read.map_err(failure(&path.display().to_string(), directory))?;
    let now = path.metadata().map_err(failed())?;
    if Identity::of(&now) != identity {
        return Err(ImageError::Changed { path });
    }
    Ok(tree)
}

/// The error of an archive; a full disk has its own.
pub(super) fn failure(archive: &str, directory: &Path) -> impl FnOnce(TarError) -> ImageError {
    move |error| match error {
        TarError::Spool { source, .. }
            if matches!(
                source.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            ) =>
        {
            ImageError::file(directory, "the archive cannot be unpacked")(source)
        }
        source => ImageError::Archive {
            archive: archive.to_owned(),
            source,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packing::tests::{gzip, xz, zstd};

    fn tar() -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for name in ["a", "b/c"] {
            let mut header = tar::Header::new_gnu();
            header.set_size(name.len() as u64);
            header.set_mode(0o644);
            builder
                .append_data(&mut header, name, name.as_bytes())
                .unwrap();
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn archives_are_read_whatever_packed_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("root.tar");
        for bytes in [tar(), gzip(&tar()), xz(&tar()), zstd(&tar())] {
            std::fs::write(&path, &bytes).unwrap();
            let mut steps = Vec::new();
            let tree = archive(&path, directory.path(), &mut |step| steps.push(step)).unwrap();
            let contents =
                |path: &str| tree.get(path).unwrap().contents().unwrap().read(9).unwrap();
            assert_eq!(
                (contents("a"), contents("b/c")),
                (b"a".to_vec(), b"b/c".to_vec())
            );
            let last = steps.last().unwrap().bytes.unwrap();
            assert_eq!(
                (last.done, last.total),
                (bytes.len() as u64, bytes.len() as u64)
            );
        }
    }

    #[test]
    fn a_plain_archive_may_not_change_until_it_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("root.tar");
        std::fs::write(&path, tar()).unwrap();
        let tree = archive(&path, directory.path(), &mut |_| {}).unwrap();
        std::fs::write(&path, [0; 4096]).unwrap();
        let error = tree
            .get("a")
            .unwrap()
            .contents()
            .unwrap()
            .read(9)
            .unwrap_err();
        assert!(error.to_string().contains("changed"), "{error}");
    }

    #[test]
    fn what_is_wrong_names_the_archive_and_the_entry() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("root.tar");
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            archive(&path, directory.path(), &mut |_| {}).unwrap_err()
        };
        for (bytes, cause) in [
            (tar()[..1600].to_vec(), "cut short, after `b/c`"),
            (gzip(&tar()[..1600]), "cut short, after `b/c`"),
            (gzip(&tar())[..40].to_vec(), "cut short"),
            (b"BZh91AY&SY".to_vec(), "cannot be read"),
            (b"#!/bin/sh".to_vec(), "cut short"),
        ] {
            let error = read(&bytes);
            let source = std::error::Error::source(&error).unwrap().to_string();
            assert!(
                error.to_string().contains("root.tar") && source.contains(cause),
                "{error}: {source}"
            );
        }
        let missing = archive(
            &directory.path().join("none"),
            directory.path(),
            &mut |_| {},
        );
        assert!(missing.unwrap_err().to_string().contains("none"));
    }
}

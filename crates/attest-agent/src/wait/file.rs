//! Files: appear, vanish, come to match.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use attest_protocol::message::Failure;
use nix::sys::statfs::{PROC_SUPER_MAGIC, SYSFS_MAGIC, statfs};

use super::backoff::Backoff;
use super::watch::Watch;
use super::{Seen, regex};
use crate::failure::os;

/// Bytes at the end of a file in which a match is looked for: a log may be larger than memory.
const LOOKED_AT: u64 = 4 * 1024 * 1024;
/// Bytes of a file that a failure shows.
const SHOWN: usize = 200;
/// Where the kernel makes no events for changes.
const SILENT: (Duration, Duration) = (Duration::from_millis(4), Duration::from_millis(50));

pub(super) async fn exists(path: &[u8], seen: &Seen) -> Result<(), Failure> {
    until(path, |path| {
        let there = fs::metadata(path).is_ok();
        if !there {
            seen.set(absence(path));
        }
        there
    })
    .await
}

pub(super) async fn vanished(path: &[u8], seen: &Seen) -> Result<(), Failure> {
    until(path, |path| {
        let there = fs::symlink_metadata(path);
        if let Ok(file) = &there {
            seen.set(format!(
                "{} is there, with {} bytes",
                path.display(),
                file.len()
            ));
        }
        there.is_err()
    })
    .await
}

pub(super) async fn matches(path: &[u8], pattern: &str, seen: &Seen) -> Result<(), Failure> {
    let regex = regex(pattern)?;
    until(path, |path| {
        if let Ok((text, size)) = end_of(path) {
            let found = regex.is_match(&text);
            if !found {
                let end = String::from_utf8_lossy(&text[text.len().saturating_sub(SHOWN)..])
                    .trim_end()
                    .to_owned();
                seen.set(format!(
                    "{} has {size} bytes and no match; it ends: {end}",
                    path.display()
                ));
            }
            found
        } else {
            seen.set(absence(path));
            false
        }
    })
    .await
}

/// Which part of a path is missing.
fn absence(path: &Path) -> String {
    match nearest(path) {
        Some(parent) if Some(parent.as_path()) != path.parent() => {
            format!(
                "{} does not exist; of its directories, {} is the last that does",
                path.display(),
                parent.display()
            )
        }
        _ => format!("{} does not exist", path.display()),
    }
}

fn end_of(path: &Path) -> io::Result<(Vec<u8>, u64)> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.size();
    file.seek(SeekFrom::Start(size.saturating_sub(LOOKED_AT)))?;
    let mut text = Vec::new();
    file.take(LOOKED_AT).read_to_end(&mut text)?;
    Ok((text, size))
}

/// Look, arm, and look again at every change around the path.
async fn until(path: &[u8], look: impl Fn(&Path) -> bool) -> Result<(), Failure> {
    let path = Path::new(OsStr::from_bytes(path));
    let failed = |error: io::Error| os(format!("{} cannot be watched", path.display()), &error);
    let mut backoff = Backoff::new(SILENT.0, SILENT.1);
    let watch = Watch::new().map_err(failed)?;
    loop {
        if look(path) {
            return Ok(());
        }
        if is_silent(path) {
            backoff.pause().await;
            continue;
        }
        arm(&watch, path).map_err(failed)?;
        // It may have happened before the watch was armed.
        if look(path) {
            return Ok(());
        }
        watch.changed().await.map_err(failed)?;
    }
}

/// Watch every place whose change can change the answer: the file, its nearest directory, and
/// the same of whatever links lead to.
fn arm(watch: &Watch, path: &Path) -> io::Result<()> {
    let mut path = path.to_owned();
    // As many links as the kernel follows.
    for _ in 0..40 {
        if let Some(directory) = nearest(&path) {
            ignore_missing(watch.add(&directory))?;
        }
        ignore_missing(watch.add(&path))?;
        let Ok(target) = fs::read_link(&path) else {
            return Ok(());
        };
        path = path.parent().unwrap_or(Path::new("/")).join(target);
    }
    Ok(())
}

fn ignore_missing(armed: io::Result<()>) -> io::Result<()> {
    match armed {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(())
        }
        other => other,
    }
}

/// The deepest directory above a path that exists.
fn nearest(path: &Path) -> Option<PathBuf> {
    path.ancestors()
        .skip(1)
        .find(|directory| directory.is_dir())
        .map(Path::to_owned)
}

/// Whether the path is on a file system whose files change without an event.
fn is_silent(path: &Path) -> bool {
    let place = nearest(path);
    let kind = place
        .and_then(|place| statfs(&place).ok())
        .map(|system| system.filesystem_type());
    kind.is_some_and(|kind| [PROC_SUPER_MAGIC, SYSFS_MAGIC].contains(&kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(path: &Path) -> &[u8] {
        path.as_os_str().as_bytes()
    }

    /// Poll the wait once, so that it is armed; act; then it must come to its end.
    async fn ends_after<F: Future<Output = Result<(), Failure>>>(wait: F, act: impl FnOnce()) {
        tokio::pin!(wait);
        assert!(
            futures_poll(&mut wait).await.is_none(),
            "it must not hold yet"
        );
        act();
        wait.await.unwrap();
    }

    async fn futures_poll<F: Future + Unpin>(wait: &mut F) -> Option<F::Output> {
        tokio::select! {
            biased;
            output = wait => Some(output),
            () = std::future::ready(()) => None,
        }
    }

    #[tokio::test]
    async fn a_file_appears_below_directories_that_do_not_exist() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b/c");
        let seen = Seen::default();
        ends_after(exists(bytes(&path), &seen), || {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "").unwrap();
        })
        .await;
        let text = seen.get().unwrap();
        assert!(
            text.contains("a/b/c does not exist; of its directories"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn a_file_is_renamed_into_place_or_linked_to() {
        let directory = tempfile::tempdir().unwrap();
        let (path, other) = (
            directory.path().join("file"),
            directory.path().join("other"),
        );
        fs::write(&other, "").unwrap();
        ends_after(exists(bytes(&path), &Seen::default()), || {
            fs::rename(&other, &path).unwrap();
        })
        .await;
        let link = directory.path().join("link");
        std::os::unix::fs::symlink("elsewhere/target", &link).unwrap();
        ends_after(exists(bytes(&link), &Seen::default()), || {
            fs::create_dir(directory.path().join("elsewhere")).unwrap();
            fs::write(directory.path().join("elsewhere/target"), "").unwrap();
        })
        .await;
    }

    #[tokio::test]
    async fn a_file_vanishes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "12").unwrap();
        let seen = Seen::default();
        ends_after(vanished(bytes(&path), &seen), || {
            fs::remove_file(&path).unwrap();
        })
        .await;
        assert!(seen.get().unwrap().ends_with("file is there, with 2 bytes"));
    }

    #[tokio::test]
    async fn a_growing_file_comes_to_match() {
        use std::io::Write;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut log = File::create(&path).unwrap();
        log.write_all(b"starting\nrea").unwrap();
        let seen = Seen::default();
        ends_after(matches(bytes(&path), "ready: \\d+", &seen), || {
            log.write_all(b"dy: 42\n").unwrap();
        })
        .await;
        assert!(
            seen.get()
                .unwrap()
                .ends_with("has 12 bytes and no match; it ends: starting\nrea")
        );
    }
}

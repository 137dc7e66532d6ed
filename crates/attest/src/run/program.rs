//! The digest of a program's file, by which its set-ups are known: the file is read once, and not by every process that
//! it becomes.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::images::default_place;

/// In the cache directory: what is known of files, the last that was found out first.
const MEMO: &str = "programs.json";
/// Of so many: those of a workspace's tests, and of a few builds of them.
const MOST: usize = 64;
/// What was changed later than this may change once more without another time: file systems have coarse clocks, the
/// coarsest of two seconds.
const SETTLED: Duration = Duration::from_secs(2);

/// A file as it was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    device: u64,
    inode: u64,
    length: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    changed: (i64, i64),
    digest: String,
}

/// Of the program that runs, also where there is another file in its place by now: 32 hexadecimal digits.
pub(super) fn digest() -> &'static str {
    static DIGEST: OnceLock<String> = OnceLock::new();
    DIGEST.get_or_init(|| {
        let found = File::open("/proc/self/exe").and_then(|file| find(&file, default_place()));
        // One that may not be read is like no other.
        found.unwrap_or_else(|_| format!("{} {:?}", std::process::id(), SystemTime::now()))
    })
}

fn find(file: &File, directory: Option<impl AsRef<Path>>) -> io::Result<String> {
    let metadata = file.metadata()?;
    let with = |digest: String| Known {
        device: metadata.dev(),
        inode: metadata.ino(),
        length: metadata.len(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
        digest,
    };
    let known = directory.as_ref().map(|directory| read(directory.as_ref()));
    let known = known.unwrap_or_default();
    let same = known
        .iter()
        .find(|known| **known == with(known.digest.clone()));
    if let Some(same) = same {
        return Ok(same.digest.clone());
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file)?;
    let digest = hasher.finalize().to_hex()[..32].to_owned();
    if let Some(directory) = directory
        && is_settled(&metadata)
    {
        let all = [with(digest.clone())].into_iter().chain(known);
        // Without a memo it is only read again; and so is one that two write at once.
        let _ = write(directory.as_ref(), &all.take(MOST).collect::<Vec<_>>());
    }
    Ok(digest)
}

fn is_settled(metadata: &fs::Metadata) -> bool {
    let modified = metadata.modified().ok();
    let age = modified.and_then(|modified| modified.elapsed().ok());
    age.is_some_and(|age| age > SETTLED)
}

fn read(directory: &Path) -> Vec<Known> {
    let text = fs::read(directory.join(MEMO)).ok();
    let known = text.and_then(|text| serde_json::from_slice(&text).ok());
    known.unwrap_or_default()
}

/// In one piece: others may read it.
fn write(directory: &Path, known: &[Known]) -> io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(&serde_json::to_vec(known)?)?;
    file.persist(directory.join(MEMO))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(directory: &Path, contents: &str, age: Duration) -> File {
        let path = directory.join("program");
        fs::write(&path, contents).unwrap();
        let file = File::open(path).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
        file
    }

    fn of(contents: &str) -> String {
        blake3::hash(contents.as_bytes()).to_hex()[..32].to_owned()
    }

    #[test]
    fn a_file_is_read_until_it_is_known() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        let hour = Duration::from_hours(1);
        let one = program(directory, "one", hour);
        assert_eq!(find(&one, Some(directory)).unwrap(), of("one"));
        // It is what the memo says that is told.
        let mut known = read(directory);
        known[0].digest = "remembered".to_owned();
        write(directory, &known).unwrap();
        let found = |file: &File| find(file, Some(directory)).unwrap();
        assert_eq!(found(&one), "remembered");
        let two = program(directory, "two", 2 * hour);
        assert_eq!(found(&two), of("two"));
        assert_eq!(read(directory).len(), 2);
        // One that may still change is not remembered.
        let three = program(directory, "three", Duration::ZERO);
        assert_eq!(found(&three), of("three"));
        assert_eq!(read(directory).len(), 2);
        fs::write(directory.join(MEMO), "{").unwrap();
        assert_eq!(found(&program(directory, "four", hour)), of("four"));
    }
}

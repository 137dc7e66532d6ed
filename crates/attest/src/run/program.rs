//! The digest of a program's file, by which its set-ups are known: the file is read once, and not by every process that
//! it becomes.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::OnceLock;
use std::time::SystemTime;

use attest_image::Identity;
use serde::{Deserialize, Serialize};

use crate::images::default_place;

/// In the cache directory: what is known of files, the last that was found out first.
const MEMO: &str = "programs.json";
/// Of so many: those of a workspace's tests, and of a few builds of them.
const MOST: usize = 64;

/// A file as it was read.
#[derive(Debug, Serialize, Deserialize)]
struct Known {
    identity: Identity,
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
    let identity = Identity::of(&file.metadata()?);
    let known = directory.as_ref().map(|directory| read(directory.as_ref()));
    let known = known.unwrap_or_default();
    let same = known
        .iter()
        .find(|known| known.identity.holds_for(&identity));
    if let Some(same) = same {
        return Ok(same.digest.clone());
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file)?;
    let digest = hasher.finalize().to_hex()[..32].to_owned();
    if let Some(directory) = directory
        // One of which a change would not show is read again.
        && identity.holds_for(&identity)
    {
        let new = Known {
            identity,
            digest: digest.clone(),
        };
        let all = [new].into_iter().chain(known);
        // Without a memo it is only read again; and so is one that two write at once.
        let _ = write(directory.as_ref(), &all.take(MOST).collect::<Vec<_>>());
    }
    Ok(digest)
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

    fn program(directory: &Path, contents: &str) -> File {
        let path = directory.join("program");
        fs::write(&path, contents).unwrap();
        let file = File::open(path).unwrap();
        // The clock of time stamps ticks; until it has, a change does not show.
        loop {
            let identity = Identity::of(&file.metadata().unwrap());
            if identity.holds_for(&identity) {
                return file;
            }
        }
    }

    fn of(contents: &str) -> String {
        blake3::hash(contents.as_bytes()).to_hex()[..32].to_owned()
    }

    #[test]
    fn a_file_is_read_until_it_is_known() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        let found = |file: &File| find(file, Some(directory)).unwrap();
        let one = program(directory, "one");
        assert_eq!(found(&one), of("one"));
        // It is what the memo says that is told.
        let mut known = read(directory);
        known[0].digest = "remembered".to_owned();
        write(directory, &known).unwrap();
        assert_eq!(found(&one), "remembered");
        assert_eq!(found(&program(directory, "two")), of("two"));
        assert_eq!(read(directory).len(), 2);
        fs::write(directory.join(MEMO), "{").unwrap();
        assert_eq!(found(&program(directory, "three")), of("three"));
        assert_eq!(read(directory).len(), 1);
        let nowhere = find(&program(directory, "four"), None::<&Path>);
        assert_eq!(nowhere.unwrap(), of("four"));
    }
}

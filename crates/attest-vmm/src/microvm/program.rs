//! What is known of a program, without asking it each time.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Memo<T> {
    path: PathBuf,
    size: u64,
    modified: (i64, i64),
    known: Option<T>,
}

/// What a program says of itself. Asking costs milliseconds, so that it is remembered in the file `memo`, for as long
/// as the program's file is the same.
pub(crate) fn remembered<T>(
    program: &Path,
    memo: &Path,
    ask: impl FnOnce(&Path) -> Option<T>,
) -> Option<T>
where
    T: Serialize + DeserializeOwned,
{
    let file = fs::metadata(program).ok()?;
    let modified = (file.mtime(), file.mtime_nsec());
    let before = fs::read(memo).ok();
    let before = before.and_then(|text| serde_json::from_slice::<Memo<T>>(&text).ok());
    if let Some(before) = before
        && (before.path.as_path(), before.size, before.modified) == (program, file.size(), modified)
    {
        return before.known;
    }
    let asked = Memo {
        path: program.to_owned(),
        size: file.size(),
        modified,
        known: ask(program),
    };
    if let Ok(text) = serde_json::to_vec(&asked) {
        // Without a memo it is only asked again.
        let _ = fs::write(memo, text);
    }
    asked.known
}

/// What a program prints when it is asked with this option.
pub(crate) fn says(program: &Path, option: &str) -> Option<String> {
    let output = Command::new(program)
        .arg(option)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A version of three numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Version {
    /// The first.
    pub major: u32,
    /// The second.
    pub minor: u32,
    /// The third.
    pub patch: u32,
}

impl Version {
    /// From its numbers.
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self {
            major,
            minor,
            patch,
        }
    }

    /// The first that follows a `v`; a third number may be missing.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        text.match_indices('v').find_map(|(at, _)| {
            let mut numbers = text[at + 1..]
                .split(|c: char| !c.is_ascii_digit())
                .map(str::parse);
            let mut number = || numbers.next()?.ok();
            let (major, minor) = (number()?, number()?);
            Some(Self::new(major, minor, number().unwrap_or(0)))
        })
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// Whether a program needs no other file to run: an ELF without an interpreter.
pub(crate) fn is_static(program: &Path) -> bool {
    /// Linkers put the table of segments at the start.
    const TABLE: u64 = 4096;
    let mut bytes = Vec::new();
    let read = File::open(program).and_then(|file| file.take(TABLE).read_to_end(&mut bytes));
    read.is_ok() && has_interpreter(&bytes) == Some(false)
}

/// Whether an ELF of 64 bits names an interpreter (elf(5): `PT_INTERP`); `None` when it is no such ELF.
fn has_interpreter(elf: &[u8]) -> Option<bool> {
    /// The type of a segment that names the interpreter.
    const PT_INTERP: u32 = 3;
    let number = |at: usize, bytes: usize| -> Option<u64> {
        let mut whole = [0; 8];
        whole[..bytes].copy_from_slice(elf.get(at..at.checked_add(bytes)?)?);
        Some(u64::from_le_bytes(whole))
    };
    if !elf.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let table = usize::try_from(number(32, 8)?).ok()?;
    let (size, count) = (number(54, 2)?, number(56, 2)?);
    for index in 0..count {
        let at = table.checked_add(usize::try_from(index * size).ok()?)?;
        if number(at, 4)? == u64::from(PT_INTERP) {
            return Some(true);
        }
    }
    Some(false)
}

/// A script that can be run. Another program writes it: one that is open here might be so in what another test starts
/// just then, and cannot be run.
#[cfg(test)]
pub(crate) fn script(path: &Path, text: &str) {
    let mut writing = Command::new("sh");
    writing.args(["-c", "printf %s \"$1\" > \"$0\" && chmod +x \"$0\""]);
    assert!(writing.arg(path).arg(text).status().unwrap().success());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        let version = |major, minor, patch| Some(Version::new(major, minor, patch));
        let cases = [
            ("Firecracker v1.12.1\n\nExiting.", version(1, 12, 1)),
            ("Firecracker v1.17.0-dev\n", version(1, 17, 0)),
            ("cloud-hypervisor v53.0-dirty\n", version(53, 0, 0)),
            ("cloud-hypervisor v41.0.0", version(41, 0, 0)),
            ("v11.0.0\n", version(11, 0, 0)),
            ("something else", None),
        ];
        for (text, expected) in cases {
            assert_eq!(Version::parse(text), expected, "{text}");
        }
    }

    #[test]
    fn static_programs_are_told_from_others() {
        let own = fs::read("/proc/self/exe").unwrap();
        assert_eq!(has_interpreter(&own), Some(true));
        assert_eq!(has_interpreter(b"#!/bin/sh\n"), None);
        assert_eq!(has_interpreter(&own[..60]), None);
        let mut none = own;
        // As many segments as a static program has that names none.
        none[56..58].copy_from_slice(&0_u16.to_le_bytes());
        assert_eq!(has_interpreter(&none), Some(false));
    }
}

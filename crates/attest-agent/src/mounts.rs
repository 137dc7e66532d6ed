//! The guest's mounts, of which `/proc/self/mountinfo` tells (proc(5)).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

/// Mount points of file systems that are on disks and can be written to.
pub(crate) fn on_disks() -> Vec<OsString> {
    let mounts = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    let lines = mounts.split(|byte| *byte == b'\n');
    lines.filter_map(on_disk).collect()
}

/// `36 35 98:0 / /mnt rw,noatime shared:1 - ext4 /dev/root rw,errors=continue`: the fifth word is the place; behind
/// the dash are the type, the source and the options of the file system.
fn on_disk(line: &[u8]) -> Option<OsString> {
    let mut words = line.split(|byte| *byte == b' ');
    let place = words.nth(4)?;
    let source = words.by_ref().skip_while(|word| *word != b"-").nth(2)?;
    let options = words.next()?;
    let writable = options
        .split(|byte| *byte == b',')
        .any(|word| word == b"rw");
    (source.starts_with(b"/dev/") && writable).then(|| OsString::from_vec(plain(place)))
}

/// The kernel writes blanks, line ends and backslashes as three octal digits.
fn plain(mut word: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(word.len());
    while let Some((&byte, rest)) = word.split_first() {
        word = rest;
        let octal = rest.get(..3).and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 8).ok()
        });
        match octal.filter(|_| byte == b'\\') {
            Some(byte) => {
                plain.push(byte);
                word = &rest[3..];
            }
            None => plain.push(byte),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_written_to_a_disk_counts() {
        let place = |line: &str| on_disk(line.as_bytes()).map(|place| place.into_string().unwrap());
        let cases = [
            (
                "36 35 98:0 / /mnt rw shared:1 master:2 - ext4 /dev/vdb rw,errors=continue",
                Some("/mnt"),
            ),
            (
                "36 35 98:0 / /a\\040b\\134 rw - xfs /dev/vdb rw",
                Some("/a b\\"),
            ),
            ("36 35 98:0 / /mnt ro - ext4 /dev/vdb ro", None),
            ("22 1 0:20 / /proc rw - proc proc rw", None),
            (
                "22 1 0:20 / / rw - overlay overlay rw,lowerdir=/dev/x",
                None,
            ),
            ("", None),
            ("36 35 98:0 / /mnt rw", None),
        ];
        for (line, expected) in cases {
            assert_eq!(place(line).as_deref(), expected, "{line}");
        }
    }
}

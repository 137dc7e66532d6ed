//! Paths of a tree: bytes with slashes, relative to its top whether they begin with one or not.

use super::error::TreeError;

/// Bytes of a name on every Linux file system.
const LONGEST_NAME: usize = 255;

/// A path for messages: what is not text or would move a cursor is escaped.
pub fn shown(path: &[u8]) -> String {
    let text = String::from_utf8_lossy(path);
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// The parts of a path; empty ones and `.` mean nothing.
pub(super) fn parts(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/')
        .filter(|part| !matches!(*part, b"" | b"."))
}

/// The parents and the name of something to be put or found; no name is the top's.
type Split<'a> = (Vec<&'a [u8]>, Option<&'a [u8]>);

/// Take a path apart.
pub(super) fn split(path: &[u8]) -> Result<Split<'_>, TreeError> {
    let mut parents: Vec<_> = parts(path).collect();
    let name = parents.pop();
    if name == Some(b"..") {
        return Err(TreeError::Name {
            path: path.into(),
            reason: "it ends with `..`",
        });
    }
    Ok((parents, name))
}

/// Whether a file can have this name.
pub(super) fn check(path: &[u8], name: &[u8]) -> Result<(), TreeError> {
    let refused = |reason| {
        Err(TreeError::Name {
            path: path.into(),
            reason,
        })
    };
    if name.len() > LONGEST_NAME {
        return refused("it has more than 255 bytes");
    }
    if name.contains(&0) {
        return refused("it has a NUL in it");
    }
    Ok(())
}

/// A path of these parts.
pub(super) fn join<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Box<[u8]> {
    let parts: Vec<_> = parts.into_iter().collect();
    parts.join(&b'/').into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_split_at_their_names() {
        let split = |path: &'static str| split(path.as_bytes()).unwrap();
        assert_eq!(
            split("/etc//./passwd"),
            (vec![&b"etc"[..]], Some(&b"passwd"[..]))
        );
        assert_eq!(split("./"), (vec![], None));
        assert_eq!(split("a/../b"), (vec![&b"a"[..], b".."], Some(&b"b"[..])));
        assert!(super::split(b"a/..").is_err());
    }

    #[test]
    fn what_is_shown_is_harmless() {
        assert_eq!(
            shown("a/\u{fc}\n\x1b[2J".as_bytes()),
            "a/\u{fc}\\n\\u{1b}[2J"
        );
        assert_eq!(shown(b"\xff"), "\u{fffd}");
    }

    #[test]
    fn impossible_names_are_refused() {
        assert!(check(b"", &[b'x'; 255]).is_ok());
        assert!(check(b"", &[b'x'; 256]).is_err());
        assert!(check(b"", b"a\0b").is_err());
    }
}

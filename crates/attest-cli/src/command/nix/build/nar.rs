//! Unpacking what `nix store dump-path` writes, the archive format of Nix (NAR): it comes through the same pipe from
//! every kind of store, also from those whose files are elsewhere.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::Path;

use std::ffi::OsStr;

/// Names and tokens are not longer; paths of links neither. (PATH_MAX.)
const LONGEST: u64 = 4096;
/// Directories within each other.
const DEEPEST: usize = 128;

/// An archive that cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub(super) enum NarError {
    #[error("it ended in its midst")]
    Read(#[source] io::Error),
    #[error("it is no archive of Nix: {0}")]
    Form(String),
    #[error("{path} cannot be written")]
    Write {
        path: String,
        #[source]
        source: io::Error,
    },
}

/// Unpacks an archive to a path at which nothing is.
pub(super) fn unpack(archive: &mut impl Read, to: &Path) -> Result<(), NarError> {
    let mut archive = Archive(archive);
    archive.expect("nix-archive-1")?;
    archive.node(to, 0)
}

struct Archive<'a, R>(&'a mut R);

impl<R: Read> Archive<'_, R> {
    fn node(&mut self, to: &Path, depth: usize) -> Result<(), NarError> {
        if depth > DEEPEST {
            return Err(form("its directories are too deep"));
        }
        self.expect("(")?;
        self.expect("type")?;
        match self.token()?.as_slice() {
            b"regular" => self.file(to),
            b"symlink" => {
                self.expect("target")?;
                let target = self.token()?;
                symlink(OsStr::from_bytes(&target), to).map_err(unwritten(to))?;
                self.expect(")")
            }
            b"directory" => self.directory(to, depth),
            other => Err(unexpected(other)),
        }
    }

    fn file(&mut self, to: &Path) -> Result<(), NarError> {
        let mut mode = 0o644;
        let mut token = self.token()?;
        if token == b"executable" {
            self.expect("")?;
            mode = 0o755;
            token = self.token()?;
        }
        let mut options = OpenOptions::new();
        let opened = options.write(true).create_new(true).mode(mode).open(to);
        let mut file = opened.map_err(unwritten(to))?;
        if token == b"contents" {
            self.contents(&mut file, to)?;
            token = self.token()?;
        }
        match token.as_slice() {
            b")" => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    fn contents(&mut self, file: &mut File, to: &Path) -> Result<(), NarError> {
        let length = self.length()?;
        let mut rest = self.0.by_ref().take(length);
        let copied = io::copy(&mut rest, file).map_err(unwritten(to))?;
        if copied < length {
            return Err(NarError::Read(io::ErrorKind::UnexpectedEof.into()));
        }
        self.padding(length)
    }

    fn directory(&mut self, to: &Path, depth: usize) -> Result<(), NarError> {
        fs::create_dir(to).map_err(unwritten(to))?;
        loop {
            match self.token()?.as_slice() {
                b")" => return Ok(()),
                b"entry" => {}
                other => return Err(unexpected(other)),
            }
            self.expect("(")?;
            self.expect("name")?;
            let name = self.token()?;
            // Nothing may be written beside it.
            if matches!(name.as_slice(), b"" | b"." | b"..")
                || name.iter().any(|c| b"/\0".contains(c))
            {
                return Err(unexpected(&name));
            }
            self.expect("node")?;
            self.node(&to.join(OsStr::from_bytes(&name)), depth + 1)?;
            self.expect(")")?;
        }
    }

    fn expect(&mut self, token: &str) -> Result<(), NarError> {
        match self.token()? {
            found if found == token.as_bytes() => Ok(()),
            found => Err(unexpected(&found)),
        }
    }

    fn token(&mut self) -> Result<Vec<u8>, NarError> {
        let length = self.length()?;
        if length > LONGEST {
            return Err(form("a name in it is too long"));
        }
        let mut token = vec![0; usize::try_from(length).unwrap_or_default()];
        self.0.read_exact(&mut token).map_err(NarError::Read)?;
        self.padding(length)?;
        Ok(token)
    }

    fn length(&mut self) -> Result<u64, NarError> {
        let mut bytes = [0; 8];
        self.0.read_exact(&mut bytes).map_err(NarError::Read)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Everything is padded to eight bytes.
    fn padding(&mut self, length: u64) -> Result<(), NarError> {
        let mut zeros = [0; 8];
        let count = usize::try_from(length.wrapping_neg() % 8).unwrap_or_default();
        self.0
            .read_exact(&mut zeros[..count])
            .map_err(NarError::Read)
    }
}

fn form(what: &str) -> NarError {
    NarError::Form(what.to_owned())
}

fn unexpected(found: &[u8]) -> NarError {
    form(&format!("there is `{}` in it", found.escape_ascii()))
}

fn unwritten(path: &Path) -> impl FnOnce(io::Error) -> NarError {
    let path = path.display().to_string();
    move |source| NarError::Write { path, source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn archive(tokens: &[&str]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for token in [&["nix-archive-1"], tokens].concat() {
            bytes.extend((token.len() as u64).to_le_bytes());
            bytes.extend(token.as_bytes());
            bytes.resize(bytes.len().next_multiple_of(8), 0);
        }
        bytes
    }

    fn file(contents: &'static str) -> Vec<&'static str> {
        vec!["(", "type", "regular", "contents", contents, ")"]
    }

    fn directory(name: &'static str, node: &[&'static str]) -> Vec<&'static str> {
        let head = ["(", "type", "directory", "entry", "(", "name", name, "node"];
        [&head[..], node, &[")", ")"]].concat()
    }

    fn unpacked(tokens: &[&str]) -> Result<tempfile::TempDir, String> {
        let place = tempfile::tempdir().unwrap();
        let mut bytes = archive(tokens);
        let result = unpack(&mut bytes.as_slice(), &place.path().join("out"));
        // Wherever it is cut, it is found out.
        bytes.truncate(bytes.len() - 8);
        unpack(&mut bytes.as_slice(), &place.path().join("cut")).unwrap_err();
        result.map(|()| place).map_err(|error| error.to_string())
    }

    #[test]
    fn files_links_and_directories_come_out_as_they_were() {
        let place = unpacked(&directory("a.txt", &file("some words"))).unwrap();
        let text = fs::read_to_string(place.path().join("out/a.txt")).unwrap();
        assert_eq!(text, "some words");
        let program = [
            "(",
            "type",
            "regular",
            "executable",
            "",
            "contents",
            "",
            ")",
        ];
        let place = unpacked(&program).unwrap();
        let mode = fs::metadata(place.path().join("out"))
            .unwrap()
            .permissions();
        assert_eq!(mode.mode() & 0o100, 0o100);
        let link = ["(", "type", "symlink", "target", "/nowhere", ")"];
        let place = unpacked(&directory("link", &link)).unwrap();
        let target = fs::read_link(place.path().join("out/link")).unwrap();
        assert_eq!(target, Path::new("/nowhere"));
        let place = unpacked(&["(", "type", "regular", ")"]).unwrap();
        assert_eq!(fs::read(place.path().join("out")).unwrap(), b"");
    }

    #[test]
    fn nothing_gets_out() {
        for name in ["..", ".", "", "a/b", "a\0b"] {
            let error = unpacked(&directory(name, &file("x"))).unwrap_err();
            assert!(error.starts_with("it is no archive of Nix"), "{error}");
        }
        let link = ["(", "type", "symlink", "target", "/tmp", ")", ")"];
        let head = ["(", "type", "directory", "entry", "(", "name", "a", "node"];
        let again = ["entry", "(", "name", "a", "node"];
        let tokens = [
            &head[..],
            &link,
            &again,
            &directory("b", &file("x")),
            &[")", ")"],
        ]
        .concat();
        assert!(
            unpacked(&tokens)
                .unwrap_err()
                .ends_with("cannot be written")
        );
    }

    #[test]
    fn what_is_none_is_refused() {
        for tokens in [
            &["(", "type", "socket", ")"][..],
            &["x"],
            &["(", "type", "regular", "x", ")"],
        ] {
            let error = unpacked(tokens).unwrap_err();
            assert!(error.contains("there is `"), "{error}");
        }
        let long = "x".repeat(5000);
        let tokens = ["(", "type", "symlink", "target", &long, ")"];
        assert_eq!(
            unpacked(&tokens).unwrap_err(),
            "it is no archive of Nix: a name in it is too long"
        );
    }
}

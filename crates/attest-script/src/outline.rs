//! What is in a script.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use attest::events::FailureDetail;
use attest::run::ScriptOutline;
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use crate::error::ScriptError;
use crate::package::Package;
use crate::python::Python;

/// What the package's start is told, to read a script and not to run it.
const OUTLINE: &str = "outline";
/// Its exit code when the script is at fault.
const AT_FAULT: i32 = 1;

/// What is in a script, or why it is none: what Python says of it, with the file, the line and a
/// caret. Python reads the script; nothing of it runs.
pub(crate) async fn outline(
    script: &Path,
) -> Result<Result<ScriptOutline, Box<FailureDetail>>, ScriptError> {
    let python = Python::find()?;
    let package = Package::place(attest::images::default_place().as_deref())?;
    let kept = Kept::of(script, &python, &package);
    if let Some(outline) = kept.as_ref().and_then(Kept::read) {
        return Ok(Ok(outline));
    }
    let read = read(script, &python, &package).await?;
    if let (Some(kept), Ok(found)) = (kept, &read)
        && Kept::of(script, &python, &package).as_ref() == Some(&kept)
    {
        kept.write(found);
    }
    Ok(read.map(|found| found.outline))
}

/// What Python found.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Found {
    #[serde(flatten)]
    outline: ScriptOutline,
    /// What was at the places that it depends on, beside the script. `None` where too much was, or what changed just now.
    places: Option<BTreeMap<PathBuf, String>>,
}

impl Found {
    /// Whether it would be found again.
    fn is_current(&self) -> bool {
        let is_same = |(place, stamp): (&PathBuf, &String)| *stamp == stamp_of(place);
        let places = self.places.as_ref();
        places.is_some_and(|places| places.iter().all(is_same))
    }
}

/// What changes with a file or directory, as `_stamp` of `_depends.py` writes it; empty where nothing is.
fn stamp_of(place: &Path) -> String {
    let Ok(metadata) = place.metadata() else {
        return String::new();
    };
    let changed = i128::from(metadata.ctime()) * 1_000_000_000 + i128::from(metadata.ctime_nsec());
    let (mode, size, inode) = (metadata.mode(), metadata.size(), metadata.ino());
    format!("{mode:o} {size} {changed} {inode}")
}

async fn read(
    script: &Path,
    python: &Python,
    package: &Package,
) -> Result<Result<Found, Box<FailureDetail>>, ScriptError> {
    let output = Command::new(python.program())
        // What is installed beside Python is not needed, and takes longer than all the rest.
        .arg("-S")
        .arg(package.start())
        .arg(OUTLINE)
        .arg(script)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|source| ScriptError::Start {
            program: python.program().to_owned(),
            source,
        })?;
    let failed = |said: String| ScriptError::Outline {
        program: python.program().to_owned(),
        said,
    };
    let said = String::from_utf8_lossy(&output.stderr)
        .trim_end()
        .to_owned();
    match output.status.code() {
        Some(0) => serde_json::from_slice(&output.stdout)
            .map(Ok)
            .map_err(|error| failed(error.to_string())),
        Some(AT_FAULT) => Ok(Err(Box::new(FailureDetail {
            message: said,
            ..FailureDetail::default()
        }))),
        _ if said.is_empty() => Err(failed(output.status.to_string())),
        _ => Err(failed(said)),
    }
}

/// Where the outline of a script is kept, which takes a Python 20 ms to find out.
///
/// It is a file beside the package in the cache, so that another version of attest has others, and all go with it. Its
/// name says what was read and by which Python, and in it stands what else it depends on.
#[derive(Debug, PartialEq, Eq)]
struct Kept(PathBuf);

impl Kept {
    /// `None`: the package is in no cache, or something cannot be read, which Python says better.
    fn of(script: &Path, python: &Python, package: &Package) -> Option<Self> {
        let directory = package.kept()?;
        let program = python.program().canonicalize().ok()?;
        let metadata = program.metadata().ok()?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(program.as_os_str().as_bytes());
        for number in [metadata.size(), metadata.ino()] {
            hasher.update(&number.to_le_bytes());
        }
        hasher.update(&metadata.mtime().to_le_bytes());
        // Other files are beside the script.
        let place = script.canonicalize().ok()?;
        hasher.update(place.as_os_str().as_bytes());
        hasher.update(b"\0");
        hasher.update(&std::fs::read(script).ok()?);
        Some(Self(
            directory.join(format!("{}.json", hasher.finalize().to_hex())),
        ))
    }

    fn read(&self) -> Option<ScriptOutline> {
        let found: Found = serde_json::from_slice(&std::fs::read(&self.0).ok()?).ok()?;
        found.is_current().then_some(found.outline)
    }

    /// Whole or not at all; what cannot be kept is found out again.
    fn write(&self, found: &Found) {
        if found.places.is_none() {
            return;
        }
        let write = || {
            let directory = self.0.parent()?;
            std::fs::create_dir_all(directory).ok()?;
            let mut file = tempfile::NamedTempFile::new_in(directory).ok()?;
            serde_json::to_writer(&mut file, found).ok()?;
            file.persist(&self.0).ok()
        };
        let _ = write();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use attest::run::{ScriptSetup, ScriptTest};
    use tempfile::TempDir;

    use super::*;

    async fn of(text: &str) -> Option<Result<ScriptOutline, Box<FailureDetail>>> {
        if let Err(error) = Python::find() {
            eprintln!("skipped: {error}");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let script = directory.path().join("script.py");
        fs::write(&script, text).unwrap();
        Some(outline(&script).await.unwrap())
    }

    #[tokio::test]
    async fn set_ups_and_tests_are_found_without_running() {
        let script = "\
import attest
raise SystemExit(9)
@attest.setup
def base(lab): pass
@attest.setup(after=base)
def more(lab): pass
@attest.test(setup=more)
def one(lab): pass
def test_two(lab): pass
";
        let Some(found) = of(script).await else {
            return;
        };
        let ScriptOutline { setups, tests } = found.unwrap();
        let [base, more] = <[ScriptSetup; 2]>::try_from(setups).unwrap();
        assert_eq!((base.name.as_str(), base.after), ("base", None));
        assert_eq!(
            (more.name.as_str(), more.after.as_deref()),
            ("more", Some("base"))
        );
        assert_ne!(base.key, more.key);
        let test = |name: &str, setup: Option<&str>| ScriptTest {
            name: name.to_owned(),
            setup: setup.map(str::to_owned),
        };
        assert_eq!(tests, [test("one", Some("more")), test("test_two", None)]);
    }

    /// With the package in a cache of its own.
    fn placed() -> Option<(Python, Package, TempDir)> {
        let Ok(python) = Python::find() else {
            eprintln!("skipped: there is no Python");
            return None;
        };
        let directory = tempfile::tempdir().unwrap();
        let package = Package::place(Some(directory.path())).unwrap();
        Some((python, package, directory))
    }

    #[tokio::test]
    async fn what_was_read_is_kept_for_as_long_as_it_is_so() {
        let Some((python, package, directory)) = placed() else {
            return;
        };
        let script = directory.path().join("script.py");
        let kept = |text: &str| {
            fs::write(&script, text).unwrap();
            Kept::of(&script, &python, &package).unwrap()
        };
        let first = kept("def test_one(lab): pass\n");
        assert_eq!(first.read(), None);
        let found = read(&script, &python, &package).await.unwrap().unwrap();
        first.write(&found);
        assert_eq!(first.read(), Some(found.outline));
        assert_eq!(kept("def test_two(lab): pass\n").read(), None);

        let set_up =
            "import attest, more\n@attest.setup\ndef base(lab): pass\ndef test_one(lab): pass\n";
        let set_up = kept(set_up);
        let found = read(&script, &python, &package).await.unwrap().unwrap();
        set_up.write(&found);
        assert_eq!(set_up.read(), Some(found.outline));
        // A module that was not there.
        fs::write(directory.path().join("more.py"), "").unwrap();
        assert_eq!(set_up.read(), None);
        // It may change once more at the same time.
        let found = read(&script, &python, &package).await.unwrap().unwrap();
        set_up.write(&found);
        assert_eq!(set_up.read(), None);
    }

    #[tokio::test]
    async fn python_tells_places_as_they_are_looked_at_again() {
        let Some((python, package, directory)) = placed() else {
            return;
        };
        let script = directory.path().join("script.py");
        // It is as old as the host.
        let depth = directory
            .path()
            .canonicalize()
            .unwrap()
            .components()
            .count()
            - 1;
        let program = format!("{}usr/bin/env", "../".repeat(depth));
        let text = format!(
            "import attest\n@attest.setup\ndef a(lab): lab.copy('{program}')\ndef test_b(): pass\n"
        );
        fs::write(&script, text).unwrap();
        let found = read(&script, &python, &package).await.unwrap().unwrap();
        let places = found.places.as_ref().expect("none of it is new");
        assert!(places.values().any(String::is_empty), "{places:?}");
        assert!(!places[Path::new("/usr/bin/env")].is_empty(), "{places:?}");
        assert!(found.is_current(), "{places:?}");
    }

    #[tokio::test]
    async fn a_script_in_one_piece_has_an_empty_outline() {
        let Some(found) = of("server.succeed('true')\n").await else {
            return;
        };
        assert_eq!(found.unwrap(), ScriptOutline::default());
    }

    #[tokio::test]
    async fn mistakes_are_told_as_python_tells_them() {
        let Some(found) = of("if a\n    pass\n").await else {
            return;
        };
        let message = found.unwrap_err().message;
        assert!(
            message.contains("script.py\", line 1\n    if a\n        ^\n"),
            "{message}"
        );
        assert!(message.contains("SyntaxError: "), "{message}");
    }
}

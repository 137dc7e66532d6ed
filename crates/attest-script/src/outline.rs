//! What is in a script.

use std::path::Path;
use std::process::Stdio;

use attest::events::FailureDetail;
use attest::run::ScriptOutline;
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

#[cfg(test)]
mod tests {
    use std::fs;

    use attest::run::{ScriptSetup, ScriptTest};

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

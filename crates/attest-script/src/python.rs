//! Which CPython runs scripts.

use std::env;
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::error::ScriptError;

/// Names the Python to run scripts with.
const VARIABLE: &str = "ATTEST_PYTHON";
/// What it is called elsewhere.
const NAMES: [&str; 2] = ["python3", "python"];

/// A CPython of the host's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Python {
    program: PathBuf,
}

impl Python {
    /// The one that `ATTEST_PYTHON` names, else `python3` or `python` of `PATH`. Whether it is new
    /// enough it says itself when it is started.
    ///
    /// # Errors
    /// There is none.
    pub fn find() -> Result<Self, ScriptError> {
        let named = env::var_os(VARIABLE).filter(|named| !named.is_empty());
        find(named.as_deref(), &env::var_os("PATH").unwrap_or_default())
    }

    /// Its path.
    pub fn program(&self) -> &Path {
        &self.program
    }
}

fn find(named: Option<&OsStr>, path: &OsStr) -> Result<Python, ScriptError> {
    let found = match named {
        Some(named) if named.as_encoded_bytes().contains(&b'/') => {
            Some(PathBuf::from(named)).filter(|path| is_program(path))
        }
        Some(named) => in_path(named, path),
        None => NAMES
            .iter()
            .find_map(|name| in_path(OsStr::new(name), path)),
    };
    let looked = || match named {
        Some(named) => format!("{VARIABLE} is `{}`, which is no program", named.display()),
        None => format!("neither of {} is on PATH", NAMES.join(", ")),
    };
    found
        .map(|program| Python { program })
        .ok_or_else(|| ScriptError::Missing { looked: looked() })
}

fn in_path(name: &OsStr, path: &OsStr) -> Option<PathBuf> {
    env::split_paths(path)
        .map(|directory| directory.join(name))
        .find(|program| is_program(program))
}

fn is_program(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_comes_first_and_a_missing_one_is_named() {
        let named = find(Some(OsStr::new("/bin/sh")), OsStr::new("")).unwrap();
        assert_eq!(named.program(), Path::new("/bin/sh"));
        let searched = find(Some(OsStr::new("sh")), OsStr::new("/nowhere:/bin")).unwrap();
        assert_eq!(searched.program(), Path::new("/bin/sh"));
        let missing = find(Some(OsStr::new("/no/python")), OsStr::new("/bin")).unwrap_err();
        assert!(
            missing
                .to_string()
                .contains("ATTEST_PYTHON is `/no/python`")
        );
        let missing = find(None, OsStr::new("/nowhere")).unwrap_err();
        assert!(missing.to_string().contains("apt install python3"));
    }
}

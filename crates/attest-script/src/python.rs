//! Which CPython runs scripts.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use attest_vmm::find_program_in;

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
    let in_path = |name: &OsStr| find_program_in(Path::new(name), path);
    let found = match named {
        Some(named) => in_path(named),
        None => NAMES.iter().find_map(|name| in_path(OsStr::new(name))),
    };
    let looked = || match named {
        Some(named) => format!("{VARIABLE} is `{}`, which is no program", named.display()),
        None => format!("neither of {} is on PATH", NAMES.join(", ")),
    };
    found
        .map(|program| Python { program })
        .ok_or_else(|| ScriptError::Missing { looked: looked() })
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

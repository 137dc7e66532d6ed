//! Which Cloud Hypervisor there is.

use std::path::{Path, PathBuf};

use crate::find_program;
use crate::microvm::program::{Version, remembered, says};

/// The program's usual name.
pub const PROGRAM: &str = "cloud-hypervisor";
/// The first that is supported: it confines itself with Landlock (its release notes, v41.0).
const FIRST: u32 = 41;

/// A Cloud Hypervisor that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloudHypervisorProgram {
    /// Where.
    pub path: PathBuf,
    /// Its version.
    pub version: Version,
}

/// Find it, by a path or in `PATH`; what it says of itself is remembered in `memo`.
///
/// # Errors
/// It is not there, is none, or is too old: why, and what to do.
pub fn find(program: &Path, memo: &Path) -> Result<CloudHypervisorProgram, String> {
    let path = find_program(program).ok_or_else(|| {
        format!(
            "{} is not on PATH; install Cloud Hypervisor {FIRST} or newer: a release of \
             github.com/cloud-hypervisor/cloud-hypervisor, or `nix shell nixpkgs#cloud-hypervisor`",
            program.display()
        )
    })?;
    let memo = memo.join("cloud-hypervisor-version.json");
    let version = remembered(&path, &memo, |path| {
        Version::parse(&says(path, "--version")?)
    });
    let version = version.ok_or_else(|| format!("{} does not say its version", path.display()))?;
    if version.major < FIRST {
        return Err(format!(
            "{} is Cloud Hypervisor {version}; attest needs {FIRST} or newer",
            path.display()
        ));
    }
    Ok(CloudHypervisorProgram { path, version })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::microvm::program::script;

    fn found(says: &str) -> Result<CloudHypervisorProgram, String> {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("ch");
        script(&program, &format!("#!/bin/sh\necho '{says}'\n"));
        find(&program, directory.path())
    }

    #[test]
    fn versions_are_gated() {
        let old = found("cloud-hypervisor v40.1.0").unwrap_err();
        assert!(
            old.contains("40.1.0") && old.contains("41 or newer"),
            "{old}"
        );
        for (says, major) in [
            ("cloud-hypervisor v41.0.0", 41),
            ("cloud-hypervisor v53.0-dirty", 53),
        ] {
            assert_eq!(found(says).unwrap().version.major, major);
        }
        let none = found("something").unwrap_err();
        assert!(none.contains("does not say its version"), "{none}");
    }

    #[test]
    fn a_missing_one_says_how_to_get_it() {
        let directory = tempfile::tempdir().unwrap();
        let missing = find(Path::new("/nonexistent/ch"), directory.path()).unwrap_err();
        assert!(missing.contains("nixpkgs#cloud-hypervisor"), "{missing}");
    }
}

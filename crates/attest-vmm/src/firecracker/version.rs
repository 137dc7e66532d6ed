//! Which Firecracker there is, and what it can.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::find_program;
use crate::microvm::program::{Version, remembered, says};

/// The program's usual name.
pub const PROGRAM: &str = "firecracker";
/// The first that is supported: it maps networks anew when it loads a snapshot.
const FIRST: Version = Version::new(1, 12, 0);
/// What these do with vsock cannot be relied on once a machine was paused: connections to the guest may block for ever,
/// and those of restored guests time out (its change log, at 1.16.1 and 1.16.2).
const BROKEN_VSOCK: [Version; 2] = [Version::new(1, 16, 0), Version::new(1, 16, 1)];
/// From here on a snapshot of what was touched only needs nothing to be tracked (its change log, 1.13.0).
const DIFFS_UNTRACKED: Version = Version::new(1, 13, 0);
/// From here on devices may be on PCI.
const HAS_PCI: Version = Version::new(1, 13, 0);

/// A Firecracker that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirecrackerProgram {
    /// Where.
    pub path: PathBuf,
    /// Its version.
    pub version: Version,
    /// The format of its snapshots, as it says it. No other is loaded.
    pub snapshots: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Said {
    version: Version,
    snapshots: String,
}

/// Find it, by a path or in `PATH`; what it says of itself is remembered in `memo`.
///
/// # Errors
/// It is not there, is none, or is too old: why, and what to do.
pub fn find(program: &Path, memo: &Path) -> Result<FirecrackerProgram, String> {
    let path = find_program(program).ok_or_else(|| {
        format!(
            "{} is not on PATH; install Firecracker {}.{} or newer: a release of \
             github.com/firecracker-microvm/firecracker, or `nix shell nixpkgs#firecracker`",
            program.display(),
            FIRST.major,
            FIRST.minor
        )
    })?;
    let said = remembered(&path, &memo.join("firecracker-version.json"), |path| {
        let version = Version::parse(&says(path, "--version")?)?;
        let snapshots = Version::parse(&says(path, "--snapshot-version")?);
        Some(Said {
            version,
            snapshots: snapshots.map_or_else(|| "unknown".to_owned(), |format| format.to_string()),
        })
    });
    let Said { version, snapshots } =
        said.ok_or_else(|| format!("{} does not say its version", path.display()))?;
    if version < FIRST {
        return Err(format!(
            "{} is Firecracker {version}; attest needs {}.{} or newer",
            path.display(),
            FIRST.major,
            FIRST.minor
        ));
    }
    Ok(FirecrackerProgram {
        path,
        version,
        snapshots,
    })
}

impl FirecrackerProgram {
    /// Why its machines may not be paused or saved; `None` when they may.
    pub fn cannot_pause(&self) -> Option<String> {
        BROKEN_VSOCK.contains(&self.version).then(|| {
            format!(
                "Firecracker {} breaks connections with a guest that was paused or restored; take 1.15, or 1.16.2 or \
                 newer",
                self.version
            )
        })
    }

    /// Where a guest says that it has booted: the first page of the window of its devices, which was moved once
    /// (`BOOT_DEVICE_MEM_START` of its layout).
    pub(super) fn boot_timer(&self) -> u64 {
        if self.version < Version::new(1, 13, 0) {
            0xd000_0000
        } else {
            0xc000_0000
        }
    }

    /// Whether it knows what a guest has touched, without having tracked it. It asks the kernel, which does not count
    /// what is swapped out.
    pub(super) fn knows_what_was_touched(&self, has_swap: bool) -> bool {
        self.version >= DIFFS_UNTRACKED && !has_swap
    }

    pub(super) fn has_pci(&self) -> bool {
        self.version >= HAS_PCI
    }
}

/// Whether anything of a VMM can be swapped out (proc(5): a heading, and a line for each place).
pub(super) fn has_swap() -> bool {
    std::fs::read_to_string("/proc/swaps").is_ok_and(|table| table.lines().count() > 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::microvm::program::script;

    fn found(version: &str) -> Result<FirecrackerProgram, String> {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("fc");
        let text = format!(
            "#!/bin/sh\ncase $1 in --version) echo 'Firecracker v{version}';; *) echo v9.0.0;; esac\n"
        );
        script(&program, &text);
        find(&program, directory.path())
    }

    #[test]
    fn versions_are_gated() {
        let old = found("1.11.0").unwrap_err();
        assert!(
            old.contains("1.11.0") && old.contains("1.12 or newer"),
            "{old}"
        );
        for (version, pauses) in [
            ("1.12.0", true),
            ("1.15.1", true),
            ("1.16.0", false),
            ("1.16.1", false),
            ("1.16.2", true),
            ("1.17.0-dev", true),
        ] {
            let found = found(version).unwrap();
            assert_eq!(found.snapshots, "9.0.0");
            let reason = found.cannot_pause();
            assert_eq!(reason.is_none(), pauses, "{version}: {reason:?}");
        }
        assert!(
            found("none")
                .unwrap_err()
                .contains("does not say its version")
        );
    }

    #[test]
    fn a_missing_one_says_how_to_get_it() {
        let directory = tempfile::tempdir().unwrap();
        let missing = find(Path::new("/nonexistent/firecracker"), directory.path()).unwrap_err();
        assert!(missing.contains("nixpkgs#firecracker"), "{missing}");
    }

    #[test]
    fn what_differs_between_versions_is_known() {
        let program = |version: &str| found(version).unwrap();
        let (old, new) = (program("1.12.0"), program("1.13.0"));
        assert_eq!(
            (old.boot_timer(), new.boot_timer()),
            (0xd000_0000, 0xc000_0000)
        );
        assert!(!old.knows_what_was_touched(false) && new.knows_what_was_touched(false));
        assert!(!new.knows_what_was_touched(true));
        assert!(!old.has_pci() && new.has_pci());
    }
}

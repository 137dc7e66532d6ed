//! Which QEMU there is, and its version without running it each time.

use std::path::{Path, PathBuf};

use crate::find_program;
use crate::microvm::program::{remembered, says};
use crate::qmp::QemuVersion;

/// The program's usual name.
pub const PROGRAM: &str = "qemu-system-x86_64";

/// A QEMU that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QemuProgram {
    /// Where.
    pub path: PathBuf,
    /// Its version; `None` when it does not say one.
    pub version: Option<QemuVersion>,
}

/// No QEMU.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} is not on PATH; install QEMU: `apt install qemu-system-x86` (Debian), `dnf install qemu-system-x86-core` \
     (Fedora), `pacman -S qemu-system-x86` (Arch), `nix shell nixpkgs#qemu` (Nix)",
    program.display()
)]
pub struct QemuMissing {
    /// What was looked for.
    pub program: PathBuf,
}

/// Find QEMU, by a path or in `PATH`. Asking it for its version costs 20 ms, so that is
/// remembered in `memo`, for as long as the program's file is the same.
pub fn find(program: Option<&Path>, memo: &Path) -> Result<QemuProgram, QemuMissing> {
    let wanted = program.unwrap_or_else(|| Path::new(PROGRAM));
    let path = find_program(wanted).ok_or_else(|| QemuMissing {
        program: wanted.to_owned(),
    })?;
    let version = remembered(&path, &memo.join("qemu-version.json"), ask);
    let version = version.map(|(major, minor, micro)| QemuVersion {
        major,
        minor,
        micro,
    });
    Ok(QemuProgram { path, version })
}

fn ask(path: &Path) -> Option<(u32, u32, u32)> {
    let version = parse(&says(path, "--version")?)?;
    Some((version.major, version.minor, version.micro))
}

fn parse(text: &str) -> Option<QemuVersion> {
    let (_, version) = text.split_once("version ")?;
    let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    let mut number = || numbers.next()?.ok();
    Some(QemuVersion {
        major: number()?,
        minor: number()?,
        micro: number()?,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn versions_are_read() {
        let version = |major, minor, micro| {
            Some(QemuVersion {
                major,
                minor,
                micro,
            })
        };
        assert_eq!(
            parse("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)\n"),
            version(7, 2, 22)
        );
        assert_eq!(parse("QEMU emulator version 10.0.2"), version(10, 0, 2));
        assert_eq!(parse("something else"), None);
    }

    #[test]
    fn a_missing_qemu_says_how_to_get_it() {
        let directory = tempfile::tempdir().unwrap();
        let missing = find(Some(Path::new("/nonexistent/qemu")), directory.path()).unwrap_err();
        assert!(
            missing.to_string().contains("apt install qemu-system-x86"),
            "{missing}"
        );
    }

    #[test]
    fn the_version_is_asked_again_when_the_program_changes() {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("qemu");
        for micro in [1, 22] {
            // Another length, for the clock of the file system may not have moved.
            fs::write(
                &program,
                format!("#!/bin/sh\necho QEMU emulator version 9.8.{micro}\n"),
            )
            .unwrap();
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
            for _ in 0..2 {
                let found = find(Some(&program), directory.path()).unwrap();
                assert_eq!(
                    found.version,
                    Some(QemuVersion {
                        major: 9,
                        minor: 8,
                        micro
                    })
                );
            }
        }
    }
}

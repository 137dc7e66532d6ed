//! The programs of the host that go into the guest: static ones, for the guest has no libraries.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{BareOptions, read};
use crate::elf::{self, Unfit};
use crate::error::ImageError;

/// Where Debian, Fedora and Arch put a static busybox.
const BUSYBOX: [&str; 3] = ["/bin/busybox", "/usr/sbin/busybox", "/usr/bin/busybox"];
/// Where Debian puts a static bash.
const BASH: [&str; 2] = ["/bin/bash-static", "/usr/bin/bash-static"];

const BUSYBOX_PACKAGES: &str = "install a static one (`apt install busybox-static` on Debian, `dnf install busybox` \
     on Fedora, `pacman -S busybox` on Arch, `nix build nixpkgs#pkgsStatic.busybox` on Nix)";
const BASH_PACKAGES: &str = "install a static one (`apt install bash-static` on Debian, `nix build \
     nixpkgs#pkgsStatic.bash` on Nix)";

/// Where they are.
#[derive(Debug, Clone)]
pub(super) struct Programs {
    pub(super) busybox: PathBuf,
    pub(super) bash: Option<PathBuf>,
}

impl Programs {
    pub(super) fn find(options: &BareOptions<'_>) -> Result<Self, ImageError> {
        let busybox = options.busybox.clone().or_else(|| first(&BUSYBOX));
        let busybox = busybox.ok_or_else(|| {
            refused(
                "busybox",
                "there is none, and the bare guest needs one",
                BUSYBOX_PACKAGES,
            )
        })?;
        let bash = options.bash.clone().or_else(|| first(&BASH));
        Ok(Self { busybox, bash })
    }

    /// The bytes of busybox.
    pub(super) fn busybox(&self) -> Result<Vec<u8>, ImageError> {
        static_program(&self.busybox, BUSYBOX_PACKAGES)
    }

    /// The bytes of bash, where there is one.
    pub(super) fn bash(&self) -> Result<Option<Vec<u8>>, ImageError> {
        self.bash
            .as_deref()
            .map(|bash| static_program(bash, BASH_PACKAGES))
            .transpose()
    }

    /// Where busybox would put its applets, without leading slashes. To be asked of a busybox
    /// that is known to be one.
    pub(super) fn applets(&self) -> Result<Vec<String>, ImageError> {
        let name = self.busybox.display().to_string();
        let failed = |reason: &str| refused(&name, reason, BUSYBOX_PACKAGES);
        let output = Command::new(&self.busybox)
            .arg("--list-full")
            .stdin(Stdio::null())
            .output()
            .map_err(|error| failed(&format!("it cannot be run ({error})")))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let applets: Vec<_> = text
            .lines()
            .map(|line| line.trim_start_matches('/').to_owned())
            .collect();
        if !output.status.success() || !applets.iter().any(|applet| applet == "bin/sh") {
            return Err(failed("`--list-full` names no bin/sh"));
        }
        Ok(applets.into_iter().filter(|applet| fits(applet)).collect())
    }
}

/// Paths of a list that a program printed: none may lead out or take another's place.
fn fits(path: &str) -> bool {
    !path.is_empty() && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

fn refused(program: &str, reason: &str, packages: &str) -> ImageError {
    ImageError::Program {
        program: program.to_owned(),
        reason: format!("{reason}; {packages}"),
    }
}

fn static_program(path: &Path, packages: &str) -> Result<Vec<u8>, ImageError> {
    let bytes = read(path)?;
    match unsuitable(&bytes) {
        None => Ok(bytes),
        Some(reason) => Err(refused(&path.display().to_string(), reason, packages)),
    }
}

/// Why an ELF program would not run in the guest.
fn unsuitable(program: &[u8]) -> Option<&'static str> {
    match elf::segments(program) {
        Err(Unfit::NotElf64) => Some("it is no 64-bit ELF program"),
        Err(Unfit::Architecture) => Some("it is for another architecture than x86-64"),
        Err(Unfit::Truncated) => Some("it is cut short"),
        Ok(segments) => {
            let dynamic = segments
                .iter()
                .any(|segment| segment.kind == elf::INTERPRETER);
            dynamic.then_some("it is linked dynamically, and the guest has no libraries")
        }
    }
}

fn first(places: &[&str]) -> Option<PathBuf> {
    places.iter().map(PathBuf::from).find(|path| path.exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dynamic_busybox_is_refused_by_name() {
        // The test's own program is dynamic.
        let own = std::env::current_exe().unwrap();
        let error = static_program(&own, BUSYBOX_PACKAGES)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("linked dynamically") && error.contains("busybox-static"),
            "{error}"
        );
        assert!(error.starts_with(own.to_str().unwrap()), "{error}");
    }

    #[test]
    fn what_is_no_program_for_the_guest_is_refused() {
        use crate::elf::tests::elf;
        assert_eq!(unsuitable(&elf(elf::NOTE, b"")), None);
        assert!(
            unsuitable(&elf(elf::INTERPRETER, b"/lib/ld.so"))
                .unwrap()
                .contains("dynamically")
        );
        assert_eq!(
            unsuitable(b"#!/bin/sh"),
            Some("it is no 64-bit ELF program")
        );
    }

    #[test]
    fn a_busybox_that_is_none_is_refused() {
        let programs = |busybox: &str| Programs {
            busybox: busybox.into(),
            bash: None,
        };
        let error = programs("/bin/true").applets().unwrap_err();
        assert!(error.to_string().contains("names no bin/sh"), "{error}");
        let error = programs("/no/busybox").applets().unwrap_err();
        assert!(error.to_string().contains("cannot be run"), "{error}");
    }

    #[test]
    fn applets_stay_in_the_guest() {
        assert!(fits("usr/bin/awk"));
        for path in ["", "../x", "bin//x", "bin/./x", "/bin/x"] {
            assert!(!fits(path), "{path}");
        }
    }
}

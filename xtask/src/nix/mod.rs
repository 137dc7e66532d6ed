//! Several versions of Nix, for the tests that need it: the host's own, and those of later Debians.

mod apt;
mod debian;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{packages, setup, tools};

/// What tests have the programs from: absolute paths with colons between them, the oldest first.
const VARIABLE: &str = "ATTEST_NIX";

/// The releases of Debian that one is taken from: they had 2.26 and 2.34 when this was written.
const SUITES: [&str; 2] = ["trixie", "sid"];

/// One program, with its version.
#[derive(Debug, PartialEq, Eq)]
struct Nix {
    /// Such as `[2, 26, 3]`, which sorts as versions do.
    version: Vec<u64>,
    program: PathBuf,
}

/// For the environment of tests and benchmarks; nothing where there is no Nix, and where the user has
/// set it.
///
/// Where `CI` is set, those of later Debians are fetched once. Elsewhere nobody is to wait for that, and
/// what is here is used.
pub(crate) fn variable() -> Option<(&'static str, String)> {
    if std::env::var_os(VARIABLE).is_some() {
        return None;
    }
    let cache = tools::cache();
    if setup::in_ci() {
        fetch(&cache);
    }
    let own = packages::find("nix", &tools::path()).and_then(Nix::of);
    let fetched = debian::fetched(&cache).into_iter().map(|(_, nix)| nix);
    let value = joined(own.into_iter().chain(fetched).collect());
    (!value.is_empty()).then_some((VARIABLE, value))
}

/// What cannot be had is said; the tests of that version are skipped then.
fn fetch(cache: &Path) {
    let host = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let host = release(&host);
    for suite in SUITES.into_iter().filter(|suite| Some(*suite) != host) {
        if let Err(why) = debian::ensure(suite, host, cache) {
            eprintln!("xtask: the tests do without the Nix of Debian {suite}: {why}");
        }
    }
}

/// Of os-release(5): the name that the host's sources have.
fn release(os_release: &str) -> Option<&str> {
    let mut lines = os_release.lines();
    let name = lines.find_map(|line| line.strip_prefix("VERSION_CODENAME="))?;
    Some(name.trim_matches(['"', '\'']))
}

/// The oldest first, and each version once: the first of them that was given.
fn joined(mut all: Vec<Nix>) -> String {
    all.sort_by(|left, right| left.version.cmp(&right.version));
    all.dedup_by(|later, kept| later.version == kept.version);
    let programs: Vec<_> = all
        .iter()
        .map(|nix| nix.program.display().to_string())
        .collect();
    programs.join(":")
}

impl Nix {
    /// Nothing where it does not run, or is of another kind.
    fn of(program: PathBuf) -> Option<Self> {
        let said = said(Command::new(&program).arg("--version")).ok()?;
        let version = numbers(version(&said)?);
        Some(Self { version, program })
    }
}

/// The last word of `nix (Nix) 2.26.3`.
fn version(said: &str) -> Option<&str> {
    let line = said.lines().find(|line| line.starts_with("nix "))?;
    let version = line.split_whitespace().last()?;
    version
        .starts_with(|first: char| first.is_ascii_digit())
        .then_some(version)
}

fn numbers(version: &str) -> Vec<u64> {
    let parts = version.split(|part: char| !part.is_ascii_digit());
    parts.filter_map(|part| part.parse().ok()).collect()
}

/// What a program wrote; when it failed, the last that it said about that.
fn said(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().display().to_string();
    let output = command.stdin(Stdio::null()).env("LC_ALL", "C").output();
    let output = output.map_err(|error| format!("`{name}` did not start: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    let lines = || errors.lines().rev().filter(|line| !line.trim().is_empty());
    // apt ends with advice.
    let last = lines().find(|line| line.starts_with("E: "));
    let last = last.or_else(|| lines().next()).unwrap_or_default();
    Err(format!("`{name}` failed ({}): {last}", output.status))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nix(version: &str, program: &str) -> Nix {
        Nix {
            version: numbers(version),
            program: program.into(),
        }
    }

    #[test]
    fn the_oldest_comes_first_and_each_version_once() {
        let all = vec![
            nix("2.26.3", "/usr/bin/nix"),
            nix("2.100.0", "/c/nix"),
            nix("2.26.3", "/b/nix"),
            nix("2.8.0", "/a/nix"),
        ];
        assert_eq!(joined(all), "/a/nix:/usr/bin/nix:/c/nix");
        assert_eq!(joined(Vec::new()), "");
    }

    #[test]
    fn versions_are_read_from_what_nix_says() {
        assert_eq!(version("nix (Nix) 2.8.0\n"), Some("2.8.0"));
        assert_eq!(
            version("warning: x\nnix (Lix, like Nix) 2.91.1"),
            Some("2.91.1")
        );
        for other in ["", "nix\n", "nix (Nix) unknown", "zsh 5.9"] {
            assert_eq!(version(other), None, "{other:?}");
        }
        assert!(numbers("2.26.3") > numbers("2.8.0"));
        assert_eq!(numbers("2.35.0pre20260101_dirty"), [2, 35, 0, 20_260_101]);
    }

    #[test]
    fn the_release_of_the_host_is_read() {
        assert_eq!(
            release("ID=debian\nVERSION_CODENAME=\"bookworm\"\n"),
            Some("bookworm")
        );
        assert_eq!(release("ID=arch\n"), None);
    }

    #[test]
    fn failures_are_told_in_one_line() {
        let told = said(
            Command::new("sh").args(["-c", "echo 'E: this' >&2; echo 'W: or that' >&2; exit 3"]),
        );
        let told = told.unwrap_err();
        assert!(
            told.ends_with(": E: this") && told.contains("`sh` failed"),
            "{told}"
        );
        assert!(
            said(&mut Command::new("/nonexistent/x"))
                .unwrap_err()
                .contains("did not start")
        );
    }
}

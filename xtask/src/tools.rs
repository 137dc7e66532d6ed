//! The programs that developers need, mostly cargo's subcommands, installed once for all checkouts when missing.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::packages;
use crate::step::{Step, Stopped};

/// A program that cargo can install.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Tool {
    Nextest,
    Deny,
    Fuzz,
    Nixfmt,
    Deadnix,
}

impl Tool {
    /// The package that it is in.
    fn package(self) -> &'static str {
        match self {
            Self::Nixfmt => "nixfmt_rs",
            other => other.program(),
        }
    }

    pub(crate) fn program(self) -> &'static str {
        match self {
            Self::Nextest => "cargo-nextest",
            Self::Deny => "cargo-deny",
            Self::Fuzz => "cargo-fuzz",
            Self::Nixfmt => "nixfmt",
            Self::Deadnix => "deadnix",
        }
    }

    /// The version that is installed when there is none: known to build with the workspace's
    /// `rust-version`. Any version that is there already will do.
    fn version(self) -> &'static str {
        match self {
            Self::Nextest => "0.9.143",
            Self::Deny => "0.20.2",
            Self::Fuzz => "0.13.2",
            Self::Nixfmt => "0.5.3",
            Self::Deadnix => "1.3.1",
        }
    }
}

/// Makes sure that the program is there. Compiling one takes minutes.
pub(crate) fn ensure(tool: Tool) -> Result<(), Stopped> {
    let program = tool.program();
    if packages::in_path(program, &path()) {
        return Ok(());
    }
    let root = cache();
    eprintln!(
        "xtask: {program} is missing; it is compiled once into {} (minutes)",
        root.display()
    );
    Step::cargo(["install", "--locked", "--root"])
        .args([
            root.as_os_str(),
            tool.package().as_ref(),
            "--version".as_ref(),
            tool.version().as_ref(),
        ])
        .run()
}

/// The user's `PATH`, then cargo's own programs and what was installed here.
pub(crate) fn path() -> OsString {
    let own = std::env::var_os("PATH").unwrap_or_default();
    let more = cargo_home()
        .into_iter()
        .chain([cache()])
        .map(|directory| directory.join("bin"));
    let all: Vec<_> = std::env::split_paths(&own).chain(more).collect();
    // Fails only on a directory with a colon in its name, which the user's own `PATH` cannot have.
    std::env::join_paths(all).unwrap_or(own)
}

/// A database that an earlier run of `cargo deny fetch` left here.
pub(crate) fn has_advisory_database() -> bool {
    let databases = cargo_home().map(|home| home.join("advisory-dbs"));
    databases
        .and_then(|directory| directory.read_dir().ok())
        .is_some_and(|mut entries| {
            entries.any(|entry| entry.is_ok_and(|entry| entry.path().is_dir()))
        })
}

/// Outside the checkout, so that `git clean` and a new clone keep what took minutes.
pub(crate) fn cache() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    cache
        .or_else(|| std::env::home_dir().map(|home| home.join(".cache")))
        .unwrap_or_else(std::env::temp_dir)
        .join("attest-dev")
        .join("tools")
}

fn cargo_home() -> Option<PathBuf> {
    std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cargo")))
}

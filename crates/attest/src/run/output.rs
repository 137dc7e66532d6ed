//! One output directory per run: consoles, logs, artifacts, reports.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::error::{Error, Result};

/// Names the parent of output directories. Default: `attest-out` in the working directory.
pub const OUTPUT_VARIABLE: &str = "ATTEST_OUTPUT";

/// A fresh directory, readable by its owner only: consoles can hold secrets.
#[derive(Debug)]
pub struct OutputDirectory {
    path: PathBuf,
}

impl OutputDirectory {
    /// Exactly this directory, made when missing.
    pub fn create(path: &Path) -> Result<Self> {
        let absolute =
            std::path::absolute(path).map_err(Error::io("the working directory is gone"))?;
        make(&absolute)?;
        Ok(Self { path: absolute })
    }

    /// A new one, named after the time and this process, under the default parent.
    pub fn create_default() -> Result<Self> {
        let parent = std::env::var_os(OUTPUT_VARIABLE)
            .map_or_else(|| PathBuf::from("attest-out"), PathBuf::from);
        let name = format!(
            "{}-{}",
            timestamp(SystemTime::now()).replace(':', ""),
            std::process::id()
        );
        Self::create(&parent.join(name))
    }

    /// A new one for one Rust test: beside the build's other files, so that a source tree stays
    /// clean. (`attest` there is the program.)
    pub(crate) fn create_for_test(test: &str) -> Result<Self> {
        let parent = match std::env::var_os(OUTPUT_VARIABLE) {
            Some(parent) => PathBuf::from(parent),
            None => target_directory()
                .unwrap_or_else(std::env::temp_dir)
                .join("attest-out"),
        };
        let name = format!("{}-{}", test.replace("::", "."), std::process::id());
        Self::create(&parent.join(name))
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keep the directory, and only its path.
    pub fn into_path(self) -> PathBuf {
        self.path
    }

    /// Remove it and all in it.
    pub(crate) fn remove(self) {
        // Left over at worst; a passed test must not fail for it.
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn make(path: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(Error::io(format!(
            "the output directory {} cannot be made; choose another with --output",
            path.display()
        )))
}

/// `target/debug` of `target/debug/deps/name-hash`.
fn target_directory() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    let directory = program.parent()?;
    let directory = if directory.ends_with("deps") {
        directory.parent()?
    } else {
        directory
    };
    Some(directory.to_owned())
}

/// RFC 3339, UTC, whole seconds.
pub fn timestamp(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

/// A test's name as one of a directory: what uploads of artifacts and shells stumble over is
/// replaced.
pub fn file_name(test: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_.".contains(c);
    let name = test.replace("::", ".");
    let name = name.replace(|c| !is_plain(c), "_");
    // No hidden one, and no way up.
    match name.strip_prefix('.') {
        Some(rest) => format!("_{rest}"),
        None => name,
    }
}

//! Where tests keep the snapshots of their labs: apart from the user's, and only as long as they run.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

/// What attest has this directory from.
const VARIABLE: &str = "ATTEST_SNAPSHOTS_DIR";
/// A tmpfs on every Linux; where it is missing, the directory for temporary files does.
const MEMORY: &str = "/dev/shm";

/// A directory of our own, removed with this.
#[derive(Debug)]
pub(crate) struct Place(String);

impl Place {
    /// A new one.
    pub(crate) fn new() -> io::Result<Self> {
        let name = format!("attest-xtask-{}", std::process::id());
        let memory = Path::new(MEMORY);
        let parent = if memory.is_dir() {
            memory.to_owned()
        } else {
            std::env::temp_dir()
        };
        let path = parent.join(name);
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path.display().to_string()))
    }

    /// For the environment of tests.
    pub(crate) fn variable(&self) -> (&str, &str) {
        (VARIABLE, &self.0)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Left over at worst.
        let _ = fs::remove_dir_all(&self.0);
    }
}

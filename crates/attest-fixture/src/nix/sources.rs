//! The flake and the stub of nixpkgs, with nothing else of the repository: as flake inputs, directories are
//! copied whole.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::bundle::Bundle;

/// What the flake's package is evaluated with; nothing is compiled.
const FILES: [&str; 3] = ["flake.nix", "flake.lock", "Cargo.toml"];

/// Copies of both.
#[derive(Debug)]
pub struct Sources {
    directory: TempDir,
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

impl Sources {
    pub(super) fn new(bundle: &Bundle) -> io::Result<Self> {
        let directory = TempDir::new()?;
        let sources = Self { directory };
        copy(&repository().join("nix/tests/nixpkgs"), &sources.nixpkgs())?;
        fs::copy(bundle.host_nix(), sources.nixpkgs().join("host.nix"))?;
        for part in ["nix", "python/src/attest"] {
            copy(&repository().join(part), &sources.attest().join(part))?;
        }
        for name in FILES {
            let file = repository().join(name);
            if file.exists() {
                fs::copy(file, sources.attest().join(name))?;
            }
        }
        Ok(sources)
    }

    /// The stub.
    pub fn nixpkgs(&self) -> PathBuf {
        self.directory.path().join("nixpkgs")
    }

    /// The flake.
    pub fn attest(&self) -> PathBuf {
        self.directory.path().join("attest")
    }

    /// The tests' own Nix code.
    pub fn tests(&self) -> PathBuf {
        self.attest().join("nix/tests")
    }

    /// An expression of that code, with the stub.
    pub fn expression(&self, file: &str) -> String {
        let nixpkgs = self.nixpkgs();
        let file = self.tests().join(file);
        format!(
            "(import {} {{ nixpkgs = {}; }})",
            file.display(),
            nixpkgs.display()
        )
    }
}

/// A directory, without what Python keeps of its sources.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_name() == "__pycache__" {
        } else if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

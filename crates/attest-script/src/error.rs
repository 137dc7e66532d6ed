//! What can go wrong before a script runs.

use std::io;
use std::path::PathBuf;

/// What can go wrong before a script runs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScriptError {
    /// There is no CPython.
    #[error(
        "there is no Python to run the script: {looked}; install Python 3.9 or newer (`apt install python3`, `dnf install python3`, `nix shell nixpkgs#python3`), or name one in ATTEST_PYTHON"
    )]
    Missing {
        /// What was looked for, and where.
        looked: String,
    },
    /// attest's Python package can be put nowhere.
    #[error("attest's Python package cannot be written to {}", path.display())]
    Package {
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// What the script makes can be put nowhere.
    #[error("the output of the script cannot be kept in {}", path.display())]
    Output {
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// What is in the script could not be found out, and that is not the script's fault.
    #[error("{} cannot say what is in the script: {said}", program.display())]
    Outline {
        /// Which Python.
        program: PathBuf,
        /// What it said instead.
        said: String,
    },
    /// It could not be started.
    #[error("{} cannot be started", program.display())]
    Start {
        /// Which Python.
        program: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

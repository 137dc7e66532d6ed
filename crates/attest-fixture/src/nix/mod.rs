//! Real Nix, with a store of its own, and the stub of nixpkgs that is in `nix/tests`: for tests and benchmarks of the
//! Nix side. What is wrong with the host is said, and is no Nix then; what goes wrong otherwise panics.

mod bundle;
mod host;
mod program;
mod sources;
mod watch;

use std::path::PathBuf;

pub use program::{Failure, Nix, Well, programs};
pub use sources::{Sources, copy};

/// What is tested, and where.
#[derive(Debug, Clone)]
pub struct Tested {
    /// attest's program.
    pub attest: PathBuf,
    /// For stores and what sandboxes see, which are kept from one run to the next.
    pub shared: PathBuf,
}

//! attest's flake and its Nix code, with real Nix: evaluated, and built in the sandbox, against the
//! stub of nixpkgs in `nix/tests`.
//!
//! `$ATTEST_NIX` has paths of programs `nix`, with colons between them; without it, the one on `PATH` is
//! taken. Their stores are kept in the target directory: what was built once is not built again.

mod boots;
mod distribution;
mod evaluation;
mod flake;
mod stub;

use std::path::Path;

use attest_fixture::nix::Tested;

/// The program that was built for the tests.
fn tested() -> Tested {
    Tested {
        attest: env!("CARGO_BIN_EXE_attest").into(),
        shared: Path::new(env!("CARGO_TARGET_TMPDIR")).join("nix"),
    }
}

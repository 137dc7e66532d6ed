//! Programs of this host.

use std::path::{Path, PathBuf};

use attest_vmm::find_program_in;

use crate::Result;

/// `attest`, built with the profile of this benchmark.
pub(crate) fn attest() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let attest = own.with_file_name("attest");
    if attest.exists() {
        Ok(attest)
    } else {
        Err("there is no `attest` beside the benchmark: start it with `cargo xtask bench`".into())
    }
}

/// The first on `PATH`.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    find_program_in(Path::new(name), &std::env::var_os("PATH")?)
}

/// A NixOS test driver on `PATH` that is not attest.
pub(crate) fn nixos_test_driver(attest: &Path) -> Option<PathBuf> {
    let own = attest.canonicalize().ok()?;
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|directory| directory.join("nixos-test-driver"))
        .find(|program| program.canonicalize().is_ok_and(|program| program != own))
}

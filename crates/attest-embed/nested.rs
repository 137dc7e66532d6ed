//! A cargo within a build script, with flags and a target directory of its own: one command builds
//! everything, and what has not changed is not built again. Build scripts include this file.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The profile in the workspace's Cargo.toml; also the name of its directory.
const PROFILE: &str = "embed";

/// What to build for the target of the outer build.
pub(crate) struct Nested<'a> {
    /// Packages whose program has their name.
    pub(crate) programs: &'a [&'a str],
    /// Their features.
    pub(crate) features: &'a [&'a str],
    /// For rustc; no other flags reach it.
    pub(crate) flags: &'a [&'a str],
    /// Directories of the crates that go into them, from the workspace's on: when something in one
    /// changes, it is built again.
    pub(crate) crates: &'a [&'a str],
    /// The name of the target directory, within the outer build's.
    pub(crate) directory: &'a str,
}

impl Nested<'_> {
    /// Returns the directory with the built programs.
    pub(crate) fn build(&self) -> PathBuf {
        let workspace = PathBuf::from(variable("CARGO_MANIFEST_DIR")).join("../..");
        self.watch(&workspace);
        let target = variable("TARGET");
        let directory = target_directory().join(self.directory);
        let mut cargo = Command::new(variable("CARGO"));
        cargo
            .current_dir(&workspace)
            .args(["build", "--profile", PROFILE, "--target"])
            .arg(&target)
            .args(
                self.programs
                    .iter()
                    .flat_map(|program| ["--package", program, "--bin", program]),
            )
            .args(
                self.features
                    .iter()
                    .flat_map(|feature| ["--features", feature]),
            )
            .arg("--target-dir")
            .arg(&directory);
        for name in env::vars_os()
            .map(|(name, _)| name)
            .filter(|name| is_outer(name))
        {
            cargo.env_remove(name);
        }
        // The first of these outranks all other ways to set flags. The second keeps the nested cargo
        // away from the lock that the outer one holds, where a user's settings share a directory.
        cargo
            .env("CARGO_ENCODED_RUSTFLAGS", self.flags.join("\u{1f}"))
            .env("CARGO_BUILD_BUILD_DIR", &directory);
        let status = cargo
            .status()
            .unwrap_or_else(|error| panic!("cannot run {cargo:?}: {error}"));
        assert!(
            status.success(),
            "{} do not build; what cargo said of it is above. It was: {cargo:?}",
            self.programs.join(" and ")
        );
        directory.join(target).join(PROFILE)
    }

    /// Build again when one of these changes.
    fn watch(&self, workspace: &Path) {
        let crates = self.crates.iter().flat_map(|directory| {
            ["src", "Cargo.toml"].map(|path| workspace.join(directory).join(path))
        });
        for path in crates.chain(["Cargo.toml", "Cargo.lock"].map(|name| workspace.join(name))) {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }
}

/// Whether a variable is about the outer build: clippy's wrapper, coverage flags, this crate's
/// features. Where cargo finds crates, and the job server, stay.
fn is_outer(name: &OsStr) -> bool {
    const NAMES: [&str; 6] = [
        "RUSTFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_TARGET_DIR",
        "CARGO_INCREMENTAL",
        "TARGET",
        "LLVM_PROFILE_FILE",
    ];
    const STARTS: [&str; 9] = [
        "RUSTC_",
        "RUSTDOC",
        "CLIPPY_",
        "CARGO_BUILD_",
        "CARGO_CFG_",
        "CARGO_FEATURE_",
        "CARGO_MANIFEST_",
        "CARGO_PKG_",
        "CARGO_PROFILE_",
    ];
    let name = name.to_string_lossy();
    NAMES.contains(&name.as_ref()) || STARTS.iter().any(|start| name.starts_with(start))
}

/// Beside the outer build's profiles, so that all of them share it and it lives as long as they:
/// `target` for an OUT_DIR of `target/debug/build/attest-embed-…/out`.
fn target_directory() -> PathBuf {
    let out = PathBuf::from(variable("OUT_DIR"));
    // Cargo marks its target directory with this file.
    let target = out
        .ancestors()
        .find(|path| path.join("CACHEDIR.TAG").is_file());
    target.unwrap_or(&out).to_owned()
}

/// Read a built program.
pub(crate) fn read(program: &Path) -> Vec<u8> {
    fs::read(program).unwrap_or_else(|error| {
        panic!(
            "cannot read the program to embed, {}: {error}",
            program.display()
        )
    })
}

/// Write a program, without touching what is the same already. What is compiled in lies in
/// OUT_DIR, where no later nested build changes it behind the compiler's back.
pub(crate) fn put(bytes: &[u8], to: &Path) {
    if fs::read(to).is_ok_and(|old| old == bytes) {
        return;
    }
    fs::write(to, bytes).unwrap_or_else(|error| panic!("cannot write {}: {error}", to.display()));
}

/// What cargo tells build scripts.
pub(crate) fn variable(name: &str) -> OsString {
    env::var_os(name).unwrap_or_else(|| panic!("cargo does not set {name}"))
}

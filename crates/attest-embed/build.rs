//! Builds the static programs that attest carries, by a nested cargo with a target directory of
//! its own: one command builds everything, and what has not changed is not built again.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::Compression;
use flate2::write::GzEncoder;

/// Names a directory that holds the programs already built, for distributors.
const PREBUILT: &str = "ATTEST_EMBED_DIR";
const PROGRAMS: [&str; 2] = ["attest-agent", "attest-lab"];
/// The crates that go into them.
const CRATES: [&str; 4] = [
    "attest-agent",
    "attest-lab",
    "attest-net",
    "attest-protocol",
];
/// The profile in the workspace's Cargo.toml; also the name of its directory.
const PROFILE: &str = "embed";
/// No dynamic loader, which neither a bare guest nor a lab may have.
const RUSTFLAGS: [&str; 2] = ["-Ctarget-feature=+crt-static", "-Crelocation-model=static"];

fn main() {
    println!("cargo::rerun-if-env-changed={PREBUILT}");
    let built = match env::var_os(PREBUILT) {
        Some(directory) => prebuilt(&PathBuf::from(directory)),
        None => build(),
    };
    let out = PathBuf::from(variable("OUT_DIR"));
    let [agent, lab] = PROGRAMS.map(|program| read(&built.join(program)));
    put(&gzip(&agent), &out.join("attest-agent.gz"));
    put(&lab, &out.join("attest-lab"));
}

fn prebuilt(directory: &Path) -> PathBuf {
    for program in PROGRAMS {
        println!(
            "cargo::rerun-if-changed={}",
            directory.join(program).display()
        );
    }
    directory.to_owned()
}

fn read(program: &Path) -> Vec<u8> {
    fs::read(program).unwrap_or_else(|error| {
        panic!(
            "cannot read the program to embed, {}: {error}",
            program.display()
        )
    })
}

/// Equal programs become equal bytes: the header has no time and no name in it.
fn gzip(program: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder
        .write_all(program)
        .and_then(|()| encoder.finish())
        .expect("a vector takes all")
}

/// Write a program, without touching what is the same already. What is compiled in lies in
/// OUT_DIR, where no later nested build changes it behind the compiler's back.
fn put(bytes: &[u8], to: &Path) {
    if fs::read(to).is_ok_and(|old| old == bytes) {
        return;
    }
    fs::write(to, bytes).unwrap_or_else(|error| panic!("cannot write {}: {error}", to.display()));
}

/// Returns the directory with the built programs.
fn build() -> PathBuf {
    let workspace = PathBuf::from(variable("CARGO_MANIFEST_DIR")).join("../..");
    watch(&workspace);
    let target = variable("TARGET");
    let text = target.to_string_lossy();
    assert!(
        text.contains("-linux-gnu") || text.contains("-linux-musl"),
        "attest's guests and labs are Linux: cannot build their programs for {text}; \
         build for a linux-gnu or linux-musl target, or name a directory with them by {PREBUILT}"
    );
    let directory = target_directory();
    let mut cargo = Command::new(variable("CARGO"));
    cargo
        .current_dir(&workspace)
        .args(["build", "--profile", PROFILE, "--target"])
        .arg(&target)
        .args(
            PROGRAMS
                .iter()
                .flat_map(|program| ["--package", program, "--bin", program]),
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
        .env("CARGO_ENCODED_RUSTFLAGS", RUSTFLAGS.join("\u{1f}"))
        .env("CARGO_BUILD_BUILD_DIR", &directory);
    let status = cargo
        .status()
        .unwrap_or_else(|error| panic!("cannot run {cargo:?}: {error}"));
    assert!(
        status.success(),
        "the programs that attest carries do not build; what cargo said of it is above. It was: {cargo:?}"
    );
    directory.join(target).join(PROFILE)
}

/// Build again when one of these changes.
fn watch(workspace: &Path) {
    let crates = CRATES.iter().flat_map(|name| {
        ["src", "Cargo.toml"].map(|path| workspace.join("crates").join(name).join(path))
    });
    for path in crates.chain(["Cargo.toml", "Cargo.lock"].map(|name| workspace.join(name))) {
        println!("cargo::rerun-if-changed={}", path.display());
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
/// `target/embedded` for an OUT_DIR of `target/debug/build/attest-embed-…/out`. Not
/// `target/embed`, which is the outer cargo's directory for that profile.
fn target_directory() -> PathBuf {
    let out = PathBuf::from(variable("OUT_DIR"));
    // Cargo marks its target directory with this file.
    let target = out
        .ancestors()
        .find(|path| path.join("CACHEDIR.TAG").is_file());
    target.unwrap_or(&out).join("embedded")
}

fn variable(name: &str) -> OsString {
    env::var_os(name).unwrap_or_else(|| panic!("cargo does not set {name}"))
}

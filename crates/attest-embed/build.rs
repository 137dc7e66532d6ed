//! Builds the static programs that attest carries.

mod nested;

use std::env;
use std::path::{Path, PathBuf};

use nested::{Nested, put, read, variable};

/// Names a directory that holds the programs already built, for distributors.
const PREBUILT: &str = "ATTEST_EMBED_DIR";
const PROGRAMS: [&str; 2] = ["attest-agent", "attest-lab"];
const NESTED: Nested<'_> = Nested {
    programs: &PROGRAMS,
    features: &[],
    // No dynamic loader, which neither a bare guest nor a lab may have.
    flags: &["-Ctarget-feature=+crt-static", "-Crelocation-model=static"],
    crates: &[
        "crates/attest-agent",
        "crates/attest-lab",
        "crates/attest-net",
        "crates/attest-protocol",
    ],
    // Not `embed`, which is the outer cargo's directory for that profile.
    directory: "embedded",
};

fn main() {
    println!("cargo::rerun-if-env-changed={PREBUILT}");
    let built = match env::var_os(PREBUILT) {
        Some(directory) => prebuilt(&PathBuf::from(directory)),
        None => build(),
    };
    let out = PathBuf::from(variable("OUT_DIR"));
    let [agent, lab] = PROGRAMS.map(|program| read(&built.join(program)));
    put(&lz4(&agent), &out.join("attest-agent.lz4"));
    put(&lab, &out.join("attest-lab"));
}

fn build() -> PathBuf {
    let target = variable("TARGET");
    let text = target.to_string_lossy();
    assert!(
        text.contains("-linux-gnu") || text.contains("-linux-musl"),
        "attest's guests and labs are Linux: cannot build their programs for {text}; \
         build for a linux-gnu or linux-musl target, or name a directory with them by {PREBUILT}"
    );
    NESTED.build()
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

/// In the legacy format, which kernels use: a magic number, and the packed size before the only block.
fn lz4(program: &[u8]) -> Vec<u8> {
    const MAGIC: u32 = 0x184c_2102;
    let block = lz4_flex::block::compress(program);
    let size = u32::try_from(block.len()).expect("a program of a few megabytes");
    [&MAGIC.to_le_bytes()[..], &size.to_le_bytes(), &block].concat()
}

//! Builds the guest without an operating system (`guests/metal`).

#[path = "../attest-embed/nested.rs"]
mod nested;

use std::path::PathBuf;

use nested::{Nested, put, read, variable};

const PROGRAM: &str = "attest-metal-guest";
/// As kernels are named: with a release, which attest asks of each.
const KERNEL: &str = "vmlinux-0.1-metal";
const NESTED: Nested<'_> = Nested {
    programs: &[PROGRAM],
    features: &["metal"],
    flags: &[
        // KVM's emulator knows few instructions of SSE, and the VMM's kernel may be one that emulates.
        "-Ctarget-feature=-sse,-sse2",
        "-Crelocation-model=static",
        "-Cforce-unwind-tables=no",
    ],
    crates: &["guests/metal"],
    directory: "embedded-metal",
};

fn main() {
    println!("cargo::rerun-if-changed=../../guests/metal/build.rs");
    println!("cargo::rerun-if-changed=../../guests/metal/metal.ld");
    // For other processors there is none, and `metal::kernel` says so.
    if variable("CARGO_CFG_TARGET_ARCH") == "x86_64" {
        let out = PathBuf::from(variable("OUT_DIR")).join(KERNEL);
        put(&read(&NESTED.build().join(PROGRAM)), &out);
        println!("cargo::rustc-env=ATTEST_METAL_GUEST={}", out.display());
    }
}

//! Links the program as what a VMM loads: at a fixed address, without start files or libraries.

fn main() {
    println!("cargo::rerun-if-changed=metal.ld");
    let directory = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let arguments = [
        "-nostartfiles",
        "-nostdlib",
        "-static",
        "-no-pie",
        "-Wl,--build-id=none",
        "-Wl,--strip-all",
        "-Wl,--omagic",
        &format!("-Wl,-T,{directory}/metal.ld"),
    ];
    for argument in arguments {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
}

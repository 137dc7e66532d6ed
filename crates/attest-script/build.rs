//! Lists the files of the Python package, for the program to carry them.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

fn main() {
    let manifest = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    let source = manifest.join("../../python/src");
    println!("cargo::rerun-if-changed={}", source.display());
    let mut files = Vec::new();
    collect(&source, &source, &mut files);
    files.sort();
    let mut list = String::from("&[\n");
    let mut hasher = blake3::Hasher::new();
    for (name, path) in &files {
        let contents = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        hasher.update(name.as_bytes()).update(&[0]);
        hasher
            .update(&contents.len().to_le_bytes())
            .update(&contents);
        let path = fs::canonicalize(path).unwrap_or_else(|error| panic!("{name}: {error}"));
        let path = path.to_str().expect("the path of the sources is UTF-8");
        writeln!(list, "    ({name:?}, include_bytes!({path:?})),").expect("memory");
    }
    list.push(']');
    let out = PathBuf::from(variable("OUT_DIR"));
    fs::write(out.join("files.rs"), list).expect("OUT_DIR can be written");
    let digest = hasher.finalize().to_hex();
    println!("cargo::rustc-env=ATTEST_PYTHON_DIGEST={}", &digest[..16]);
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"))
}

/// What CPython imports, and what type checkers read is left out: it is for the package.
fn collect(root: &Path, directory: &Path, files: &mut Vec<(String, PathBuf)>) {
    let entries =
        fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    for entry in entries {
        let path = entry.expect("a directory can be read").path();
        if path.is_dir() {
            collect(root, &path, files);
        } else if path.extension().is_some_and(|extension| extension == "py") {
            let name = path.strip_prefix(root).expect("it is in there");
            files.push((name.to_str().expect("names in ASCII").to_owned(), path));
        }
    }
}

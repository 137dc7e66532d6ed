//! Nix of another release of Debian, in a directory of its own with all of its libraries.
//!
//! Its loader and C library are of that release, too. So the program names its loader by the whole path,
//! and the directory cannot be moved; it is at its place from the first moment that it is seen there.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::apt::Apt;
use super::{Nix, numbers, said, version};

/// Where Debian has the libraries of amd64.
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
/// The loader, among the libraries.
const LOADER: &str = "lib/ld-linux-x86-64.so.2";
/// What names the release that a directory has its programs from.
const SUITE: &str = "suite";
/// Programs of their own. All others are links to the first.
const PROGRAMS: [&str; 2] = ["bin/nix", "libexec/nix-nswrapper"];

/// All that are there, with their releases.
pub(super) fn fetched(cache: &Path) -> Vec<(String, Nix)> {
    let entries = cache.read_dir().into_iter().flatten().flatten();
    let one = |directory: PathBuf| {
        let name = directory
            .file_name()?
            .to_str()?
            .strip_prefix("nix-")?
            .to_owned();
        let suite = fs::read_to_string(directory.join(SUITE)).ok()?;
        let nix = Nix {
            version: numbers(&name),
            program: directory.join("bin/nix"),
        };
        Some((suite, nix))
    };
    entries.filter_map(|entry| one(entry.path())).collect()
}

/// Makes sure that the one of this release is there.
pub(super) fn ensure(suite: &str, host: Option<&str>, cache: &Path) -> Result<(), String> {
    let is_there = || fetched(cache).iter().any(|(of, _)| of == suite);
    if is_there() {
        return Ok(());
    }
    let in_cache = |error: io::Error| format!("{}: {error}", cache.display());
    fs::create_dir_all(cache).map_err(in_cache)?;
    let lock = File::create(cache.join("nix.lock")).map_err(in_cache)?;
    lock.lock().map_err(in_cache)?;
    // Another xtask may have brought it meanwhile.
    if is_there() {
        return Ok(());
    }
    // One that was broken off may have left its own.
    let work = cache.join(format!("partial-nix-{suite}"));
    remove(&work).map_err(in_cache)?;
    let brought = bring(suite, host, cache, &work);
    brought.and(remove(&work).map_err(in_cache))
}

fn bring(suite: &str, host: Option<&str>, cache: &Path, work: &Path) -> Result<(), String> {
    let apt = Apt::new(suite, host, work.join("apt"))?;
    eprintln!(
        "xtask: fetches the Nix of Debian {suite} into {} once",
        cache.display()
    );
    let (unpacked, made) = (work.join("unpacked"), work.join("made"));
    apt.unpack(&["nix-bin", "patchelf"], &unpacked)?;
    let in_work = |error: io::Error| format!("{}: {error}", work.display());
    assemble(&unpacked, &made).map_err(in_work)?;
    fs::write(made.join(SUITE), suite).map_err(in_work)?;

    let told = said(started(&made, &made.join(PROGRAMS[0])).arg("--version"))?;
    let version = version(&told).ok_or_else(|| format!("its version is {told:?}"))?;
    let place = cache.join(format!("nix-{version}"));
    settle(&made, &place, &unpacked.join("usr/bin/patchelf"))?;
    remove(&place).map_err(in_work)?;
    fs::rename(&made, &place).map_err(in_work)?;
    let runs = said(Command::new(place.join(PROGRAMS[0])).arg("--version"));
    runs.map(drop).inspect_err(|_| drop(remove(&place)))
}

/// A program as it came, with the libraries that were made ready.
fn started(made: &Path, program: &Path) -> Command {
    let mut command = Command::new(made.join(LOADER));
    command
        .arg("--library-path")
        .args([&made.join("lib"), program]);
    command
}

/// Lets the programs find their loader at the place where they will be, and their libraries beside them.
fn settle(made: &Path, place: &Path, patchelf: &Path) -> Result<(), String> {
    let programs = PROGRAMS.map(|name| made.join(name));
    for program in programs.iter().filter(|program| program.exists()) {
        let mut patchelf = started(made, patchelf);
        patchelf.arg("--set-interpreter").arg(place.join(LOADER));
        // Of the kind that counts for libraries of libraries, too: none of them has its own.
        patchelf.args(["--force-rpath", "--set-rpath", "$ORIGIN/../lib"]);
        said(patchelf.arg(program))?;
    }
    // It is not at its place yet: all but the loader's path is tried.
    let mut nix = Command::new(made.join(LOADER));
    said(nix.arg(&programs[0]).arg("--version")).map(drop)
}

/// Nix is the programs and what they load; all else of the packages is left out.
fn assemble(unpacked: &Path, made: &Path) -> io::Result<()> {
    fs::create_dir_all(made)?;
    fs::rename(unpacked.join(LIBRARIES), made.join("lib"))?;
    for entry in made.join("lib").read_dir()? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        }
    }
    for directory in ["bin", "libexec"] {
        let from = unpacked.join("usr").join(directory);
        let into = made.join(directory);
        fs::create_dir(&into)?;
        for entry in from.read_dir()? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with("nix") {
                fs::rename(entry.path(), into.join(entry.file_name()))?;
            }
        }
    }
    Ok(())
}

fn remove(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

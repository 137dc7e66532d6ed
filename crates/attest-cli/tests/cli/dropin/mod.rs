//! The drop-in for the NixOS test driver, as its users call it.

mod corpus;
mod ends;
mod guests;
mod usage;

use std::fs;
use std::os::unix::fs::FileTypeExt as _;
use std::path::PathBuf;
use std::process::Command;

use crate::support::{Ended, Place, run};

/// A place for a test with this script.
fn place(script: &str) -> Place {
    let place = Place::new("");
    fs::write(place.path("test.py"), script).unwrap();
    fs::create_dir(place.path("out")).unwrap();
    place
}

/// The drop-in, with nothing of the caller's environment in its way.
fn driver(place: &Place, arguments: &[&str]) -> Command {
    let mut command = place.attest(&["nixos-test-driver"]);
    command.args(arguments);
    for variable in [
        "startScripts",
        "vmNames",
        "vmStartScripts",
        "containerNames",
        "containerStartScripts",
        "vlans",
        "testScript",
        "globalTimeout",
        "logLevel",
        "LOGFILE",
        "ATTEST_AGENT",
        "DISPLAY",
        "WAYLAND_DISPLAY",
    ] {
        command.env_remove(variable);
    }
    command
}

/// Run `test.py` with these further arguments.
fn run_script(place: &Place, arguments: &[&str]) -> Ended {
    run(driver(place, arguments).arg("test.py"))
}

/// The driver's processes live in labs of their own: what is left has this directory in its
/// command line.
fn left(place: &Place) -> Vec<String> {
    let own = place.path("");
    let own = own.to_str().unwrap();
    let mut left = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(line) = fs::read(entry.path().join("cmdline")) else {
            continue;
        };
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(own) {
            left.push(line);
        }
    }
    left
}

/// Sockets below the directory of machines' state.
fn sockets(place: &Place) -> Vec<PathBuf> {
    let mut directories = vec![place.path("run")];
    let mut found = Vec::new();
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap().flatten() {
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                directories.push(entry.path());
            } else if kind.is_socket() {
                found.push(entry.path());
            }
        }
    }
    found
}

/// A file of the output directory.
fn output(place: &Place, name: &str) -> String {
    let path: PathBuf = place.path("out").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

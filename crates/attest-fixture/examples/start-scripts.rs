//! Write start scripts into a directory, to run them by hand: `start-scripts DIRECTORY [NAME…]`. All
//! are on VLAN 1. With `FIXTURE=system` in the environment they boot a Debian.

use std::path::PathBuf;
use std::process::ExitCode;

use attest_fixture::{Fixture, Node};

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let Some(directory) = words.next().map(PathBuf::from) else {
        eprintln!("usage: start-scripts DIRECTORY [NAME…]");
        return ExitCode::from(2);
    };
    let nodes: Vec<Node> = (1..)
        .zip(words)
        .map(|(number, name)| Node::new(&name, number).on(&[1]))
        .collect();
    let fixture = match std::env::var_os("FIXTURE") {
        Some(kind) if kind == "system" => Fixture::system(),
        _ => Fixture::new(),
    };
    match fixture.and_then(|fixture| fixture.write_all(&directory, &nodes)) {
        Ok(scripts) => {
            for script in scripts {
                println!("{}", script.display());
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}: {:?}", std::error::Error::source(&error));
            ExitCode::FAILURE
        }
    }
}

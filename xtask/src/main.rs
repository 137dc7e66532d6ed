//! Serves the developers of attest: `cargo xtask demo`, `test`, `bench`, `check`, `ci`.
//!
//! It is the first thing that a fresh machine compiles, so it has no dependencies.

mod elf;
mod nix;
mod packages;
mod place;
mod python;
mod setup;
mod step;
mod task;
mod tools;

use std::process::ExitCode;

use crate::task::Task;

fn main() -> ExitCode {
    let outcome = Task::parse(std::env::args_os().skip(1).collect()).and_then(Task::run);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::from(failure.code())
        }
    }
}

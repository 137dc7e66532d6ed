//! The drop-in for the NixOS test driver: its command line, environment, JSON, outputs and exit
//! codes. What its scripts may call is in `python/`; what runs its start scripts, in the library.

mod arguments;
mod base;
mod config;
mod driver;
mod end;
mod script;
mod symbols;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser as _;
use clap::error::ErrorKind;

pub(crate) use self::arguments::NixosArguments;

/// The names under which attest is the drop-in.
pub(crate) const PROGRAM: &str = "nixos-test-driver";
/// And the program that comes with it.
pub(crate) const SYMBOLS: &str = "generate-driver-symbols";

/// Be the drop-in when attest is called by one of its names.
pub(crate) fn by_name(mut words: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    let called = words.next()?;
    let name = std::path::Path::new(&called).file_name()?.to_str()?;
    // A wrapper of nixpkgs calls `.NAME-wrapped`.
    let name = name
        .strip_prefix('.')
        .and_then(|name| name.strip_suffix("-wrapped"))
        .unwrap_or(name);
    match name {
        PROGRAM => Some(run(words)),
        SYMBOLS => Some(symbols::generate()),
        _ => None,
    }
}

fn run(words: impl Iterator<Item = OsString>) -> ExitCode {
    let began = std::time::Instant::now();
    let words = std::iter::once(OsString::from(PROGRAM)).chain(words);
    let arguments = match NixosArguments::try_parse_from(words) {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
                _ => ExitCode::from(end::USAGE),
            };
        }
    };
    with(&arguments, began)
}

/// As a subcommand.
pub(crate) fn with(arguments: &NixosArguments, began: std::time::Instant) -> ExitCode {
    match config::Configuration::of(arguments) {
        Ok(configuration) => driver::run(configuration, began),
        Err(error) => error.report(),
    }
}

/// As a subcommand.
pub(crate) use self::symbols::generate as generate_symbols;

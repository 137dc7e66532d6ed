//! The `attest` command: arguments in, exit codes out. What it does is in the library.

mod arguments;
mod command;
mod failure;
mod human;
mod interrupt;
mod nixos;
mod orphans;
mod output;
mod progress;
mod signals;
mod terminal;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use nix::time::{ClockId, clock_gettime};

use crate::arguments::{Arguments, Command};

/// When this process began: what it has used of a processor until now lies between, and hardly anything else does. The
/// kernel tells it no finer itself than in hundredths of seconds.
fn start_of_process() -> Instant {
    let now = Instant::now();
    let used = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map(Duration::from);
    used.ok()
        .and_then(|used| now.checked_sub(used))
        .unwrap_or(now)
}

fn main() -> ExitCode {
    let began = start_of_process();
    if let Some(code) = nixos::by_name(std::env::args_os()) {
        return code;
    }
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // clap's own codes: 0 for --help and --version, 2 for a wrong command line.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    arguments.color.apply();
    let result = match arguments.command {
        Command::Run(run) => command::run::run(&run, &arguments.verbosity, began),
        Command::List(list) => command::list::run(&list),
        Command::Plan(plan) => command::plan::run(&plan),
        Command::Doctor(doctor) => command::doctor::run(&doctor),
        Command::Shell(shell) => command::shell::run(&shell, &arguments.verbosity),
        Command::Exec(exec) => command::exec::run(&exec, &arguments.verbosity),
        Command::Image(image) => command::image::run(&image, &arguments.verbosity),
        Command::Snapshot(snapshot) => command::snapshot::run(&snapshot, &arguments.verbosity),
        Command::NixosTestDriver(driver) => return nixos::with(&driver, began),
        Command::GenerateDriverSymbols => Ok(nixos::generate_symbols()),
        Command::Rpc(rpc) => command::rpc::run(&rpc),
        Command::Nix(nix) => command::nix::run(&nix, &arguments.verbosity),
        Command::MergeJunit(merge) => command::merge::run(&merge),
        Command::Completions(completions) => command::generate::completions(&completions),
        Command::Man(man) => command::generate::man(&man),
        Command::Schema => command::generate::schema(),
    };
    match result {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}

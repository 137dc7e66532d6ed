//! One file per subcommand.

pub(crate) mod doctor;
mod entries;
pub(crate) mod exec;
pub(crate) mod generate;
pub(crate) mod image;
pub(crate) mod list;
mod matrix;
pub(crate) mod merge;
pub(crate) mod nix;
pub(crate) mod plan;
pub(crate) mod rpc;
pub(crate) mod run;
pub(crate) mod shell;
pub(crate) mod snapshot;

use std::process::ExitCode;

use attest::ExitStatus;

use crate::failure::Failure;

/// What every subcommand gives.
pub(crate) type CommandResult = Result<ExitCode, Failure>;

/// What ran in the guest ended so, and attest ends likewise: 128 + N when signal N ended it.
pub(crate) fn exit_code(status: ExitStatus) -> ExitCode {
    let code = match status {
        ExitStatus::Code(code) => code,
        ExitStatus::Signal(signal) => 128 + signal,
    };
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}

/// The runtime that a subcommand runs on. Two workers: more would only take the cores from the
/// guests.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| {
            Failure::infrastructure(format!("error: no asynchronous runtime: {error}"))
        })
}

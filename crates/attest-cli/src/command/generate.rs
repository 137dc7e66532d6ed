//! `attest completions`, `attest man`, `attest schema`: what packagers and editors want.

use std::io::{Write, stdout};
use std::process::ExitCode;

use clap::CommandFactory;

use super::CommandResult;
use crate::arguments::{Arguments, Completions};
use crate::failure::Failure;

pub(crate) fn completions(arguments: &Completions) -> ExitCode {
    let mut command = Arguments::command();
    clap_complete::generate(arguments.shell, &mut command, "attest", &mut stdout());
    ExitCode::SUCCESS
}

pub(crate) fn man() -> CommandResult {
    let mut page = Vec::new();
    let man = clap_mangen::Man::new(Arguments::command());
    man.render(&mut page)
        .and_then(|()| stdout().write_all(&page))
        .map_err(|error| unwritable(&error))?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn schema() -> CommandResult {
    let text = serde_json::to_string_pretty(&attest::manifest::schema()).expect("a schema is JSON");
    writeln!(stdout(), "{text}").map_err(|error| unwritable(&error))?;
    Ok(ExitCode::SUCCESS)
}

fn unwritable(error: &std::io::Error) -> Failure {
    Failure::infrastructure(format!("error: stdout cannot be written: {error}"))
}

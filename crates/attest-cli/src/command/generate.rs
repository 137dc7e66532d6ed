//! `attest completions`, `attest man`, `attest schema`: what packagers and editors want.

use std::process::ExitCode;

use clap::CommandFactory;

use super::CommandResult;
use crate::arguments::{Arguments, Completions, Man};
use crate::failure::Failure;
use crate::terminal;

pub(crate) fn completions(arguments: &Completions) -> CommandResult {
    let mut command = Arguments::command();
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, "attest", &mut script);
    terminal::print(script)?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn man(arguments: &Man) -> CommandResult {
    // Built, the commands know their full names, and the options that all have.
    let mut command = Arguments::command();
    command.build();
    for name in &arguments.page {
        command = command_named(&command, name)?;
    }
    let mut page = Vec::new();
    let man = clap_mangen::Man::new(command);
    man.render(&mut page).expect("memory takes it");
    terminal::print(page)?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn schema() -> CommandResult {
    let text = serde_json::to_string_pretty(&attest::manifest::schema()).expect("a schema is JSON");
    terminal::print(text + "\n")?;
    Ok(ExitCode::SUCCESS)
}

fn command_named(parent: &clap::Command, name: &str) -> Result<clap::Command, Failure> {
    let known = || {
        parent
            .get_subcommands()
            .filter(|known| !known.is_hide_set())
    };
    known()
        .find(|known| known.get_name() == name)
        .cloned()
        .ok_or_else(|| {
            let names: Vec<&str> = known().map(clap::Command::get_name).collect();
            Failure::usage(format!(
                "error: there is no command `{name}`; there are: {}",
                names.join(", ")
            ))
        })
}

//! `attest list`: the tests that `run` would run.

use std::process::ExitCode;

use attest::run::Overrides;
use serde_json::json;

use super::CommandResult;
use super::run::{keep_job, selection};
use crate::arguments::{Format, Select};
use crate::terminal;

pub(crate) fn run(arguments: &Select) -> CommandResult {
    let overrides = Overrides::default();
    let scripts = attest_script::Scripts::default();
    let selecting = selection(arguments, &overrides, &scripts);
    let mut selection = super::runtime()?.block_on(selecting)?;
    keep_job(&mut selection, arguments)?;
    let mut text = String::new();
    for lab in &selection.labs {
        for test in &lab.tests {
            match arguments.format {
                Format::Human => text.push_str(&test.name),
                Format::Json => {
                    let line = json!({ "test": test.name, "manifest": lab.manifest, "timeout_ms": test.timeout.as_millis() });
                    text.push_str(&line.to_string());
                }
            }
            text.push('\n');
        }
    }
    terminal::print(text)?;
    Ok(ExitCode::SUCCESS)
}

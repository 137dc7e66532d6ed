//! `attest merge-junit`: one report of those of several shards.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use attest_report::{Duplicates, MergeError, merge_junit};

use super::CommandResult;
use crate::arguments::MergeJunit;
use crate::failure::Failure;

pub(crate) fn run(arguments: &MergeJunit) -> CommandResult {
    let usage = |text: String| Failure::usage(format!("error: {text}"));
    let mut reports = Vec::new();
    for path in &arguments.files {
        let name = path.display().to_string();
        let text = fs::read_to_string(path)
            .map_err(|error| usage(format!("{name} cannot be read: {error}")))?;
        reports.push((name, text));
    }
    let duplicates = if arguments.allow_duplicates {
        Duplicates::Kept
    } else {
        Duplicates::Refused
    };
    let merged = merge_junit(&reports, duplicates).map_err(|error| {
        let hint = match &error {
            MergeError::Duplicates { .. } => "; --allow-duplicates takes each of them",
            MergeError::Report { .. } | MergeError::Write(_) => "",
        };
        usage(format!("{}{hint}", attest::chain(&error)))
    })?;
    write(&arguments.output, &merged)?;
    Ok(ExitCode::SUCCESS)
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let unwritable = |error: std::io::Error| {
        Failure::usage(format!(
            "error: {} cannot be written: {error}",
            path.display()
        ))
    };
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(unwritable)?;
    }
    fs::write(path, text).map_err(unwritable)
}

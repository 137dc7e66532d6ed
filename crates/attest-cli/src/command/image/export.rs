//! What machines boot from, written to files of its own.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use attest::images::{self, ImageError};
use attest::manifest::Size;
use serde_json::json;

use super::super::CommandResult;
use crate::arguments::{ImageInitrd, ImageKernel, ImageStore};
use crate::command::entries::Shown;
use crate::failure::Failure;
use crate::human::{count, size};
use crate::progress::Shower;

pub(super) fn store(arguments: &ImageStore, shown: Shown, mut shower: Shower) -> CommandResult {
    make_room(&arguments.output)?;
    let limit = arguments.at_most.map(Size::bytes);
    let written = images::store(&arguments.closure, &arguments.output, limit, &mut |step| {
        shower.show(&step);
    });
    drop(shower);
    let image = written.map_err(|error| too_large(arguments, error))?;
    let human = || {
        if shown.is_quiet {
            return String::new();
        }
        let (bytes, paths) = (size(image.bytes), count(image.paths, "path", "paths"));
        format!("{}  {bytes}  {paths}\n", arguments.output.display())
    };
    let object = json!({ "path": arguments.output, "bytes": image.bytes, "paths": image.paths });
    shown.print(human, std::iter::once(object))?;
    Ok(ExitCode::SUCCESS)
}

fn too_large(arguments: &ImageStore, error: ImageError) -> Failure {
    match (&error, &arguments.limit_of) {
        (ImageError::Limit { bytes, limit }, Some(of)) => Failure::infrastructure(format!(
            "error: the image takes {}, more than the {} of {of}; make that larger, or put less into the systems",
            size(*bytes),
            size(*limit)
        )),
        _ => error.into(),
    }
}

/// The directory of a file: as the output of a derivation it is not there yet.
fn make_room(file: &Path) -> Result<(), Failure> {
    let Some(directory) = file.parent() else {
        return Ok(());
    };
    fs::create_dir_all(directory).map_err(|error| {
        let directory = directory.display();
        Failure::infrastructure(format!("error: {directory} cannot be made: {error}"))
    })
}

pub(super) fn initrd(arguments: &ImageInitrd) -> CommandResult {
    make_room(&arguments.output)?;
    let modules = arguments.modules.as_deref();
    images::initrd(&arguments.kernel, modules, &arguments.output)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn kernel(arguments: &ImageKernel) -> CommandResult {
    make_room(&arguments.output)?;
    images::vmlinux(&arguments.kernel, &arguments.output)?;
    Ok(ExitCode::SUCCESS)
}

//! Programs of the host that do what no library does.

use std::io;
use std::process::{Command, Stdio};

use crate::error::ImageError;

/// Run one to its end. `package` says where it is to be had.
///
/// # Errors
/// [`ImageError::Program`]: it is not installed, or fails; with what it said.
pub(crate) fn run(command: &mut Command, package: &str) -> Result<(), ImageError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.env("LC_ALL", "C").stdin(Stdio::null()).output();
    let reason = match output {
        Ok(output) if output.status.success() => return Ok(()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            format!("{}: {}", output.status, said.trim())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            format!("it is not installed; {package}")
        }
        Err(error) => error.to_string(),
    };
    Err(ImageError::Program { program, reason })
}

//! How an error ends the command: printed with its causes, as one of the documented exit codes.

use std::process::ExitCode;

use attest::events;
use attest::images::{ImageError, SnapshotError};

/// An error of the command itself, not of a test.
#[derive(Debug)]
pub(crate) struct Failure {
    code: events::ExitCode,
    text: String,
}

impl Failure {
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self {
            code: events::ExitCode::Usage,
            text: text.into(),
        }
    }

    pub(crate) fn nothing(text: impl Into<String>) -> Self {
        Self {
            code: events::ExitCode::NothingToRun,
            text: text.into(),
        }
    }

    pub(crate) fn infrastructure(text: impl Into<String>) -> Self {
        Self {
            code: events::ExitCode::Infrastructure,
            text: text.into(),
        }
    }

    fn told(code: events::ExitCode, what: &str) -> Self {
        let style = anstyle::AnsiColor::Red.on_default().bold();
        let text = format!("{style}error{style:#}: {what}");
        Self { code, text }
    }

    /// Print it and give the exit code.
    pub(crate) fn report(self) -> ExitCode {
        crate::terminal::tell(self.text.trim_end());
        ExitCode::from(self.code.code())
    }
}

impl From<ImageError> for Failure {
    fn from(error: ImageError) -> Self {
        let code = match &error {
            ImageError::NoEntry { .. } | ImageError::ManyEntries { .. } => events::ExitCode::Usage,
            _ => events::ExitCode::Infrastructure,
        };
        Self::told(code, &attest::chain(&error))
    }
}

impl From<SnapshotError> for Failure {
    fn from(error: SnapshotError) -> Self {
        match error {
            SnapshotError::Image(error) => error.into(),
            error => {
                let code = match &error {
                    SnapshotError::Limit { .. } => events::ExitCode::Usage,
                    _ => events::ExitCode::Infrastructure,
                };
                Self::told(code, &attest::chain(&error))
            }
        }
    }
}

impl From<attest::Error> for Failure {
    fn from(error: attest::Error) -> Self {
        let code = match &error {
            attest::Error::Manifest(manifest) => {
                // It draws its own source lines, with the offending text underlined.
                return Self::usage(manifest.render(crate::terminal::stderr_has_color()));
            }
            attest::Error::UnknownMachine { .. }
            | attest::Error::UnknownImage { .. }
            | attest::Error::UnknownKept { .. } => events::ExitCode::Usage,
            attest::Error::Interrupted => events::ExitCode::Interrupted,
            error if error.verdict() == events::Verdict::TimedOut => events::ExitCode::TimedOut,
            error if error.verdict() == events::Verdict::Failed => events::ExitCode::TestFailed,
            _ => events::ExitCode::Infrastructure,
        };
        Self::told(code, &error.chain())
    }
}

//! Failures with their codes.

use attest_protocol::message::{Failure, FailureCode};

use crate::shell::ShellError;

pub(crate) fn failure(code: FailureCode, message: impl Into<String>) -> Failure {
    Failure {
        code,
        message: message.into(),
        last_seen: None,
    }
}

/// What only an agent can.
pub(crate) fn unsupported(what: &str) -> Failure {
    failure(
        FailureCode::Unsupported,
        format!(
            "{what}: the guest has no agent, and its root shell alone cannot; let attest push its agent, or do it with commands"
        ),
    )
}

pub(crate) fn cancelled() -> Failure {
    failure(FailureCode::Cancelled, "cancelled by the host")
}

impl From<ShellError> for Failure {
    fn from(error: ShellError) -> Self {
        let code = match error {
            ShellError::Silent { .. } => FailureCode::TimedOut,
            _ => FailureCode::Os,
        };
        failure(code, error.to_string())
    }
}

//! Failures with their codes.

use std::io;

use attest_protocol::message::{Failure, FailureCode};

pub(crate) fn failure(code: FailureCode, message: impl Into<String>) -> Failure {
    Failure {
        code,
        message: message.into(),
        last_seen: None,
    }
}

/// An error of the guest's operating system while doing `what`.
pub(crate) fn os(what: impl AsRef<str>, error: &io::Error) -> Failure {
    let code = match error.kind() {
        io::ErrorKind::NotFound => FailureCode::NotFound,
        io::ErrorKind::PermissionDenied => FailureCode::Denied,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => FailureCode::NoSpace,
        io::ErrorKind::InvalidInput => FailureCode::Invalid,
        io::ErrorKind::Unsupported => FailureCode::Unsupported,
        _ => FailureCode::Os,
    };
    failure(code, format!("{}: {error}", what.as_ref()))
}

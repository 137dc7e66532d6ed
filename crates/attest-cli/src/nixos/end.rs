//! How the drop-in ends: as the NixOS test driver does.

use std::process::ExitCode;

use nix::sys::signal::{SigHandler, Signal, raise, signal};

/// Its command line is wrong, as argparse has it.
pub(super) const USAGE: u8 = 2;
/// A test failed, or something beneath it broke: those who call the NixOS test driver know no
/// other code.
pub(super) const FAILED: u8 = 1;

/// Why nothing was run.
#[derive(Debug)]
pub(super) struct Refusal {
    code: u8,
    text: String,
}

impl Refusal {
    /// The command line, the environment or the configuration is wrong.
    pub(super) fn usage(text: impl Into<String>) -> Self {
        Self {
            code: USAGE,
            text: text.into(),
        }
    }

    /// Something is not as it has to be.
    pub(super) fn failed(text: impl Into<String>) -> Self {
        Self {
            code: FAILED,
            text: text.into(),
        }
    }

    /// Print it and give the exit code.
    pub(super) fn report(self) -> ExitCode {
        let text = self.text.trim_end();
        crate::terminal::tell(&format!("{}: error: {text}", super::PROGRAM));
        ExitCode::from(self.code)
    }
}

impl<E: std::error::Error> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self::failed(attest::chain(&error))
    }
}

/// End by a signal, as whoever waits for us expects it.
pub(super) fn by_signal(number: Signal) -> ExitCode {
    by_default::restore(number);
    let _ = raise(number);
    // It is blocked, or ignored by whoever started us.
    ExitCode::from(128_u8.saturating_add(u8::try_from(number as i32).unwrap_or(u8::MAX)))
}

mod by_default {
    #![expect(unsafe_code, reason = "signal(2)")]

    use super::{SigHandler, Signal, signal};

    pub(super) fn restore(number: Signal) {
        // SAFETY: the default action replaces a handler; no code of ours runs in it.
        let _ = unsafe { signal(number, SigHandler::SigDfl) };
    }
}

//! What an agent that was pushed through a root shell takes over from it: commands find what they
//! would have found in that shell.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

/// What a shell passed on.
#[derive(Debug, Clone)]
pub struct Inherited {
    /// The environment of commands.
    pub(crate) environment: Vec<(OsString, OsString)>,
    /// Where commands run.
    pub(crate) directory: PathBuf,
    /// The shell of commands: the bash of its `PATH`.
    pub(crate) shell: Option<String>,
}

impl Inherited {
    /// Of this process. Ends what a shell does to its background programs.
    pub fn take() -> Self {
        signals::heed();
        // The last is what bash says of the program itself.
        let environment: Vec<_> = std::env::vars_os()
            .filter(|(name, _)| name != "_")
            .collect();
        Self {
            directory: std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
            shell: bash(&environment),
            environment,
        }
    }
}

fn bash(environment: &[(OsString, OsString)]) -> Option<String> {
    let path = crate::spawn::found(OsStr::new("bash"), environment);
    let path = path.into_string().ok()?;
    path.starts_with('/').then_some(path)
}

mod signals {
    #![expect(unsafe_code, reason = "sigaction(2)")]

    use nix::sys::signal::{SigHandler, Signal, signal};

    /// A shell lets its background programs ignore these, and programs that they start inherit it.
    pub(super) fn heed() {
        for number in [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP] {
            // SAFETY: no handler is installed.
            let _ = unsafe { signal(number, SigHandler::SigDfl) };
        }
    }
}

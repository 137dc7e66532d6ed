//! Programs that take descriptors by systemd's protocol for socket activation (sd_listen_fds(3)):
//! they must be told their own process number, which nobody knows before they run.

use std::os::unix::process::CommandExt;
use std::process::ExitCode;

use super::wrapped::turn_into;

/// As the first argument of this program: become the program after it, as a listener.
pub(super) const AS_LISTENER: &str = "--as-listener";
/// Become the program of these words: how many descriptors, path, name, arguments.
pub(super) fn become_listener(words: &[std::ffi::OsString]) -> ExitCode {
    let Some((count, words)) = words.split_first() else {
        return ExitCode::from(super::USAGE);
    };
    turn_into(words, |program| {
        program
            .env("LISTEN_FDS", count)
            .env("LISTEN_PID", std::process::id().to_string())
            .exec()
    })
}

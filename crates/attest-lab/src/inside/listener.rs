//! Programs that take descriptors by systemd's protocol for socket activation (sd_listen_fds(3)):
//! they must be told their own process number, which nobody knows before they run.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

/// As the first argument of this program: become the program after it, as a listener.
pub(super) const AS_LISTENER: &str = "--as-listener";
/// Become the program of these words: how many descriptors, path, name, arguments.
pub(super) fn become_listener(words: &[std::ffi::OsString]) -> ExitCode {
    let [count, path, name, arguments @ ..] = words else {
        return ExitCode::from(super::USAGE);
    };
    let error = Command::new(path)
        .arg0(name)
        .args(arguments)
        .env("LISTEN_FDS", count)
        .env("LISTEN_PID", std::process::id().to_string())
        .exec();
    eprintln!("{}: {error}", path.display());
    ExitCode::from(super::REFUSED)
}

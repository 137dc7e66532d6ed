//! Programs that are started by way of this one: it makes something of itself first, and then becomes them.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use super::{listener, nspawn};
use crate::cgroup::Group;

/// This program, from within.
pub(super) const SELF: &str = "/proc/self/exe";
/// As the first argument: enter a new control group of the name after it, below that of the lab, and become the program
/// after that, by way of us if it says so.
pub(super) const IN_GROUP: &str = "--in-group";

/// `None` where these words are not of this kind.
pub(super) fn run(words: &[OsString]) -> Option<ExitCode> {
    match words.split_first()? {
        (first, words) if first == listener::AS_LISTENER => Some(listener::become_listener(words)),
        (first, words) if first == nspawn::ON_HOST_NETWORK => Some(nspawn::go_out(words)),
        (first, [name, words @ ..]) if first == IN_GROUP => Some(in_group(name, words)),
        _ => None,
    }
}

fn in_group(name: &OsString, words: &[OsString]) -> ExitCode {
    let name = name.to_string_lossy();
    if let Err(error) = Group::named(&name).and_then(|group| group.enter()) {
        eprintln!("the control group {name} cannot be made: {error}");
        return ExitCode::from(super::REFUSED);
    }
    run(words).unwrap_or_else(|| turn_into(words, Command::exec))
}

/// Become the program of these words: path, name, arguments. `become_it` only returns why it cannot.
pub(super) fn turn_into(
    words: &[OsString],
    become_it: impl FnOnce(&mut Command) -> io::Error,
) -> ExitCode {
    let [path, name, arguments @ ..] = words else {
        return ExitCode::from(super::USAGE);
    };
    let error = become_it(Command::new(path).arg0(name).args(arguments));
    eprintln!("{}: {error}", path.display());
    ExitCode::from(super::REFUSED)
}

//! The lab process itself: what the binary `attest-lab` runs.
//!
//! Stage 1 makes the namespaces, forks stage 2 and hands on its exit status. Stage 2 is PID 1
//! of the lab: it makes networks and TAPs, starts programs, and reaps all that ends in there.

mod cards;
mod children;
mod directories;
mod listener;
mod loop_device;
mod mapper;
mod namespaces;
mod nspawn;
mod roots;
mod serve;
mod wrapped;

use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;

use rustix::net::SocketType;

use self::namespaces::Stage;
use crate::cgroup::Group;
use crate::socket;
use crate::wire::{Failure, Report, encode};
use crate::words::Words;

/// `EX_USAGE` of sysexits.h: started by hand.
const USAGE: u8 = 64;
/// `EX_PROTOCOL`: the driver sent what is no request.
const PROTOCOL: u8 = 76;
/// `EX_OSERR`: the kernel refused something that a lab cannot be without.
const REFUSED: u8 = 71;

/// The whole program.
pub fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    if let Some(code) = wrapped::run(&words) {
        return code;
    }
    // Stays readable in `ps`, where the path in memory would not be.
    let _ = nix::sys::prctl::set_name(c"attest-lab");
    let Some(control) = control_socket() else {
        eprintln!(
            "attest-lab is started by attest, with a control socket as its stdin; see `attest --help`"
        );
        return ExitCode::from(USAGE);
    };
    namespaces::keep_descriptors();
    let Some(words) = Words::parse(&words) else {
        return ExitCode::from(USAGE);
    };
    let group = match words.group.as_deref().map(group).transpose() {
        Ok(group) => group,
        Err(failure) => return refuse(&control, failure),
    };
    let (stage, code) = match namespaces::enter(control, &words) {
        Ok(ended) => ended,
        Err((control, failure)) => (Stage::Outer, refuse(&control, failure)),
    };
    if let (Stage::Outer, Some(group)) = (stage, group) {
        group.remove();
    }
    code
}

/// The control group of this name, for what is started in one of its own.
fn group(name: &str) -> Result<Group, Failure> {
    let made = Group::named(name).and_then(|group| {
        group.sweep();
        group.make()?;
        Ok(group)
    });
    made.map_err(|error| Failure {
        what: "make its control group, which containers need; /sys/fs/cgroup must be writable"
            .into(),
        errno: error.raw_os_error().unwrap_or(0),
    })
}

/// Tell the driver why, and end.
fn refuse(control: &OwnedFd, failure: Failure) -> ExitCode {
    // A driver that is gone needs no reason.
    let _ = socket::send(control, &encode(&Report::Failed(failure)), &[], None);
    ExitCode::from(REFUSED)
}

/// Take the socket off stdin, so that no program in the lab inherits it.
fn control_socket() -> Option<OwnedFd> {
    let stdin = std::io::stdin();
    let kind = rustix::net::sockopt::socket_type(stdin.as_fd()).ok()?;
    if kind != SocketType::SEQPACKET {
        return None;
    }
    let control = stdin.as_fd().try_clone_to_owned().ok()?;
    let null = std::fs::File::open("/dev/null").ok()?;
    rustix::stdio::dup2_stdin(&null).ok()?;
    Some(control)
}

/// What could not be done, with the kernel's answer.
fn failed(what: &'static str) -> impl Fn(std::io::Error) -> Failure {
    move |error| Failure {
        what: what.to_owned(),
        errno: error.raw_os_error().unwrap_or(0),
    }
}

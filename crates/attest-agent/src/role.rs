//! What the agent is to its guest.

use std::cell::RefCell;
use std::fs;

use attest_protocol::message::{Failure, FailureCode, Response};
use nix::unistd::Pid;

use crate::failure::{failure, os};
use crate::inherited::Inherited;
use crate::stage::Waiting;
use crate::system::Leaving;

/// What the agent is to its guest.
#[derive(Debug)]
pub enum Role {
    /// Its PID 1.
    Init,
    /// Started by what becomes its PID 1, which waits for a word as long as there is a pipe.
    Beside(RefCell<Option<Waiting>>),
    /// One program of many.
    Guest,
    /// One program of many, which a root shell started.
    Pushed(Inherited),
}

impl Role {
    /// Beside a PID 1 that waits.
    pub fn beside(waiting: Waiting) -> Self {
        Self::Beside(RefCell::new(Some(waiting)))
    }

    /// Whether the system has not begun.
    pub(crate) fn waits(&self) -> bool {
        matches!(self, Self::Beside(waiting) if waiting.borrow().is_some())
    }

    /// What its shell passed on, if one started it.
    pub(crate) fn inherited(&self) -> Option<&Inherited> {
        match self {
            Self::Pushed(inherited) => Some(inherited),
            _ => None,
        }
    }

    /// Let the system's own init begin.
    pub(crate) fn boot(&self) -> Result<Response, Failure> {
        let Self::Beside(waiting) = self else {
            return Err(failure(
                FailureCode::Unsupported,
                "there is no init that waits to be booted",
            ));
        };
        let Some(waiting) = waiting.take() else {
            return Err(failure(
                FailureCode::Invalid,
                "the system was booted before",
            ));
        };
        name_the_machine();
        let told = waiting.boot();
        told.map_err(|error| os("PID 1 cannot be told to boot", &error))?;
        Ok(Response::Done)
    }

    /// Have the machine end by what is its PID 1. That is the agent itself where this gives false.
    pub(crate) fn leave(&self, leaving: Leaving) -> Result<bool, Failure> {
        let waiting = match self {
            Self::Init => return Ok(false),
            Self::Beside(waiting) => waiting.take(),
            Self::Guest | Self::Pushed(_) => None,
        };
        match waiting {
            Some(waiting) => waiting
                .leave(leaving)
                .map_err(|error| os("PID 1 cannot be told to end", &error))?,
            None => ask_init(leaving)?,
        }
        Ok(true)
    }
}

/// An empty machine-id means that systemd makes one, at some cost; a missing one, that it presets
/// all units, as at the first boot of an installation, at much.
fn name_the_machine() {
    const PATH: &str = "/etc/machine-id";
    let known = fs::read_to_string(PATH);
    if known.is_ok_and(|known| known.trim().is_empty() || known.trim() == "uninitialized") {
        let halves = [(); 2].map(|()| crate::system::random_u64());
        // Without it, systemd makes one.
        let _ = fs::write(PATH, format!("{:016x}{:016x}\n", halves[0], halves[1]));
    }
}

/// Tell the system's own init.
fn ask_init(leaving: Leaving) -> Result<(), Failure> {
    let init = fs::read_to_string("/proc/1/comm").unwrap_or_default();
    if init.trim() == "systemd" {
        return signal_systemd(leaving);
    }
    let program = match leaving {
        Leaving::PowerOff => "poweroff",
        Leaving::Reboot => "reboot",
    };
    // Every other init comes with these programs; what they print is on the console.
    let started = std::process::Command::new(program)
        .env("PATH", crate::DEFAULT_PATH)
        .stdin(std::process::Stdio::null())
        .spawn();
    let failed = |error: &std::io::Error| {
        os(
            format!("the init `{}` cannot be told: `{program}`", init.trim()),
            error,
        )
    };
    started.map(drop).map_err(|error| failed(&error))
}

/// By its real-time signals (systemd(1), SIGNALS), which work before its sockets do.
fn signal_systemd(leaving: Leaving) -> Result<(), Failure> {
    let beyond = match leaving {
        Leaving::PowerOff => 4,
        Leaving::Reboot => 5,
    };
    let number = nix::libc::SIGRTMIN() + beyond;
    realtime::kill(Pid::from_raw(1), number)
        .map_err(|error| os("systemd cannot be signalled", &error.into()))
}

mod realtime {
    #![expect(unsafe_code, reason = "kill(2) with a number that nix has no name for")]

    use nix::errno::Errno;
    use nix::unistd::Pid;

    pub(super) fn kill(pid: Pid, signal: i32) -> nix::Result<()> {
        // SAFETY: kill(2) takes numbers and touches no memory of ours.
        Errno::result(unsafe { nix::libc::kill(pid.as_raw(), signal) }).map(drop)
    }
}

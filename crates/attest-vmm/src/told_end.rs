//! Ends of virtual machines that are judged alike under every VMM: what attest did, and what the guest's kernel announced.

use attest_lab::ProcessExit;

use crate::EndingKind;
use crate::qemu::console::Announced;

/// How a VMM ended that nobody told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Untold {
    /// With this exit code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

/// `Err`: the end, for that decides it. All else is for the VMM's own judge.
pub(crate) fn told_end(
    exit: ProcessExit,
    killed: bool,
    announced: &Announced,
    vmm: &str,
) -> Result<Untold, (EndingKind, String)> {
    let untold = match exit {
        ProcessExit::LabEnded => {
            let detail = format!("the lab process ended, and {vmm} with it");
            return Err((EndingKind::LabEnded, detail));
        }
        ProcessExit::Code(code) => Untold::Code(code),
        ProcessExit::Signal(signal) => Untold::Signal(signal),
    };
    // Also when attest ended it: a kernel in panic may stay as it is.
    if let Some(panic) = &announced.panic {
        return Err((EndingKind::Panic, panic.clone()));
    }
    if killed {
        return Err((EndingKind::Killed, "ended by attest".to_owned()));
    }
    // Also by a signal: where the board cannot switch off, attest does it.
    if announced.off {
        let detail = "the guest switched itself off".to_owned();
        return Err((EndingKind::PoweredOff, detail));
    }
    Ok(untold)
}

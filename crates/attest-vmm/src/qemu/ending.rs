//! How a machine ended, judged from all that was seen of it.

use attest_lab::ProcessExit;

use super::console::Announced;
use crate::told_end::{Untold, told_end};
use crate::{Accelerator, Ending, EndingKind};

/// All that was seen of an end.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// How QEMU's process ended.
    pub(super) exit: ProcessExit,
    /// Whether attest asked for it.
    pub(super) killed: bool,
    /// Reason of QMP's last `SHUTDOWN`.
    pub(super) reason: Option<String>,
    /// Resets that QMP told before: those that booted the guest again.
    pub(super) reboots: u32,
    /// By the guest's kernel, on the console.
    pub(super) announced: Announced,
    /// Whether there was a triple fault, where QEMU tells of them.
    pub(super) faulted: bool,
    /// QEMU's own last words.
    pub(super) words: String,
    /// What executed the guest.
    pub(super) accelerator: Accelerator,
}

impl Seen {
    pub(super) fn judge(self) -> Ending {
        let (kind, detail) = self.kind();
        Ending { kind, detail }
    }

    fn kind(self) -> (EndingKind, String) {
        let untold = match told_end(self.exit, self.killed, &self.announced, "QEMU") {
            Ok(untold) => untold,
            Err(told) => return told,
        };
        match untold {
            Untold::Signal(signal) => (
                EndingKind::VmmCrashed,
                format!("QEMU was ended by signal {signal}: {}", self.words),
            ),
            Untold::Code(0) => {
                let announced = self.announced.resets > self.reboots;
                judge_reason(
                    self.reason.as_deref(),
                    announced,
                    self.faulted,
                    self.accelerator,
                )
            }
            Untold::Code(code) => (
                EndingKind::VmmCrashed,
                format!("QEMU ended with exit code {code}: {}", self.words),
            ),
        }
    }
}

/// An orderly end of QEMU. On every board an orderly reboot with `reboot=t` *is* a triple fault,
/// so only one that nobody announced is a fault.
fn judge_reason(
    reason: Option<&str>,
    announced_reset: bool,
    faulted: bool,
    accelerator: Accelerator,
) -> (EndingKind, String) {
    match reason {
        Some("guest-shutdown") => (EndingKind::PoweredOff, "the guest switched itself off".to_owned()),
        Some("guest-panic") => (EndingKind::Panic, "the guest reported a panic".to_owned()),
        // QMP tells nothing before it was greeted: a guest that fails at once is known by the rest.
        None | Some("guest-reset" | "subsystem-reset") if announced_reset => (EndingKind::Reset, "the guest rebooted".to_owned()),
        None if faulted => (EndingKind::TripleFault, "the processor hit a triple fault".to_owned()),
        Some("guest-reset") => match (faulted, accelerator) {
            (true, _) => (EndingKind::TripleFault, "the processor hit a triple fault".to_owned()),
            // KVM does not tell the two apart, and our kernels reset in no other way.
            (false, Accelerator::Kvm) => (
                EndingKind::TripleFault,
                "the guest reset without announcing it: under KVM that is most often a triple fault".to_owned(),
            ),
            (false, Accelerator::Tcg) => (EndingKind::Reset, "the guest reset the board without announcing it".to_owned()),
        },
        Some("host-signal") => (EndingKind::VmmCrashed, "someone else ended QEMU by a signal".to_owned()),
        Some("host-qmp-quit") => (EndingKind::Killed, "ended by attest".to_owned()),
        other => (EndingKind::VmmCrashed, format!("QEMU ended by itself, reason: {}", other.unwrap_or("none given"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen() -> Seen {
        Seen {
            exit: ProcessExit::Code(0),
            killed: false,
            reason: Some("guest-reset".to_owned()),
            reboots: 0,
            announced: Announced::default(),
            faulted: false,
            words: "its words".to_owned(),
            accelerator: Accelerator::Tcg,
        }
    }

    #[test]
    fn each_end_has_its_own_name() {
        let reason = |reason: &str| Some(reason.to_owned());
        let panic = Announced {
            panic: reason("Oops"),
            ..Announced::default()
        };
        let reset = Announced {
            resets: 1,
            ..Announced::default()
        };
        let off = Announced {
            off: true,
            ..Announced::default()
        };
        let cases = [
            (
                Seen {
                    exit: ProcessExit::LabEnded,
                    killed: true,
                    ..seen()
                },
                EndingKind::LabEnded,
                "lab process",
            ),
            (
                Seen {
                    killed: true,
                    exit: ProcessExit::Signal(9),
                    ..seen()
                },
                EndingKind::Killed,
                "attest",
            ),
            (
                Seen {
                    announced: panic,
                    faulted: true,
                    ..seen()
                },
                EndingKind::Panic,
                "Oops",
            ),
            (
                Seen {
                    announced: reset.clone(),
                    faulted: true,
                    ..seen()
                },
                EndingKind::Reset,
                "rebooted",
            ),
            (
                Seen {
                    announced: reset,
                    reboots: 1,
                    faulted: true,
                    ..seen()
                },
                EndingKind::TripleFault,
                "triple fault",
            ),
            (
                Seen {
                    faulted: true,
                    ..seen()
                },
                EndingKind::TripleFault,
                "triple fault",
            ),
            (
                Seen {
                    accelerator: Accelerator::Kvm,
                    ..seen()
                },
                EndingKind::TripleFault,
                "KVM",
            ),
            (seen(), EndingKind::Reset, "without announcing"),
            (
                Seen {
                    reason: reason("guest-shutdown"),
                    ..seen()
                },
                EndingKind::PoweredOff,
                "off",
            ),
            (
                Seen {
                    announced: off,
                    exit: ProcessExit::Signal(9),
                    ..seen()
                },
                EndingKind::PoweredOff,
                "off",
            ),
            (
                Seen {
                    exit: ProcessExit::Signal(11),
                    reason: None,
                    ..seen()
                },
                EndingKind::VmmCrashed,
                "signal 11: its words",
            ),
            (
                Seen {
                    exit: ProcessExit::Code(1),
                    ..seen()
                },
                EndingKind::VmmCrashed,
                "exit code 1: its words",
            ),
            (
                Seen {
                    reason: reason("host-signal"),
                    ..seen()
                },
                EndingKind::VmmCrashed,
                "signal",
            ),
            (
                Seen {
                    reason: None,
                    ..seen()
                },
                EndingKind::VmmCrashed,
                "none given",
            ),
            (
                Seen {
                    reason: None,
                    faulted: true,
                    ..seen()
                },
                EndingKind::TripleFault,
                "triple fault",
            ),
        ];
        for (seen, kind, detail) in cases {
            let ending = seen.clone().judge();
            assert_eq!(ending.kind, kind, "{seen:?}");
            assert!(ending.detail.contains(detail), "{}", ending.detail);
        }
    }
}

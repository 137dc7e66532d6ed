//! How a machine ended, judged from all that was seen of it. Firecracker's exit code is the least of that: 0 follows a
//! reset as well as a guest that broke.

use std::time::Duration;

use attest_lab::ProcessExit;

use super::NAME;
use crate::qemu::console::Announced;
use crate::told_end::{Untold, told_end};
use crate::{Ending, EndingKind};

/// A call of the system that its filter does not allow (`FcExitCode::BadSyscall`).
const BAD_SYSCALL: i32 = 148;
/// It was ended by a fault of its own, or by somebody's signal (`FcExitCode`: SIGBUS, SIGSEGV, SIGXFSZ, SIGXCPU,
/// SIGPIPE, SIGHUP, SIGILL).
const SIGNALS: [(i32, &str); 7] = [
    (149, "SIGBUS"),
    (150, "SIGSEGV"),
    (151, "SIGXFSZ"),
    (154, "SIGXCPU"),
    (155, "SIGPIPE"),
    (156, "SIGHUP"),
    (157, "SIGILL"),
];

/// All that was seen of an end.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// How its process ended.
    pub(super) exit: ProcessExit,
    /// Whether attest asked for it.
    pub(super) killed: bool,
    /// Whether its guest ran, or only waited for what would be loaded.
    pub(super) ran: bool,
    /// By the guest's kernel, on the console.
    pub(super) announced: Announced,
    /// Firecracker's own last words.
    pub(super) words: String,
}

impl Seen {
    pub(super) fn judge(self) -> Ending {
        let (kind, detail) = self.kind();
        Ending { kind, detail }
    }

    fn kind(self) -> (EndingKind, String) {
        let untold = match told_end(self.exit, self.killed, &self.announced, NAME) {
            Ok(untold) => untold,
            Err(told) => return told,
        };
        let crashed = |how: String| (EndingKind::VmmCrashed, format!("{how}: {}", self.words));
        match untold {
            Untold::Signal(signal) => crashed(format!("Firecracker was ended by signal {signal}")),
            Untold::Code(0 | 1) if self.announced.resets > 0 => {
                (EndingKind::Reset, "the guest rebooted".to_owned())
            }
            Untold::Code(BAD_SYSCALL) => {
                crashed("its system call filter ended Firecracker".to_owned())
            }
            Untold::Code(code) if !self.ran => crashed(format!(
                "Firecracker ended with exit code {code} before its guest went on"
            )),
            Untold::Code(code @ (0 | 1)) => (
                EndingKind::TripleFault,
                format!(
                    "the guest ended without announcing it, most often by a triple fault (Firecracker does not tell it \
                     from a reset: exit code {code})"
                ),
            ),
            Untold::Code(code) => {
                let signal = SIGNALS.iter().find(|(known, _)| *known == code);
                crashed(match signal {
                    Some((_, name)) => format!("Firecracker was ended by {name}"),
                    None => format!("Firecracker ended with exit code {code}"),
                })
            }
        }
    }
}

/// How long a guest took to boot, in a line of Firecracker's log.
pub(super) fn boot_time(line: &str) -> Option<Duration> {
    let (_, time) = line.split_once("Guest-boot-time =")?;
    let (microseconds, _) = time.trim_start().split_once(" us")?;
    microseconds.parse().ok().map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen() -> Seen {
        Seen {
            exit: ProcessExit::Code(0),
            killed: false,
            ran: true,
            announced: Announced::default(),
            words: "its words".to_owned(),
        }
    }

    #[test]
    fn each_end_has_its_own_name() {
        let announced = |panic: Option<&str>, resets, off| Announced {
            panic: panic.map(str::to_owned),
            resets,
            off,
        };
        let cases = [
            (
                ProcessExit::LabEnded,
                false,
                Announced::default(),
                EndingKind::LabEnded,
                "lab process",
            ),
            (
                ProcessExit::Code(0),
                false,
                announced(Some("Oops"), 1, false),
                EndingKind::Panic,
                "Oops",
            ),
            (
                ProcessExit::Signal(9),
                true,
                Announced::default(),
                EndingKind::Killed,
                "attest",
            ),
            (
                ProcessExit::Signal(9),
                false,
                announced(None, 0, true),
                EndingKind::PoweredOff,
                "off",
            ),
            (
                ProcessExit::Code(0),
                false,
                announced(None, 1, false),
                EndingKind::Reset,
                "rebooted",
            ),
            (
                ProcessExit::Code(1),
                false,
                announced(None, 1, false),
                EndingKind::Reset,
                "rebooted",
            ),
            (
                ProcessExit::Code(0),
                false,
                Announced::default(),
                EndingKind::TripleFault,
                "code 0",
            ),
            (
                ProcessExit::Code(1),
                false,
                Announced::default(),
                EndingKind::TripleFault,
                "code 1",
            ),
            (
                ProcessExit::Code(148),
                false,
                Announced::default(),
                EndingKind::VmmCrashed,
                "filter",
            ),
            (
                ProcessExit::Code(150),
                false,
                Announced::default(),
                EndingKind::VmmCrashed,
                "SIGSEGV: its words",
            ),
            (
                ProcessExit::Code(153),
                false,
                Announced::default(),
                EndingKind::VmmCrashed,
                "code 153: its words",
            ),
            (
                ProcessExit::Signal(11),
                false,
                Announced::default(),
                EndingKind::VmmCrashed,
                "signal 11: its words",
            ),
        ];
        for (exit, killed, announced, kind, detail) in cases {
            let ending = Seen {
                exit,
                killed,
                announced,
                ..seen()
            }
            .judge();
            assert_eq!(ending.kind, kind, "{exit:?}: {}", ending.detail);
            assert!(ending.detail.contains(detail), "{}", ending.detail);
        }
    }

    #[test]
    fn a_guest_that_never_ran_has_done_nothing() {
        let ending = Seen {
            exit: ProcessExit::Code(1),
            ran: false,
            ..seen()
        }
        .judge();
        assert_eq!(ending.kind, EndingKind::VmmCrashed);
        assert!(ending.detail.ends_with("went on: its words"), "{ending:?}");
    }

    #[test]
    fn the_boot_timers_line_is_read() {
        let line = "2026-11-28T10:26:07.2 [vm:fc_vcpu 0:INFO] Guest-boot-time = 123456 us 123 ms, 1234 CPU us 1 CPU ms";
        assert_eq!(boot_time(line), Some(Duration::from_micros(123_456)));
        assert_eq!(
            boot_time("Guest-boot-time =   7500 us 7 ms"),
            Some(Duration::from_micros(7500))
        );
        assert_eq!(boot_time("Listening on API socket"), None);
    }
}

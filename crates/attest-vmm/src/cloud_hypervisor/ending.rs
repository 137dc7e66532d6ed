//! How a machine ended, judged from all that was seen of it. Cloud Hypervisor's exit code is the least of that: 0
//! follows a guest that is off, somebody's SIGTERM, and an error of KVM's.

use attest_lab::ProcessExit;

use super::NAME;
use crate::qemu::console::Announced;
use crate::told_end::{Untold, told_end};
use crate::{Ending, EndingKind};

/// All that was seen of an end.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// How its process ended.
    pub(super) exit: ProcessExit,
    /// Whether attest asked for it.
    pub(super) killed: bool,
    /// Whether the guest was reset where it may not be: attest has ended it then.
    pub(super) reset: bool,
    /// Resets before: those that booted the guest again.
    pub(super) reboots: u32,
    /// By the guest's kernel, on the console.
    pub(super) announced: Announced,
    /// Whether the guest has told Cloud Hypervisor that it is off.
    pub(super) off: bool,
    /// Cloud Hypervisor's own last words.
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
            _ if self.reset && self.announced.resets > self.reboots => {
                (EndingKind::Reset, "the guest rebooted".to_owned())
            }
            _ if self.reset => (
                EndingKind::TripleFault,
                "the guest reset without announcing it, most often by a triple fault (Cloud Hypervisor does not tell \
                 them apart)"
                    .to_owned(),
            ),
            Untold::Signal(signal) => {
                crashed(format!("Cloud Hypervisor was ended by signal {signal}"))
            }
            Untold::Code(0) if self.off => (
                EndingKind::PoweredOff,
                "the guest switched itself off without announcing it".to_owned(),
            ),
            Untold::Code(0) => crashed(
                "Cloud Hypervisor ended by itself, by somebody's signal, or by an error of KVM's".to_owned(),
            ),
            Untold::Code(code) => {
                crashed(format!("Cloud Hypervisor ended with exit code {code}"))
            }
        }
    }
}

/// Whether a line of Cloud Hypervisor's log tells that its guest is off. Not all versions have it.
pub(super) fn tells_of_off(line: &str) -> bool {
    line.ends_with("-- VM guest exit event")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(exit: ProcessExit) -> Seen {
        Seen {
            exit,
            killed: false,
            reset: false,
            reboots: 0,
            announced: Announced::default(),
            off: false,
            words: "its words".to_owned(),
        }
    }

    fn announced(panic: Option<&str>, resets: u32, off: bool) -> Announced {
        Announced {
            panic: panic.map(str::to_owned),
            resets,
            off,
        }
    }

    #[test]
    fn each_end_has_its_own_name() {
        let signal = || seen(ProcessExit::Signal(9));
        let code = |code| seen(ProcessExit::Code(code));
        let cases = [
            (
                Seen {
                    killed: true,
                    ..seen(ProcessExit::LabEnded)
                },
                EndingKind::LabEnded,
                "lab process",
            ),
            (
                Seen {
                    reset: true,
                    announced: announced(Some("Oops"), 1, false),
                    ..signal()
                },
                EndingKind::Panic,
                "Oops",
            ),
            (
                Seen {
                    killed: true,
                    ..signal()
                },
                EndingKind::Killed,
                "attest",
            ),
            (
                Seen {
                    announced: announced(None, 0, true),
                    ..code(0)
                },
                EndingKind::PoweredOff,
                "off",
            ),
            (
                Seen {
                    off: true,
                    ..code(0)
                },
                EndingKind::PoweredOff,
                "without",
            ),
            (
                Seen {
                    reset: true,
                    announced: announced(None, 1, false),
                    ..signal()
                },
                EndingKind::Reset,
                "rebooted",
            ),
            // It had announced the one before.
            (
                Seen {
                    reset: true,
                    reboots: 1,
                    announced: announced(None, 1, false),
                    ..signal()
                },
                EndingKind::TripleFault,
                "triple fault",
            ),
            (
                Seen {
                    reset: true,
                    ..signal()
                },
                EndingKind::TripleFault,
                "triple fault",
            ),
            (signal(), EndingKind::VmmCrashed, "signal 9: its words"),
            (code(0), EndingKind::VmmCrashed, "somebody's signal"),
            (code(1), EndingKind::VmmCrashed, "code 1: its words"),
        ];
        for (seen, kind, detail) in cases {
            let ending = seen.clone().judge();
            assert_eq!(ending.kind, kind, "{seen:?}: {}", ending.detail);
            assert!(ending.detail.contains(detail), "{}", ending.detail);
        }
    }

    #[test]
    fn the_line_of_a_guest_that_is_off_is_known() {
        let line = |what: &str| {
            format!("cloud-hypervisor:   0.02s: <vmm> INFO:vmm/src/lib.rs:2096 -- {what}")
        };
        assert!(tells_of_off(&line("VM guest exit event")));
        assert!(!tells_of_off(&line("VM exit event")));
    }
}

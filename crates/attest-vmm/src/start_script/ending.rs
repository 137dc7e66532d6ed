//! How a start script and its machine ended, judged from all that was seen of it.

use attest_lab::ProcessExit;

use crate::qemu::console::Announced;
use crate::{Ending, EndingKind};

/// All that was seen of an end.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) exit: ProcessExit,
    /// Whether attest asked for it.
    pub(super) killed: bool,
    /// Reason of QMP's last `SHUTDOWN`.
    pub(super) reason: Option<String>,
    /// By the guest's kernel, on the console.
    pub(super) announced: Announced,
    /// The script's last words.
    pub(super) words: String,
}

impl Seen {
    pub(super) fn judge(self) -> Ending {
        let (kind, detail) = self.kind();
        Ending { kind, detail }
    }

    fn kind(self) -> (EndingKind, String) {
        let words = self.words;
        match (self.exit, self.reason.as_deref()) {
            (ProcessExit::LabEnded, _) => (
                EndingKind::LabEnded,
                "the lab process ended, and the start script with it".to_owned(),
            ),
            _ if self.killed => (EndingKind::Killed, "ended by attest".to_owned()),
            (ProcessExit::Signal(signal), _) => (
                EndingKind::VmmCrashed,
                format!("the start script was ended by signal {signal}: {words}"),
            ),
            (_, Some("host-signal")) => (
                EndingKind::VmmCrashed,
                "someone else ended QEMU by a signal".to_owned(),
            ),
            (ProcessExit::Code(code), _) if code != 0 => (
                EndingKind::VmmCrashed,
                format!("the start script ended with exit code {code}: {words}"),
            ),
            (ProcessExit::Code(_), Some("guest-panic")) => {
                (EndingKind::Panic, "the guest reported a panic".to_owned())
            }
            (ProcessExit::Code(_), Some("guest-reset" | "subsystem-reset")) => {
                match self.announced.panic {
                    // With `panic=1`, a kernel resets by itself.
                    Some(panic) => (EndingKind::Panic, panic),
                    None => (EndingKind::Reset, "the guest rebooted".to_owned()),
                }
            }
            (ProcessExit::Code(_), Some("host-ui" | "host-qmp-quit")) => (
                EndingKind::PoweredOff,
                "its QEMU was told to quit, on a monitor".to_owned(),
            ),
            (ProcessExit::Code(_), _) => (
                EndingKind::PoweredOff,
                "the guest switched itself off".to_owned(),
            ),
        }
    }
}

/// What to do about a script that ended with these words, as far as that is known.
pub(super) fn advice(words: &str) -> &'static str {
    let says = |text: &str| words.contains(text);
    if says("KVM kernel module") || says("failed to initialize kvm") {
        "; this host has no KVM that can be used (`attest doctor` says why), and the script takes nothing \
         else: let it say `accel=kvm:tcg`, as NixOS's do, or make /dev/kvm accessible"
    } else if says("vde_plug") || says("libvdeplug") || says("no vde") {
        "; its VLAN cannot be reached: the driver must be told its number"
    } else if says("command not found") || says("No such file or directory") {
        "; the script and all that it names must be on this host"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen() -> Seen {
        Seen {
            exit: ProcessExit::Code(0),
            killed: false,
            reason: None,
            announced: Announced::default(),
            words: "its words".to_owned(),
        }
    }

    #[test]
    fn each_end_has_its_own_name() {
        let because = |reason: &str| Seen {
            reason: Some(reason.to_owned()),
            ..seen()
        };
        let exited = |exit| Seen { exit, ..seen() };
        let panicked = Announced {
            panic: Some("Oops".to_owned()),
            ..Announced::default()
        };
        let cases = [
            (exited(ProcessExit::LabEnded), EndingKind::LabEnded, "lab"),
            (
                Seen {
                    killed: true,
                    ..exited(ProcessExit::Signal(9))
                },
                EndingKind::Killed,
                "attest",
            ),
            (
                exited(ProcessExit::Signal(9)),
                EndingKind::VmmCrashed,
                "signal 9: its words",
            ),
            (
                exited(ProcessExit::Code(1)),
                EndingKind::VmmCrashed,
                "exit code 1: its words",
            ),
            (seen(), EndingKind::PoweredOff, "switched itself off"),
            (because("guest-shutdown"), EndingKind::PoweredOff, "itself"),
            (because("host-ui"), EndingKind::PoweredOff, "monitor"),
            (because("guest-reset"), EndingKind::Reset, "rebooted"),
            (because("guest-panic"), EndingKind::Panic, "panic"),
            (because("host-signal"), EndingKind::VmmCrashed, "signal"),
            (
                Seen {
                    announced: panicked.clone(),
                    ..because("guest-reset")
                },
                EndingKind::Panic,
                "Oops",
            ),
            // It panicked, was allowed to boot again, and did.
            (
                Seen {
                    announced: panicked,
                    ..because("guest-shutdown")
                },
                EndingKind::PoweredOff,
                "itself",
            ),
        ];
        for (seen, kind, detail) in cases {
            let ending = seen.clone().judge();
            assert_eq!(ending.kind, kind, "{seen:?}");
            assert!(ending.detail.contains(detail), "{}", ending.detail);
        }
    }

    #[test]
    fn a_missing_kvm_is_said_plainly() {
        let words = "Could not access KVM kernel module: No such file or directory; \
                     qemu-kvm: failed to initialize kvm: No such file or directory";
        assert!(advice(words).contains("no KVM"));
        assert_eq!(advice("something else"), "");
    }
}

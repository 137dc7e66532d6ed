//! How QEMU's machines come to the networks of a lab: over TAPs, or over relayed frames where there are none.

use std::error::Error;

use attest_manifest::{Backend, MachinePlan};
use attest_vmm::{Choice, VmmError};

/// Names in the environment how: `auto`, `never` (without TAPs) or `always` (with TAPs, without a probe).
const TUN_VARIABLE: &str = "ATTEST_TUN";

/// How the cards of QEMU's machines come to their networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Over TAPs, with offloads.
    Taps,
    /// Over sockets, from which the lab relays whole frames.
    Frames,
}

impl Way {
    /// For events, and for who compares them.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Taps => "TAPs",
            Self::Frames => "relayed frames",
        }
    }
}

/// The way that was chosen, once for each lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cards {
    way: Way,
    reason: String,
}

impl Cards {
    /// As the environment says, or else as this host can.
    pub(crate) fn choose() -> Result<Self, String> {
        let said = std::env::var(TUN_VARIABLE).ok();
        let why = |error| format!("no TAPs by /dev/net/tun: {}", cause(&error));
        let probe = || attest_net::probe::tun_device().map_err(why);
        Self::of(said.as_deref(), probe)
    }

    fn of(said: Option<&str>, probe: impl FnOnce() -> Result<(), String>) -> Result<Self, String> {
        let asked = |word| format!("{TUN_VARIABLE}={word}");
        let (way, reason) = match said {
            None | Some("" | "auto") => match probe() {
                Ok(()) => (Way::Taps, "/dev/net/tun makes them here".to_owned()),
                Err(why) => (Way::Frames, why),
            },
            Some(word @ "never") => (Way::Frames, asked(word)),
            Some(word @ "always") => (Way::Taps, asked(word)),
            Some(other) => {
                return Err(format!(
                    "{TUN_VARIABLE} is `{other}`, and must be `auto`, `never` or `always`"
                ));
            }
        };
        Ok(Self { way, reason })
    }

    pub(crate) fn way(&self) -> Way {
        self.way
    }

    /// For an event.
    pub(crate) fn choice(&self) -> Choice {
        Choice {
            what: "network cards",
            choice: self.way.name().to_owned(),
            reason: self.reason.clone(),
        }
    }

    /// Refuse machines that cannot be without a TAP.
    pub(super) fn check(&self, machine: &MachinePlan) -> Result<(), VmmError> {
        let needs_taps = matches!(
            machine.backend,
            Backend::Firecracker | Backend::CloudHypervisor
        );
        if self.way == Way::Taps || !needs_taps || machine.cards.is_empty() {
            return Ok(());
        }
        Err(VmmError::Unable {
            machine: machine.name.clone(),
            reason: format!(
                "the backend `{}` has network cards over TAPs only, and here it is without: {}; load the kernel module \
                 `tun`, and give this user (or container) /dev/net/tun; or choose the backend `qemu`, which needs none; \
                 or write `networks = []`",
                machine.backend.name(),
                self.reason
            ),
        })
    }
}

/// Without what to do, for nothing has to be done.
fn cause(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// Whether it makes a difference for this machine.
pub(super) fn is_concerned(machine: &MachinePlan) -> bool {
    machine.backend == Backend::Qemu && !machine.cards.is_empty()
}

#[cfg(test)]
mod tests {
    use attest_manifest::Manifest;

    use super::*;

    fn of(said: Option<&str>, tun: Result<(), &str>) -> Cards {
        Cards::of(said, || tun.map_err(str::to_owned)).unwrap()
    }

    #[test]
    fn taps_are_taken_where_they_can_be_made_unless_it_is_said_otherwise() {
        let missing = Err("no device");
        for (said, tun, way, reason) in [
            (None, Ok(()), Way::Taps, "/dev/net/tun makes them here"),
            (None, missing, Way::Frames, "no device"),
            (Some("auto"), missing, Way::Frames, "no device"),
            (Some("never"), Ok(()), Way::Frames, "ATTEST_TUN=never"),
            (Some("always"), missing, Way::Taps, "ATTEST_TUN=always"),
        ] {
            let cards = of(said, tun);
            assert_eq!((cards.way, cards.reason.as_str()), (way, reason));
        }
        let wrong = Cards::of(Some("no"), || Ok(())).unwrap_err();
        assert_eq!(
            wrong,
            "ATTEST_TUN is `no`, and must be `auto`, `never` or `always`"
        );
    }

    #[test]
    fn only_machines_whose_vmm_opens_taps_by_name_are_refused() {
        let check = |text: &str| {
            let manifest: Manifest = text.parse().unwrap_or_else(|error| panic!("{error}"));
            let plan = manifest.plan().expect("right");
            of(None, Err("no device")).check(&plan.machines[0])
        };
        let on = |backend: &str| format!("[networks.a]\n[machines.m]\nbackend = \"{backend}\"\n");
        check(&on("qemu")).unwrap();
        check(&on("nspawn")).unwrap();
        check("[machines.m]\nbackend = \"firecracker\"\n").unwrap();
        for backend in ["firecracker", "cloud-hypervisor"] {
            let refused = check(&on(backend)).unwrap_err().to_string();
            assert_eq!(
                refused,
                format!(
                    "m: the backend `{backend}` has network cards over TAPs only, and here it is without: no device; \
                     load the kernel module `tun`, and give this user (or container) /dev/net/tun; or choose the \
                     backend `qemu`, which needs none; or write `networks = []`"
                )
            );
        }
    }
}

//! What is chosen for a machine that did not ask for it, with the reasons.

use super::QemuProgram;
use crate::probe::KvmProbe;
use crate::{Accelerator, Choice, VmmError};

/// QEMU before this needs `norandmaps` to be fast under TCG: systemd to multi-user took 12 s in
/// place of 19 with 7.2, and the same with 10.0.
const KEEPS_TRANSLATIONS: u32 = 10;

/// The kernel's own argument for address randomisation; it wins over `norandmaps`.
const RANDOMISATION: &str = "sysctl.kernel.randomize_va_space=";

pub(super) fn accelerator(
    machine: &str,
    forced: Option<Accelerator>,
    kvm: KvmProbe,
) -> Result<(Accelerator, Choice), VmmError> {
    let (accelerator, reason) = match (forced, kvm) {
        (Some(Accelerator::Kvm), KvmProbe::Unusable(reason)) => {
            return Err(VmmError::Accelerator {
                machine: machine.to_owned(),
                reason,
            });
        }
        (Some(Accelerator::Kvm), KvmProbe::Doubtful(reason)) => {
            (Accelerator::Kvm, format!("asked for, although {reason}"))
        }
        (Some(accelerator), _) => (accelerator, "asked for".to_owned()),
        (None, KvmProbe::Usable) => (Accelerator::Kvm, "/dev/kvm runs guests here".to_owned()),
        (None, KvmProbe::Doubtful(reason) | KvmProbe::Unusable(reason)) => {
            (Accelerator::Tcg, reason)
        }
    };
    let choice = Choice {
        what: "accelerator",
        choice: accelerator.name().to_owned(),
        reason,
    };
    Ok((accelerator, choice))
}

/// Kernel arguments that make a guest fast, unless the machine's own say otherwise. `tsc_khz` is
/// the frequency of the counter that the guest sees.
pub(super) fn kernel_arguments(
    accelerator: Accelerator,
    program: &QemuProgram,
    tsc_khz: Option<u64>,
    own: &[String],
) -> (Vec<String>, Vec<Choice>) {
    if accelerator != Accelerator::Tcg {
        // KVM tells its guests the time, and keeps no translations.
        return (Vec::new(), Vec::new());
    }
    let mut arguments = Vec::new();
    let mut choices = Vec::new();
    if let Some(khz) = tsc_khz {
        // `reliable`: the counter is the host's, so it is the same on all virtual CPUs. A guest
        // that measures comes to other conclusions, and then has a clock of 4 ms.
        arguments.extend([format!("tsc_early_khz={khz}"), "tsc=reliable".to_owned()]);
    }
    let keeps = program
        .version
        .is_some_and(|version| version.major >= KEEPS_TRANSLATIONS);
    if !keeps
        && !own
            .iter()
            .any(|argument| argument.starts_with(RANDOMISATION))
    {
        arguments.push("norandmaps".to_owned());
        choices.push(Choice {
            what: "address randomisation",
            choice: "off in the guest (norandmaps)".to_owned(),
            reason: format!(
                "TCG before QEMU {KEEPS_TRANSLATIONS} translates every program anew when its addresses move; \
                 the kernel argument `{RANDOMISATION}2` keeps it on"
            ),
        });
    }
    (arguments, choices)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qmp::QemuVersion;

    fn program(major: u32) -> QemuProgram {
        QemuProgram {
            path: "/qemu".into(),
            version: Some(QemuVersion {
                major,
                minor: 0,
                micro: 0,
            }),
        }
    }

    #[test]
    fn kvm_is_taken_only_where_it_runs_guests() {
        let choose = |forced, kvm| {
            accelerator("web", forced, kvm)
                .map(|(accelerator, choice)| (accelerator, choice.reason))
        };
        let doubtful = || KvmProbe::Doubtful("no svm".to_owned());
        let unusable = || KvmProbe::Unusable("no device".to_owned());
        assert_eq!(choose(None, KvmProbe::Usable).unwrap().0, Accelerator::Kvm);
        assert_eq!(
            choose(None, doubtful()).unwrap(),
            (Accelerator::Tcg, "no svm".to_owned())
        );
        assert_eq!(
            choose(None, unusable()).unwrap(),
            (Accelerator::Tcg, "no device".to_owned())
        );
        assert_eq!(
            choose(Some(Accelerator::Tcg), KvmProbe::Usable).unwrap().0,
            Accelerator::Tcg
        );
        assert_eq!(
            choose(Some(Accelerator::Kvm), doubtful()).unwrap().0,
            Accelerator::Kvm
        );
        let refused = choose(Some(Accelerator::Kvm), unusable())
            .unwrap_err()
            .to_string();
        assert!(
            refused.starts_with("web: KVM was asked for, but no device;"),
            "{refused}"
        );
    }

    #[test]
    fn randomisation_stays_where_it_costs_nothing_or_is_wanted() {
        let asked = ["sysctl.kernel.randomize_va_space=2".to_owned()];
        let arguments = |accelerator, major, own: &[String]| {
            kernel_arguments(accelerator, &program(major), None, own).0
        };
        assert_eq!(arguments(Accelerator::Tcg, 7, &[]), ["norandmaps"]);
        assert!(arguments(Accelerator::Tcg, 7, &asked).is_empty());
        assert!(arguments(Accelerator::Tcg, 10, &[]).is_empty());
        assert!(arguments(Accelerator::Kvm, 7, &[]).is_empty());
        let told = kernel_arguments(Accelerator::Tcg, &program(10), Some(2_600_000), &[]).0;
        assert_eq!(told, ["tsc_early_khz=2600000", "tsc=reliable"]);
    }
}

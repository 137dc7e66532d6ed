//! What runs machines, and whether it can run these.

use std::path::Path;

use attest_manifest::{Backend as Kind, KernelPlan, LabPlan, MachinePlan};
use attest_vmm::{Ability, Accelerator, Backend, Nspawn, Qemu, Wanted};

use crate::error::Result;

/// Every backend.
#[derive(Debug)]
pub(crate) struct Backends {
    qemu: Qemu,
    nspawn: Nspawn,
}

impl Backends {
    /// What is found out about their programs is remembered in this directory.
    pub(super) fn new(memo: &Path) -> Self {
        Self {
            qemu: Qemu::new(memo),
            nspawn: Nspawn,
        }
    }

    pub(crate) fn of(&self, kind: Kind) -> &dyn Backend {
        match kind {
            Kind::Qemu => &self.qemu,
            Kind::Nspawn | Kind::Ssh => &self.nspawn,
        }
    }

    /// Refuse what cannot be run, before anything is started.
    pub(super) fn check(&self, plan: &LabPlan) -> Result<()> {
        for machine in &plan.machines {
            self.of(machine.backend).check(&wanted(machine))?;
        }
        Ok(())
    }
}

/// What a machine asks for beyond what every backend gives.
fn wanted(machine: &MachinePlan) -> Wanted {
    let of_user = matches!(machine.image.kernel, KernelPlan::Path(_));
    let abilities = [
        (
            Ability::Kernel,
            of_user || machine.image.initrd.is_some() || !machine.kernel_arguments.is_empty(),
        ),
        (Ability::Disks, !machine.disks.is_empty()),
        (Ability::Image, machine.image.system.is_some()),
    ];
    let wanted = abilities.into_iter().filter(|(_, wanted)| *wanted);
    Wanted {
        machine: machine.name.clone(),
        abilities: wanted.map(|(ability, _)| ability).collect(),
        accelerator: accelerator(machine),
    }
}

/// The accelerator that was asked for; `None`: a probe chooses.
pub(super) fn accelerator(machine: &MachinePlan) -> Option<Accelerator> {
    match machine.accelerator {
        attest_manifest::Accelerator::Auto => None,
        attest_manifest::Accelerator::Kvm => Some(Accelerator::Kvm),
        attest_manifest::Accelerator::Tcg => Some(Accelerator::Tcg),
    }
}

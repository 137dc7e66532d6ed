//! What runs machines, and whether it can run these.

use std::path::Path;

use attest_manifest::{
    ActionPlan, Backend as Kind, KernelPlan, LabPlan, MachinePlan, StepPlan, TestKind, WaitTarget,
};
use attest_vmm::{
    Ability, Accelerator, Backend, ContainerScript, Nspawn, Qemu, Ssh, StartScript, Wanted,
};

use crate::error::Result;

/// Every backend.
#[derive(Debug)]
pub(crate) struct Backends {
    qemu: Qemu,
    nspawn: Nspawn,
    ssh: Ssh,
    vm_script: StartScript,
    container_script: ContainerScript,
}

impl Backends {
    /// What is found out about their programs is remembered in this directory.
    pub(crate) fn new(memo: &Path) -> Self {
        Self {
            qemu: Qemu::new(memo),
            nspawn: Nspawn,
            ssh: Ssh,
            vm_script: StartScript,
            container_script: ContainerScript,
        }
    }

    pub(crate) fn of(&self, kind: Kind) -> &dyn Backend {
        match kind {
            Kind::Qemu => &self.qemu,
            Kind::Nspawn => &self.nspawn,
            Kind::Ssh => &self.ssh,
            Kind::VmScript => &self.vm_script,
            Kind::ContainerScript => &self.container_script,
        }
    }

    /// Refuse what cannot be run, before anything is started.
    pub(crate) fn check(&self, plan: &LabPlan) -> Result<()> {
        for machine in &plan.machines {
            self.of(machine.backend).check(&wanted(plan, machine))?;
        }
        Ok(())
    }
}

/// What a machine and its tests ask for beyond what every backend gives.
fn wanted(plan: &LabPlan, machine: &MachinePlan) -> Wanted {
    let of_user = matches!(machine.image.kernel, KernelPlan::Path(_));
    let any_step = |is: fn(&ActionPlan) -> bool| {
        steps(plan).any(|step| step.machines.contains(&machine.name) && is(&step.action))
    };
    let abilities = [
        (
            Ability::Kernel,
            of_user || machine.image.initrd.is_some() || !machine.kernel_arguments.is_empty(),
        ),
        (Ability::Disks, !machine.disks.is_empty()),
        (Ability::Image, machine.image.system.is_some()),
        (Ability::Networks, !machine.cards.is_empty()),
        (Ability::Reboot, any_step(is_reboot)),
        (Ability::Console, any_step(is_of_console)),
    ];
    let wanted = abilities.into_iter().filter(|(_, wanted)| *wanted);
    Wanted {
        machine: machine.name.clone(),
        abilities: wanted.map(|(ability, _)| ability).collect(),
        accelerator: accelerator(machine),
    }
}

/// Every step of every test, and those within steps that are parallel.
fn steps(plan: &LabPlan) -> impl Iterator<Item = &StepPlan> {
    let tests = plan.tests.iter().flat_map(|test| match &test.kind {
        TestKind::Steps(steps) => steps.as_slice(),
        TestKind::Script(_) | TestKind::Rust(_) => &[],
    });
    tests.flat_map(|step| match &step.action {
        ActionPlan::Parallel(steps) => steps.iter(),
        _ => std::slice::from_ref(step).iter(),
    })
}

fn is_reboot(action: &ActionPlan) -> bool {
    matches!(action, ActionPlan::Reboot)
}

fn is_of_console(action: &ActionPlan) -> bool {
    matches!(action, ActionPlan::Wait(wait) if matches!(wait.target, WaitTarget::Console(_)))
}

/// The accelerator that was asked for; `None`: a probe chooses.
pub(crate) fn accelerator(machine: &MachinePlan) -> Option<Accelerator> {
    match machine.accelerator {
        attest_manifest::Accelerator::Auto => None,
        attest_manifest::Accelerator::Kvm => Some(Accelerator::Kvm),
        attest_manifest::Accelerator::Tcg => Some(Accelerator::Tcg),
    }
}

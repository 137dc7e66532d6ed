//! What runs machines, and whether it can run these.

use std::path::Path;
use std::sync::OnceLock;

use attest_manifest::{
    ActionPlan, Backend as Kind, CopyOnWrite, Isolation, Jailer, KernelPlan, LabPlan, MachinePlan,
    StepPlan, TestKind, WaitTarget,
};
use attest_vmm::{
    Ability, Accelerator, Backend, Choice, CloudHypervisor, ContainerScript, Firecracker, Nspawn,
    Qemu, Ssh, StartScript, VmmError, Wanted, check_memory,
};

use super::cards::{self, Cards, Way};
use crate::error::Result;
use crate::schedule;

/// Every backend.
#[derive(Debug)]
pub(crate) struct Backends {
    qemu: Qemu,
    firecracker: Firecracker,
    cloud_hypervisor: CloudHypervisor,
    nspawn: Nspawn,
    ssh: Ssh,
    vm_script: StartScript,
    container_script: ContainerScript,
    cards: OnceLock<Cards>,
}

impl Backends {
    /// What is found out about their programs is remembered in this directory.
    pub(crate) fn new(memo: &Path) -> Self {
        Self {
            qemu: Qemu::new(memo),
            firecracker: Firecracker::new(memo),
            cloud_hypervisor: CloudHypervisor::new(memo),
            nspawn: Nspawn,
            ssh: Ssh,
            vm_script: StartScript,
            container_script: ContainerScript,
            cards: OnceLock::new(),
        }
    }

    /// How this machine's cards come to their networks, where there is more than one way.
    pub(crate) fn way_of(&self, machine: &MachinePlan) -> Result<Option<Way>> {
        let way = cards::is_concerned(machine).then(|| Ok(self.cards(machine)?.way()));
        way.transpose()
    }

    /// What was chosen for all cards, where that makes a difference.
    pub(super) fn choice_of_cards(&self, plan: &LabPlan) -> Result<Option<Choice>> {
        let concerned = plan
            .machines
            .iter()
            .find(|machine| cards::is_concerned(machine));
        let choice = concerned.map(|machine| Ok(self.cards(machine)?.choice()));
        choice.transpose()
    }

    /// Chosen for whoever asks first.
    fn cards(&self, machine: &MachinePlan) -> Result<&Cards> {
        if let Some(chosen) = self.cards.get() {
            return Ok(chosen);
        }
        let chosen = Cards::choose().map_err(|reason| VmmError::Unable {
            machine: machine.name.clone(),
            reason,
        })?;
        Ok(self.cards.get_or_init(|| chosen))
    }

    pub(crate) fn of(&self, kind: Kind) -> &dyn Backend {
        match kind {
            Kind::Qemu => &self.qemu,
            Kind::Firecracker => &self.firecracker,
            Kind::CloudHypervisor => &self.cloud_hypervisor,
            Kind::Nspawn => &self.nspawn,
            Kind::Ssh => &self.ssh,
            Kind::VmScript => &self.vm_script,
            Kind::ContainerScript => &self.container_script,
        }
    }

    /// The user that a machine's VMM becomes in its jail.
    pub(crate) fn jailed_as(&self, machine: &MachinePlan) -> Result<Option<u32>> {
        let wanted = Wanted {
            machine: machine.name.clone(),
            jailer: jailer(machine),
            ..Wanted::default()
        };
        Ok(self.of(machine.backend).jailed_as(&wanted)?)
    }

    /// Refuse what cannot be run, before anything is started.
    pub(crate) fn check(&self, plan: &LabPlan) -> Result<()> {
        let total = schedule::memory_of_host();
        for machine in &plan.machines {
            let wanted = wanted(plan, machine);
            if machine.backend.is_virtual() {
                check_memory(&wanted, total)?;
            }
            self.of(machine.backend).check(&wanted)?;
            if machine.backend.is_virtual() && !machine.cards.is_empty() {
                self.cards(machine)?.check(machine)?;
            }
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
        (Ability::RateLimits, has_rates(machine)),
        (Ability::Balloon, machine.balloon),
        (Ability::Jailer, machine.jailer == Jailer::Require),
        (Ability::Reboot, any_step(is_reboot)),
        (Ability::Console, any_step(is_of_console)),
        (Ability::Snapshots, plan.isolation == Isolation::Fork),
    ];
    let wanted = abilities.into_iter().filter(|(_, wanted)| *wanted);
    Wanted {
        machine: machine.name.clone(),
        abilities: wanted.map(|(ability, _)| ability).collect(),
        accelerator: accelerator(machine),
        vcpus: machine.vcpus,
        memory: machine.memory,
        cards: machine.cards.len(),
        disks: machine.disks.len() + disks_of_the_root(machine),
        balloon: machine.balloon,
        kernel_arguments: kernel_arguments(machine),
        jailer: jailer(machine),
    }
}

fn jailer(plan: &MachinePlan) -> attest_vmm::Jailer {
    match plan.jailer {
        attest_manifest::Jailer::Auto => attest_vmm::Jailer::Auto,
        attest_manifest::Jailer::Never => attest_vmm::Jailer::Never,
        attest_manifest::Jailer::Require => attest_vmm::Jailer::Require,
    }
}

fn has_rates(machine: &MachinePlan) -> bool {
    let cards = machine.cards.iter().any(|card| card.rate.is_some());
    cards || machine.disks.iter().any(|disk| disk.rate.is_some())
}

/// The image, the modules of a kernel that is not its own, and where what is written goes, as far as is known
/// before the image is there.
fn disks_of_the_root(machine: &MachinePlan) -> usize {
    let Some(_) = &machine.image.system else {
        return 0;
    };
    let brings_kernel = machine.image.kernel == KernelPlan::Image;
    let has_written = machine.copy_on_write == CopyOnWrite::Disk;
    1 + usize::from(!brings_kernel) + usize::from(has_written)
}

/// Bytes that attest and the manifest give the kernel, each with a blank.
fn kernel_arguments(machine: &MachinePlan) -> usize {
    /// Their longest form; what they say is told to the agent.
    const OF_ROOT: &str = "attest.root=root attest.upper=written attest.modules=modules ";
    let given = machine.kernel_arguments.iter().map(|given| given.len() + 1);
    let root = match &machine.image.system {
        Some(system) => {
            let partition = system
                .partition
                .map_or(0, |_| "attest.partition=128 ".len());
            let init = system.init.as_ref();
            OF_ROOT.len() + partition + init.map_or(0, |init| "attest.init= ".len() + init.len())
        }
        None => 0,
    };
    given.sum::<usize>() + root
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

#[cfg(test)]
mod tests {
    use attest_manifest::Manifest;

    use super::*;

    fn wanted_of(text: &str) -> Wanted {
        let manifest: Manifest = text.parse().unwrap_or_else(|error| panic!("{error}"));
        let plan = manifest.plan().expect("right");
        wanted(&plan, &plan.machines[0])
    }

    #[test]
    fn everything_that_has_a_limit_is_counted() {
        let wanted = wanted_of(
            "[networks.a]\n[networks.b]\n[images.i]\ndisk = \"/dev/null\"\npartition = 1\n\
             [machines.m]\nimage = \"i\"\nvcpus = 3\nmemory = \"64M\"\nballoon = true\n\
             copy-on-write = \"disk\"\ndisks = [{ size = \"1M\" }]\nkernel-arguments = [\"quiet\", \"x=1\"]\n",
        );
        let counted = (wanted.vcpus, wanted.memory, wanted.cards, wanted.disks);
        // Its own disk, the root, the modules, and what is written.
        assert_eq!(counted, (3, 64 << 20, 2, 4));
        let line = "attest.root=root attest.upper=written attest.modules=modules \
                    attest.partition=128 quiet x=1 ";
        assert_eq!(wanted.kernel_arguments, line.len());
        assert!(wanted.balloon);
    }

    #[test]
    fn a_bare_guest_has_what_its_manifest_says() {
        let wanted = wanted_of("[machines.m]\ndisks = [{ size = \"1M\" }]\n");
        assert_eq!((wanted.disks, wanted.kernel_arguments), (1, 0));
        assert_eq!(wanted.abilities, [Ability::Disks]);
    }

    #[test]
    fn rates_balloons_and_jails_are_asked_for() {
        let wanted = wanted_of(
            "[networks.a]\n[machines.m]\nballoon = true\njailer = \"require\"\n\
             networks = [{ network = \"a\", rate = { operations = 1 } }]\n",
        );
        for ability in [Ability::RateLimits, Ability::Balloon, Ability::Jailer] {
            assert!(wanted.abilities.contains(&ability), "{ability:?}");
        }
        let wanted = wanted_of("[machines.m]\njailer = \"never\"\n");
        assert_eq!(wanted.abilities, []);
    }

    #[test]
    fn memory_beyond_the_hosts_is_refused() {
        let check = |backend: &str| {
            let text = format!("[machines.m]\nmemory = \"16T\"\nbackend = \"{backend}\"\n");
            let manifest: Manifest = text.parse().expect("right");
            let plan = manifest.plan().expect("right");
            let scratch = tempfile::tempdir().expect("a directory");
            Backends::new(scratch.path()).check(&plan)
        };
        for backend in ["qemu", "firecracker", "cloud-hypervisor"] {
            let error = check(backend).expect_err("no host has so much");
            let error = attest_protocol::chain(&error);
            assert!(error.contains("MemTotal"), "{error}");
        }
    }
}

//! From a machine's plan to what its backend is given.

use attest_image::{Cache, disks};
use attest_manifest::{DiskContent, DiskPlan, MachinePlan};
use attest_vmm::{Card, Disk, MachineConfig, QemuOptions};

use super::images::Root;
use crate::error::Result;
use crate::lab::Shared;

/// Serial number of the disk with the root; the agent is told of it by the kernel's command line.
const ROOT: &str = "root";

pub(super) async fn machine(plan: &MachinePlan, lab: &Shared) -> Result<MachineConfig> {
    let mut cards = Vec::with_capacity(plan.cards.len());
    for card in &plan.cards {
        cards.push(Card {
            mac: card.mac,
            tap: lab.process.tap(&card.network).await?,
        });
    }
    let guest = lab.images.of(plan);
    let mut arguments = Vec::new();
    let mut disks = Vec::new();
    if let Some(root) = &guest.root {
        disks.push(Disk {
            file: disks::read_only(&root.disk)?,
            read_only: true,
            serial: ROOT.to_owned(),
        });
        arguments.extend(root_arguments(root));
    }
    for (index, disk) in plan.disks.iter().enumerate() {
        disks.push(open_disk(disk, index, &lab.images.cache)?);
    }
    arguments.extend_from_slice(&plan.kernel_arguments);
    Ok(MachineConfig {
        name: plan.name.clone(),
        memory: plan.memory,
        vcpus: plan.vcpus,
        kernel: guest.first.kernel.clone(),
        initrd: guest.first.initrd.clone(),
        kernel_arguments: arguments,
        cards,
        disks,
        qemu: qemu_options(plan),
        log: Some(lab.output.join(format!("{}.vmm.log", plan.name))),
    })
}

/// What the agent in the initramfs is told of the root.
fn root_arguments(root: &Root) -> Vec<String> {
    let mut arguments = vec![
        format!("attest.root={ROOT}"),
        "attest.upper=memory".to_owned(),
    ];
    if let Some(partition) = root.plan.partition {
        arguments.push(format!("attest.partition={partition}"));
    }
    if let Some(init) = &root.plan.init {
        arguments.push(format!("attest.init={init}"));
    }
    arguments
}

fn open_disk(plan: &DiskPlan, index: usize, cache: &Cache) -> Result<Disk> {
    let file = match &plan.content {
        DiskContent::Empty(bytes) => disks::scratch(cache, *bytes)?,
        DiskContent::Source(path) if plan.read_only => disks::read_only(path)?,
        DiskContent::Source(path) => disks::writable(path)?,
    };
    Ok(Disk {
        file,
        read_only: plan.read_only,
        serial: format!("disk{index}"),
    })
}

fn qemu_options(plan: &MachinePlan) -> QemuOptions {
    QemuOptions {
        program: None,
        machine: match plan.machine_type {
            attest_manifest::MachineType::Microvm => attest_vmm::MachineType::Microvm,
            attest_manifest::MachineType::Q35 => attest_vmm::MachineType::Q35,
        },
        accelerator: match plan.accelerator {
            attest_manifest::Accelerator::Auto => None,
            attest_manifest::Accelerator::Kvm => Some(attest_vmm::Accelerator::Kvm),
            attest_manifest::Accelerator::Tcg => Some(attest_vmm::Accelerator::Tcg),
        },
    }
}

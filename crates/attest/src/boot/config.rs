//! From a machine's plan to what its backend is given.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use attest_events::Part;
use attest_manifest::{Backend, MachinePlan, RatePlan, ScriptPlan, SshPlan};
use attest_vmm::{
    Body, Card, ContainerConfig, ContainerScriptConfig, HostConfig, MachineConfig, Names,
    QemuOptions, Rate, Reach, ScriptConfig, Told, VirtualConfig,
};
use nix::sys::memfd::{MFdFlags, memfd_create};
use tokio::sync::mpsc;

use super::backends::accelerator;
use super::disks::{self, Before, Disks, WrittenDisk};
use super::{Origin, RootUse, Start, wires};
use crate::error::{Error, Result};
use crate::lab::Shared;
use crate::machine::Inner;
use crate::runtime::blocking;
use crate::scripts::LabOfScripts;

pub(super) async fn machine(
    inner: &Inner,
    lab: &Shared,
    origin: Origin<'_>,
    tell: mpsc::UnboundedSender<Told>,
) -> Result<(MachineConfig, Vec<WrittenDisk>)> {
    let plan = &inner.plan;
    inner.recorder.machine_part(&plan.name, Part::Disks);
    let how = match &origin {
        Origin::Image(how, ..) => *how,
        Origin::Saved(..) => Start::FRESH,
    };
    let mut written = Vec::new();
    let body = match plan.backend {
        Backend::Nspawn => Body::Container(container(inner, lab, how.root).await?),
        Backend::Ssh => Body::Host(host(plan)?),
        Backend::VmScript => Body::Script(script(inner, lab, how.allow_reboot)?),
        Backend::ContainerScript => Body::ContainerScript(container_script(inner, lab).await?),
        Backend::Qemu | Backend::Firecracker | Backend::CloudHypervisor => {
            let (machine, disks) = virtual_machine(inner, lab, origin).await?;
            written = disks;
            Body::Virtual(Box::new(machine))
        }
    };
    let config = MachineConfig {
        name: plan.name.clone(),
        body,
        log: Some(lab.output.join(format!("{}.vmm.log", plan.name))),
        tell,
    };
    Ok((config, written))
}

fn host(plan: &MachinePlan) -> Result<HostConfig> {
    let SshPlan {
        host,
        port,
        user,
        identity,
        options,
    } = plan.ssh.clone().expect("planned for every host");
    Ok(HostConfig {
        host,
        port,
        user,
        identity,
        options,
        agent: plain_agent()?.to_vec(),
    })
}

/// A container by a start script is entered by the agent, whatever is chosen for virtual machines:
/// nothing of it stays in there.
async fn container_script(inner: &Inner, lab: &Shared) -> Result<ContainerScriptConfig> {
    let plan = planned(inner);
    let agent = lab.agent.get_or_try_init(|| agent(lab)).await?;
    Ok(ContainerScriptConfig {
        command: plan.command.clone(),
        state: plan.state.clone(),
        shared: plan.shared.clone(),
        agent: agent.clone(),
        connects_within: inner.timeouts.boot,
    })
}

fn script(inner: &Inner, lab: &Shared, allow_reboot: bool) -> Result<ScriptConfig> {
    let plan = planned(inner);
    Ok(ScriptConfig {
        command: plan.command.clone(),
        state: plan.state.clone(),
        shared: plan.shared.clone(),
        environment: lab
            .scripts
            .as_ref()
            .map(LabOfScripts::environment)
            .unwrap_or_default(),
        allow_reboot,
        agent: plan.pushes_agent.then(plain_agent).transpose()?,
        connects_within: inner.timeouts.boot,
    })
}

fn planned(inner: &Inner) -> &ScriptPlan {
    let plan = inner.plan.script.as_ref();
    plan.expect("planned for every script")
}

/// Unpack the agent beside what comes before the first machine that needs it, which hears of a failure.
pub(crate) fn unpack_agent() {
    tokio::task::spawn_blocking(|| plain_agent().map(drop));
}

/// The agent, unpacked once for all labs of this process, which takes 3 ms.
fn plain_agent() -> Result<Arc<[u8]>> {
    // Whoever comes second waits for the first, and does not unpack it again.
    static AGENT: Mutex<Option<Arc<[u8]>>> = Mutex::new(None);
    let mut unpacked = AGENT.lock().expect("unpacking does not panic");
    if let Some(agent) = &*unpacked {
        return Ok(Arc::clone(agent));
    }
    let agent = attest_image::bare::plain_agent(attest_embed::AGENT)?;
    Ok(Arc::clone(unpacked.insert(agent.into_owned().into())))
}

async fn container(inner: &Inner, lab: &Shared, root: RootUse) -> Result<ContainerConfig> {
    let (image, init) = lab.images.container(&inner.plan);
    let before = inner.root.lock().expect("nobody panics with it").clone();
    let root = match before {
        Some(before) if root == RootUse::Same => before,
        _ => fresh_root(&inner.plan, image, lab).await?,
    };
    *inner.root.lock().expect("nobody panics with it") = Some(root.clone());
    let agent = lab.agent.get_or_try_init(|| agent(lab)).await?;
    inner.recorder.machine_part(&inner.plan.name, Part::Cards);
    let network = match lab.wires.take_container(&inner.plan.name) {
        Some(network) => network,
        None => wires::of_container(&lab.process, &inner.plan).await?,
    };
    Ok(ContainerConfig {
        root,
        network,
        agent: agent.clone(),
        init: init.map(str::to_owned),
    })
}

/// As the image has it; a path in the lab.
async fn fresh_root(plan: &MachinePlan, image: &Path, lab: &Shared) -> Result<PathBuf> {
    let (image, upper) = disks::of_container(plan, image, &lab.images)?;
    let upper = upper.as_ref().map(AsFd::as_fd);
    Ok(lab.process.root(&plan.name, image.as_fd(), upper).await?)
}

/// The agent as a file of the lab, for all of its containers.
async fn agent(lab: &Shared) -> Result<PathBuf> {
    let failed = || Error::io("the agent cannot be handed to the lab");
    let plain = blocking(plain_agent).await?;
    let memory = memfd_create(c"attest-agent", MFdFlags::MFD_CLOEXEC);
    let mut file = File::from(memory.map_err(io::Error::from).map_err(failed())?);
    file.write_all(&plain).map_err(failed())?;
    file.rewind().map_err(failed())?;
    Ok(lab.process.file("agent", 0o755, file.as_fd()).await?)
}

async fn virtual_machine(
    inner: &Inner,
    lab: &Shared,
    origin: Origin<'_>,
) -> Result<(VirtualConfig, Vec<WrittenDisk>)> {
    let plan = &inner.plan;
    let first = lab.images.first_of(plan);
    let (ram, before) = match origin {
        Origin::Image(how, disks, ram) if how.root == RootUse::Same => (ram, Before::Same(disks)),
        Origin::Image(_, _, ram) => (ram, Before::Nothing),
        Origin::Saved(disks, ram) => (ram, Before::Saved(disks)),
    };
    let waits = matches!(before, Before::Saved(_));
    let Disks {
        all: disks,
        arguments: mut kernel_arguments,
        written,
        ..
    } = Disks::of(plan, lab, before).await?;
    inner.recorder.machine_part(&plan.name, Part::Cards);
    kernel_arguments.extend_from_slice(&plan.kernel_arguments);
    let cards = plan.cards.iter().map(|card| Card {
        mac: card.mac,
        rate: card.rate.map(rate),
    });
    let config = VirtualConfig {
        memory: plan.memory,
        ram,
        waits,
        vcpus: plan.vcpus,
        kernel: lab.images.kernel_of(plan)?.to_owned(),
        initrd: first.initrd.clone(),
        kernel_arguments,
        cards: cards.collect(),
        disks,
        balloon: plan.balloon,
        reach: reach(plan, lab).await?,
        qemu: qemu_options(plan),
    };
    Ok((config, written))
}

/// What is the machine's on the host, in the form that its backend takes it.
async fn reach(plan: &MachinePlan, lab: &Shared) -> Result<Reach> {
    if plan.backend == Backend::Qemu {
        let way = lab.backends.way_of(plan)?;
        return Ok(Reach::Inherits(match lab.wires.take_qemu(&plan.name) {
            Some(wires) => wires,
            None => wires::of_qemu(&lab.process, plan, way).await?,
        }));
    }
    let jailed_as = lab.backends.jailed_as(plan)?;
    let mut taps = Vec::with_capacity(plan.cards.len());
    for card in &plan.cards {
        let tap = lab.process.lasting_tap(&card.network, jailed_as);
        taps.push(tap.await?);
    }
    Ok(Reach::Names(Names {
        // The jail's user owns a directory below it.
        directory: lab.process.directory(&plan.name, None).await?,
        taps,
        jailed_as,
    }))
}

/// A plan's rate, for the backend.
pub(super) fn rate(plan: RatePlan) -> Rate {
    Rate {
        bytes_per_second: plan.bytes_per_second,
        operations_per_second: plan.operations_per_second,
    }
}

fn qemu_options(plan: &MachinePlan) -> QemuOptions {
    QemuOptions {
        program: None,
        machine: match plan.machine_type {
            attest_manifest::MachineType::Microvm => attest_vmm::MachineType::Microvm,
            attest_manifest::MachineType::Q35 => attest_vmm::MachineType::Q35,
        },
        accelerator: accelerator(plan),
    }
}

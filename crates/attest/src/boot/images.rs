//! What the machines of a lab boot from: built or taken from the cache before anything starts.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use attest_events::EventKind;
use attest_image::bare::{self, BareGuest, BareOptions};
use attest_image::disks::DiskImage;
use attest_image::{Cache, Choice, Kernel, KernelSource, Step};
use attest_manifest::{Backend, ImagePlan, KernelPlan, MachinePlan, SourcePlan, SystemPlan};

use super::strategy;
use crate::error::{Error, Result};
use crate::recorder::Recorder;

/// Kernel modules that the bare guest needs on any of QEMU's boards.
const MODULES: [&str; 6] = [
    "virtio_mmio",
    "virtio_pci",
    "virtio_console",
    "virtio_net",
    "virtio_blk",
    "virtio_rng",
];
/// And those of a system whose root is on a disk; each is loaded as it is needed.
const MODULES_OF_ROOTS: [&str; 3] = ["erofs", "ext4", "overlay"];

/// What all machines of a lab boot from.
#[derive(Debug)]
pub(crate) struct Images {
    pub(crate) cache: Cache,
    /// For each image of a virtual machine.
    firsts: Vec<(ImagePlan, First)>,
    /// Each system that is used.
    roots: Vec<Root>,
}

/// What a virtual machine's processor begins with.
#[derive(Debug)]
struct First {
    /// The kernel, and the initramfs.
    guest: BareGuest,
    /// The kernel's modules as a disk, for a system without.
    modules: Option<PathBuf>,
}

/// A system that is ready to be booted.
#[derive(Debug)]
pub(crate) struct Root {
    /// Never written to.
    pub(crate) disk: PathBuf,
    /// Absolute path in it; `None`: looked for.
    pub(crate) init: Option<String>,
    /// Whether its file system can be written to at all.
    pub(crate) is_writable: bool,
    pub(crate) plan: Arc<SystemPlan>,
}

impl Images {
    pub(super) fn get(
        directory: &Path,
        machines: &[MachinePlan],
        recorder: &Recorder,
    ) -> Result<Self> {
        let mut images = Self {
            cache: Cache::open(directory)?,
            firsts: Vec::new(),
            roots: Vec::new(),
        };
        for machine in machines {
            images.add(machine, recorder)?;
        }
        Ok(images)
    }

    fn add(&mut self, machine: &MachinePlan, recorder: &Recorder) -> Result<()> {
        if machine.backend == Backend::Ssh {
            return Ok(());
        }
        if let Some(system) = &machine.image.system
            && self.root_of(machine).is_none()
        {
            self.roots.push(root(system)?);
        }
        if let Some(root) = self.root_of(machine) {
            strategy::decide(machine, root.is_writable)?;
        }
        let is_known = self.firsts.iter().any(|(known, _)| *known == machine.image);
        if machine.backend == Backend::Qemu && !is_known {
            let first = self.first_steps(&machine.image, recorder)?;
            self.firsts.push((machine.image.clone(), first));
        }
        Ok(())
    }

    /// The kernel and the initramfs of a virtual machine.
    pub(super) fn first_of(&self, machine: &MachinePlan) -> &BareGuest {
        &self.first(machine).guest
    }

    /// The disk with the modules of a virtual machine's kernel, if its system needs one.
    pub(super) fn modules_of(&self, machine: &MachinePlan) -> Option<&Path> {
        self.first(machine).modules.as_deref()
    }

    fn first(&self, machine: &MachinePlan) -> &First {
        let mut firsts = self.firsts.iter();
        let found = firsts.find(|(known, _)| *known == machine.image);
        &found.expect("made for every virtual machine of the plan").1
    }

    /// The system of a machine that has one. Their names tell them apart.
    pub(super) fn root_of(&self, machine: &MachinePlan) -> Option<&Root> {
        let system = machine.image.system.as_ref()?;
        self.roots.iter().find(|root| root.plan.name == system.name)
    }

    /// What was chosen for them, and why.
    pub(super) fn choices(&self) -> impl Iterator<Item = &Choice> {
        self.firsts
            .iter()
            .flat_map(|(_, first)| &first.guest.choices)
    }

    fn first_steps(&self, plan: &ImagePlan, recorder: &Recorder) -> Result<First> {
        let source = match &plan.kernel {
            KernelPlan::Path(path) => KernelSource::Path(path.clone()),
            KernelPlan::Auto | KernelPlan::Image => KernelSource::Auto,
        };
        let progress = &mut |step: Step| {
            recorder.record(EventKind::Progress {
                text: step.to_string(),
            });
        };
        let kernel = Kernel::find(&self.cache, &source, progress)?;
        let agent = attest_embed::AGENT;
        let mut modules = None;
        let guest = match (&plan.initrd, &plan.system) {
            (Some(initrd), _) => bare::with_initrd(&self.cache, &kernel, initrd)?,
            (None, None) => bare::build(&self.cache, &kernel, &BareOptions::new(agent, &MODULES))?,
            (None, Some(_)) => {
                modules = kernel.module_image(&self.cache, progress)?;
                let needed = [&MODULES[..], &MODULES_OF_ROOTS].concat();
                bare::first_steps(&self.cache, &kernel, &BareOptions::new(agent, &needed))?
            }
        };
        Ok(First { guest, modules })
    }
}

fn root(plan: &Arc<SystemPlan>) -> Result<Root> {
    match &plan.source {
        SourcePlan::Disk(path) => Ok(Root {
            is_writable: !DiskImage::open(path)?.is_read_only()?,
            disk: path.clone(),
            init: plan.init.clone(),
            plan: Arc::clone(plan),
        }),
        _ => Err(Error::Program {
            program: plan.name.clone(),
            reason: "cannot be built yet".to_owned(),
        }),
    }
}

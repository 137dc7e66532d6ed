//! What the machines of a lab boot from: built or taken from the cache before anything starts.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use attest_events::EventKind;
use attest_image::bare::{self, BareGuest, BareOptions};
use attest_image::{Cache, Choice, Kernel, KernelSource};
use attest_manifest::{Backend, ImagePlan, KernelPlan, MachinePlan, SourcePlan, SystemPlan};

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
    /// For each image of a virtual machine: the kernel, and the initramfs.
    firsts: Vec<(ImagePlan, BareGuest)>,
    /// Each system that is used.
    roots: Vec<Root>,
}

/// A system that is ready to be booted.
#[derive(Debug)]
pub(crate) struct Root {
    /// Never written to.
    pub(crate) disk: PathBuf,
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
        let is_known = self.firsts.iter().any(|(known, _)| *known == machine.image);
        if machine.backend == Backend::Qemu && !is_known {
            let first = self.first_steps(&machine.image, recorder)?;
            self.firsts.push((machine.image.clone(), first));
        }
        Ok(())
    }

    /// The kernel and the initramfs of a virtual machine.
    pub(super) fn first_of(&self, machine: &MachinePlan) -> &BareGuest {
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
        self.firsts.iter().flat_map(|(_, first)| &first.choices)
    }

    fn first_steps(&self, plan: &ImagePlan, recorder: &Recorder) -> Result<BareGuest> {
        let source = match &plan.kernel {
            KernelPlan::Path(path) => KernelSource::Path(path.clone()),
            KernelPlan::Auto | KernelPlan::Image => KernelSource::Auto,
        };
        let kernel = Kernel::find(&self.cache, &source, &mut |step| {
            recorder.record(EventKind::Progress {
                text: step.to_string(),
            });
        })?;
        let agent = attest_embed::AGENT;
        Ok(match (&plan.initrd, &plan.system) {
            (Some(initrd), _) => bare::with_initrd(&self.cache, &kernel, initrd)?,
            (None, None) => bare::build(&self.cache, &kernel, &BareOptions::new(agent, &MODULES))?,
            (None, Some(_)) => {
                let modules = [&MODULES[..], &MODULES_OF_ROOTS].concat();
                bare::first_steps(&self.cache, &kernel, &BareOptions::new(agent, &modules))?
            }
        })
    }
}

fn root(plan: &Arc<SystemPlan>) -> Result<Root> {
    match &plan.source {
        SourcePlan::Disk(path) => Ok(Root {
            disk: path.clone(),
            plan: Arc::clone(plan),
        }),
        _ => Err(Error::Program {
            program: plan.name.clone(),
            reason: "cannot be built yet".to_owned(),
        }),
    }
}

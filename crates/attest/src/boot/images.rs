//! What the machines of a lab boot from: built or taken from the cache before anything starts.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use attest_events::EventKind;
use attest_image::bare::{self, BareGuest, BareOptions};
use attest_image::{Cache, Choice, Kernel, KernelSource};
use attest_manifest::{ImagePlan, KernelPlan, MachinePlan, SourcePlan, SystemPlan};

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
    /// One for each image that is used.
    guests: Vec<(ImagePlan, Guest)>,
}

/// What a virtual machine boots from.
#[derive(Debug)]
pub(crate) struct Guest {
    /// The kernel, and the initramfs.
    pub(crate) first: BareGuest,
    /// What the initramfs boots; `None`: it is all there is.
    pub(crate) root: Option<Root>,
}

/// A system on a disk.
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
            guests: Vec::new(),
        };
        for MachinePlan { image, .. } in machines {
            if images.guests.iter().all(|(known, _)| known != image) {
                let guest = images.guest(image, recorder)?;
                images.guests.push((image.clone(), guest));
            }
        }
        Ok(images)
    }

    pub(super) fn of(&self, machine: &MachinePlan) -> &Guest {
        let found = self
            .guests
            .iter()
            .find(|(known, _)| *known == machine.image);
        &found.expect("made for every machine of the plan").1
    }

    /// What was chosen for them, and why.
    pub(super) fn choices(&self) -> impl Iterator<Item = &Choice> {
        self.guests
            .iter()
            .flat_map(|(_, guest)| &guest.first.choices)
    }

    fn guest(&self, plan: &ImagePlan, recorder: &Recorder) -> Result<Guest> {
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
        let first = match (&plan.initrd, &plan.system) {
            (Some(initrd), _) => bare::with_initrd(&self.cache, &kernel, initrd)?,
            (None, None) => bare::build(&self.cache, &kernel, &BareOptions::new(agent, &MODULES))?,
            (None, Some(_)) => {
                let modules = [&MODULES[..], &MODULES_OF_ROOTS].concat();
                bare::first_steps(&self.cache, &kernel, &BareOptions::new(agent, &modules))?
            }
        };
        let root = plan.system.as_ref().map(root).transpose()?;
        Ok(Guest { first, root })
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

//! What the machines of a lab boot from: built or taken from the cache before anything starts.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use attest_events::EventKind;
use attest_image::bare::{self, BareGuest, BareOptions};
use attest_image::disks::DiskImage;
use attest_image::root::{RootFormat, RootImage, build_root};
use attest_image::{Cache, Choice, Kernel, KernelSource, Pace, Step};
use attest_manifest::{Backend, ImagePlan, KernelPlan, MachinePlan, SourcePlan, SystemPlan};

use super::{spec, strategy};
use crate::error::Result;
use crate::recorder::Recorder;

/// Kernel modules that a system needs whose root is on a disk, each as it is needed; and first those that the bare guest
/// needs on any of QEMU's boards, too.
const MODULES_OF_ROOTS: [&str; 9] = [
    "virtio_mmio",
    "virtio_pci",
    "virtio_console",
    "virtio_net",
    "virtio_blk",
    "virtio_rng",
    "erofs",
    "ext4",
    "overlay",
];
const MODULES: &[&str] = MODULES_OF_ROOTS.split_at(6).0;

/// What goes into the initramfs of a system whose root is on a disk.
pub(crate) fn first_steps() -> BareOptions<'static> {
    BareOptions::new(attest_embed::AGENT, &MODULES_OF_ROOTS)
}

/// What all machines of a lab boot from.
#[derive(Debug)]
pub(crate) struct Images {
    cache: Option<Cache>,
    /// One for all virtual machines that agree in what decides it.
    firsts: Vec<(FirstPlan, First)>,
    /// Each system that is used.
    roots: Vec<Root>,
    /// The built-in guest as a container's root.
    bare: Option<PathBuf>,
}

/// What decides what a virtual machine's processor begins with. Different systems share it.
#[derive(Debug, PartialEq)]
struct FirstPlan {
    kernel: KernelPlan,
    initrd: Option<PathBuf>,
    has_system: bool,
    /// The system whose own kernel it is.
    of: Option<String>,
}

impl FirstPlan {
    fn of(image: &ImagePlan) -> Self {
        let brings_kernel = image.kernel == KernelPlan::Image;
        let system = image.system.as_ref();
        Self {
            kernel: image.kernel.clone(),
            initrd: image.initrd.clone(),
            has_system: system.is_some(),
            of: system
                .filter(|_| brings_kernel)
                .map(|system| system.name.clone()),
        }
    }
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
    /// One that was built stays in the cache as long as this.
    built: Option<RootImage>,
    pub(crate) plan: Arc<SystemPlan>,
}

impl Images {
    pub(super) fn get(
        directory: &Path,
        machines: &[MachinePlan],
        recorder: &Recorder,
    ) -> Result<Self> {
        let mut images = Self {
            cache: Some(Cache::open(directory)?),
            firsts: Vec::new(),
            roots: Vec::new(),
            bare: None,
        };
        for machine in machines {
            images.add(machine, recorder)?;
        }
        Ok(images)
    }

    /// For machines that have no images.
    pub(crate) fn none() -> Self {
        Self {
            cache: None,
            firsts: Vec::new(),
            roots: Vec::new(),
            bare: None,
        }
    }

    /// Where images and disks are kept.
    pub(super) fn cache(&self) -> &Cache {
        self.cache
            .as_ref()
            .expect("opened for every lab with images")
    }

    fn add(&mut self, machine: &MachinePlan, recorder: &Recorder) -> Result<()> {
        if machine.backend == Backend::Ssh || machine.backend.is_script() {
            return Ok(());
        }
        if let Some(system) = &machine.image.system
            && self.root_of(machine).is_none()
        {
            let root = Root::get(self.cache(), system, &mut progress(recorder))?;
            self.roots.push(root);
        }
        if machine.backend == Backend::Nspawn || machine.image.system.is_some() {
            strategy::decide(machine, self.is_writable(machine))?;
        }
        let is_bare_container =
            machine.backend == Backend::Nspawn && machine.image.system.is_none();
        if is_bare_container && self.bare.is_none() {
            let options = BareOptions::new(attest_embed::AGENT, &[]);
            self.bare = Some(bare::container(self.cache(), &options)?);
        }
        let plan = FirstPlan::of(&machine.image);
        let is_known = self.firsts.iter().any(|(known, _)| *known == plan);
        if machine.backend.is_virtual() && !is_known {
            let first = self.first_steps(machine, recorder)?;
            self.firsts.push((plan, first));
        }
        if machine.backend == Backend::Firecracker {
            self.kernel_of(machine)?;
        }
        Ok(())
    }

    /// A virtual machine's kernel, in the form that its backend starts.
    pub(crate) fn kernel_of(&self, machine: &MachinePlan) -> Result<&Path> {
        let guest = self.first_of(machine);
        match machine.backend {
            Backend::Firecracker => Ok(guest.vmlinux("Firecracker")?),
            // A bzImage, too, where there is no PVH entry.
            _ => Ok(&guest.kernel),
        }
    }

    /// The kernel and the initramfs of a virtual machine.
    pub(crate) fn first_of(&self, machine: &MachinePlan) -> &BareGuest {
        &self.first(machine).guest
    }

    /// The disk with the modules of a virtual machine's kernel, if its system needs one.
    pub(crate) fn modules_of(&self, machine: &MachinePlan) -> Option<&Path> {
        self.first(machine).modules.as_deref()
    }

    fn first(&self, machine: &MachinePlan) -> &First {
        let plan = FirstPlan::of(&machine.image);
        let found = self.firsts.iter().find(|(known, _)| *known == plan);
        &found.expect("made for every virtual machine of the plan").1
    }

    /// The system of a machine that has one. Their names tell them apart.
    pub(crate) fn root_of(&self, machine: &MachinePlan) -> Option<&Root> {
        let system = machine.image.system.as_ref()?;
        self.roots.iter().find(|root| root.plan.name == system.name)
    }

    /// What a container's root is made of, and its init.
    pub(super) fn container(&self, machine: &MachinePlan) -> (&Path, Option<&str>) {
        match (self.root_of(machine), &self.bare) {
            (Some(root), _) => (&root.disk, root.init.as_deref()),
            (None, Some(bare)) => (bare, Some(bare::CONTAINER_INIT)),
            (None, None) => unreachable!("made for every container of the plan"),
        }
    }

    /// Whether a machine's image has a file system that can be written to.
    pub(super) fn is_writable(&self, machine: &MachinePlan) -> bool {
        self.root_of(machine).is_some_and(|root| root.is_writable)
    }

    /// Whether what a machine writes goes to a device of the host's kernel, which ends with its machine.
    pub(crate) fn writes_to_device(&self, machine: &MachinePlan) -> bool {
        let strategy = self
            .root_of(machine)
            .map(|root| strategy::decide(machine, root.is_writable));
        matches!(strategy, Some(Ok((strategy::Strategy::DeviceMapper, _))))
    }

    /// What was chosen for them, and why.
    pub(super) fn choices(&self) -> impl Iterator<Item = &Choice> {
        self.firsts
            .iter()
            .flat_map(|(_, first)| &first.guest.choices)
    }

    fn first_steps(&self, machine: &MachinePlan, recorder: &Recorder) -> Result<First> {
        let plan = &machine.image;
        let progress = &mut progress(recorder);
        let own = || self.root_of(machine)?.built.as_ref()?.kernel.clone();
        let kernel = match (&plan.kernel, own()) {
            (KernelPlan::Image, Some(kernel)) => kernel,
            (KernelPlan::Path(path), _) => {
                Kernel::find(self.cache(), &KernelSource::Path(path.clone()), progress)?
            }
            _ => Kernel::find(self.cache(), &KernelSource::Auto, progress)?,
        };
        let agent = attest_embed::AGENT;
        let mut modules = None;
        let guest = match (&plan.initrd, &plan.system) {
            (Some(initrd), _) => bare::with_initrd(self.cache(), &kernel, initrd)?,
            (None, None) => bare::build(self.cache(), &kernel, &BareOptions::new(agent, MODULES))?,
            (None, Some(_)) => {
                modules = kernel.module_image(self.cache(), progress)?;
                bare::first_steps(self.cache(), &kernel, &first_steps())?
            }
        };
        Ok(First { guest, modules })
    }
}

impl Root {
    /// The system's root, built or taken from the cache.
    pub(crate) fn get(
        cache: &Cache,
        plan: &Arc<SystemPlan>,
        progress: &mut dyn FnMut(Step),
    ) -> Result<Self> {
        let (disk, init, is_writable, built) = match (&plan.source, spec::root(plan)) {
            (_, Some(spec)) => {
                let built = build_root(cache, &spec, progress)?;
                let is_writable = built.format == RootFormat::Ext4;
                let (path, init) = (built.path.clone(), built.facts.init.clone());
                (path, init, is_writable, Some(built))
            }
            (SourcePlan::Disk(path), None) => {
                let is_writable = !DiskImage::open(path)?.is_read_only()?;
                (path.clone(), plan.init.clone(), is_writable, None)
            }
            (_, None) => unreachable!("only disks are not built"),
        };
        Ok(Self {
            disk,
            init,
            is_writable,
            built,
            plan: Arc::clone(plan),
        })
    }

    /// Its entry in the cache, if it was built.
    pub(crate) fn entry(&self) -> Option<&Path> {
        Some(self.built.as_ref()?.lease.entry())
    }
}

pub(crate) fn progress(recorder: &Recorder) -> impl FnMut(Step) {
    let mut pace = Pace::default();
    move |step| {
        let text = pace.text(&step, Instant::now());
        recorder.record(EventKind::Progress { text });
    }
}

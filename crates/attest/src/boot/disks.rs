//! The disks of virtual machines: the root with what keeps it from being changed, modules, and
//! those of the user's. Nothing here copies an image, or takes longer for a larger one.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use attest_image::{Cache, disks};
use attest_lab::LabProcess;
use attest_manifest::{DiskContent, DiskPlan, MachinePlan};
use attest_vmm::{Disk, DiskFile, DiskFormat};

use super::images::{Images, Root};
use super::strategy::{self, Strategy};
use crate::error::Result;
use crate::lab::Shared;

/// Serial numbers of disks, of which the agent is told by the kernel's command line.
const ROOT: &str = "root";
const MODULES: &str = "modules";
const WRITTEN: &str = "written";

/// What a machine's processor finds: its disks, and what its agent is told of them.
#[derive(Debug, Default)]
pub(super) struct Disks {
    pub(super) disks: Vec<Disk>,
    /// For the kernel's command line.
    pub(super) arguments: Vec<String>,
}

impl Disks {
    /// All of a virtual machine's.
    pub(super) async fn of(plan: &MachinePlan, lab: &Shared) -> Result<Self> {
        let mut all = Self::default();
        let cache = lab.images.cache();
        if let Some(root) = lab.images.root_of(plan) {
            all.root(plan, root, cache, &lab.process).await?;
        }
        if let Some(modules) = lab.images.modules_of(plan) {
            let file = raw(disks::DiskImage::open(modules)?.into());
            all.add(MODULES, file, None, Writes::Never);
            all.arguments.push(format!("attest.modules={MODULES}"));
        }
        for (index, disk) in plan.disks.iter().enumerate() {
            all.of_the_user(disk, index, cache)?;
        }
        Ok(all)
    }

    async fn root(
        &mut self,
        plan: &MachinePlan,
        root: &Root,
        cache: &Cache,
        lab: &LabProcess,
    ) -> Result<()> {
        let (strategy, _) = strategy::decide(plan, root.is_writable)?;
        let image = disks::DiskImage::open(&root.disk)?;
        let upper = match strategy {
            Strategy::Memory => {
                self.add(ROOT, whole(image), None, Writes::Never);
                "memory"
            }
            Strategy::Disk => {
                self.add(ROOT, whole(image), None, Writes::Never);
                self.add(WRITTEN, raw(disks::writable(cache)?), None, Writes::Away);
                WRITTEN
            }
            Strategy::Qcow2 => {
                self.overlay(ROOT, image, cache)?;
                "root"
            }
            Strategy::Reflink => {
                let file = raw(disks::reflink(cache, &image)?);
                self.add(ROOT, file, None, Writes::Away);
                "root"
            }
            Strategy::DeviceMapper => {
                let image = OwnedFd::from(image);
                let changes = disks::scratch(cache, 512)?;
                let device = lab.snapshot(image.as_fd(), changes.as_fd()).await?;
                self.add(ROOT, raw(device), None, Writes::Away);
                "root"
            }
        };
        self.arguments.push(format!("attest.root={ROOT}"));
        self.arguments.push(format!("attest.upper={upper}"));
        let partition = root.plan.partition;
        self.arguments
            .extend(partition.map(|number| format!("attest.partition={number}")));
        let init = root.init.as_ref();
        self.arguments
            .extend(init.map(|init| format!("attest.init={init}")));
        Ok(())
    }

    fn of_the_user(&mut self, plan: &DiskPlan, index: usize, cache: &Cache) -> Result<()> {
        let serial = format!("disk{index}");
        match &plan.content {
            DiskContent::Empty(bytes) => {
                let writes = if plan.read_only {
                    Writes::Never
                } else {
                    Writes::Away
                };
                self.add(&serial, raw(disks::scratch(cache, *bytes)?), None, writes);
            }
            DiskContent::Source(path) => {
                let image = disks::DiskImage::open(path)?;
                if plan.read_only {
                    self.add(&serial, whole(image), None, Writes::Never);
                } else {
                    self.overlay(&serial, image, cache)?;
                }
            }
        }
        Ok(())
    }

    fn overlay(&mut self, serial: &str, image: disks::DiskImage, cache: &Cache) -> Result<()> {
        let file = DiskFile {
            file: disks::overlay(cache, &image)?,
            format: DiskFormat::Qcow2,
        };
        self.add(serial, file, Some(whole(image)), Writes::Away);
        Ok(())
    }

    fn add(&mut self, serial: &str, file: DiskFile, below: Option<DiskFile>, writes: Writes) {
        self.disks.push(Disk {
            file,
            below,
            read_only: writes == Writes::Never,
            serial: serial.to_owned(),
        });
    }
}

/// What becomes of what the guest writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writes {
    Never,
    /// It is gone with the machine.
    Away,
}

/// The image of a container, and the disk for what it writes, if that does not go into memory.
pub(super) fn of_container(
    plan: &MachinePlan,
    image: &Path,
    images: &Images,
) -> Result<(OwnedFd, Option<OwnedFd>)> {
    let (strategy, _) = strategy::decide(plan, images.is_writable(plan))?;
    let image = disks::DiskImage::open(image)?;
    let upper = match strategy {
        Strategy::Disk => Some(disks::writable(images.cache())?),
        _ => None,
    };
    Ok((image.into(), upper))
}

fn raw(file: OwnedFd) -> DiskFile {
    DiskFile {
        file,
        format: DiskFormat::Raw,
    }
}

/// An image as it is.
fn whole(image: disks::DiskImage) -> DiskFile {
    let format = match image.format() {
        disks::DiskFormat::Raw => DiskFormat::Raw,
        disks::DiskFormat::Qcow2 => DiskFormat::Qcow2,
    };
    DiskFile {
        file: image.into(),
        format,
    }
}

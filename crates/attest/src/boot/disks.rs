//! The disks of virtual machines: the root with what keeps it from being changed, modules, and
//! those of the user's. Nothing here copies an image, or takes longer for a larger one.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use attest_image::{Cache, disks};
use attest_lab::LabProcess;
use attest_manifest::{DiskContent, DiskPlan, MachinePlan};
use attest_vmm::{Disk, DiskFile, DiskFormat};

use super::config::rate;
use super::images::{Images, Root};
use super::strategy::{self, Strategy};
use crate::error::{Error, Result};
use crate::lab::Shared;

/// Serial numbers of disks, of which the agent is told by the kernel's command line.
const ROOT: &str = "root";
const MODULES: &str = "modules";
const WRITTEN: &str = "written";

/// What a machine's processor finds: its disks, and what its agent is told of them.
#[derive(Debug)]
pub(super) struct Disks<'a> {
    pub(super) all: Vec<Disk>,
    /// For the kernel's command line.
    pub(super) arguments: Vec<String>,
    /// Those that are written to, for who saves the machine.
    pub(super) written: Vec<WrittenDisk>,
    cache: &'a Cache,
    before: Before<'a>,
    /// Whether its VMM knows nothing but raw disks.
    raw_only: bool,
    /// Whether its VMM is in a jail: the kernel shows a file without a name in one of them only, so that what was
    /// written is copied when the machine boots again.
    is_jailed: bool,
}

/// What was written to a machine's disks before it starts.
#[derive(Debug, Clone, Copy)]
pub(super) enum Before<'a> {
    /// Nothing.
    Nothing,
    /// This, by itself: it goes on writing there.
    Same(&'a [WrittenDisk]),
    /// This, before it was saved, and others go on from it, too: nobody writes there any more.
    Saved(&'a [WrittenDisk]),
}

/// A disk that its machine writes to, and what was written to it so far.
#[derive(Debug)]
pub(crate) struct WrittenDisk {
    pub(crate) serial: String,
    /// Bytes of the disk.
    pub(crate) size: u64,
    /// The last one first, each over the next; the last lies over the image, if there is one.
    pub(crate) layers: Vec<Layer>,
}

/// A file with a part of a disk.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) file: File,
    pub(crate) format: DiskFormat,
}

impl Layer {
    fn new(file: DiskFile) -> Self {
        Self {
            file: file.file.into(),
            format: file.format,
        }
    }

    /// For one more who reads it, or writes to it, too.
    fn again(&self, writes: bool) -> Result<DiskFile> {
        let file = open_again(&self.file, writes);
        Ok(DiskFile {
            file: file
                .map_err(Error::io("a disk cannot be opened again"))?
                .into(),
            format: self.format,
        })
    }
}

/// An open file, opened once more: with a place in it and a mode of its own. It needs no name.
pub(crate) fn open_again(file: &File, writes: bool) -> io::Result<File> {
    let name = format!("/proc/self/fd/{}", file.as_raw_fd());
    File::options().read(true).write(writes).open(name)
}

impl WrittenDisk {
    /// Whether it is no file, but a device of the host's.
    pub(crate) fn is_device(&self) -> bool {
        use std::os::unix::fs::FileTypeExt;
        let types = self
            .layers
            .iter()
            .filter_map(|layer| layer.file.metadata().ok());
        types
            .map(|file| file.file_type())
            .any(|kind| kind.is_block_device())
    }

    /// The same, for another owner; with `writes`, who goes on writing to it.
    pub(crate) fn again(&self, writes: bool) -> Result<Self> {
        let layers = self.layers.iter().enumerate();
        let layers =
            layers.map(|(index, layer)| Ok(Layer::new(layer.again(writes && index == 0)?)));
        Ok(Self {
            serial: self.serial.clone(),
            size: self.size,
            layers: layers.collect::<Result<_>>()?,
        })
    }
}

impl WrittenDisk {
    /// Where it is a copy of what was saved, copy it again.
    pub(super) fn refresh(&self, saved: &[Self]) -> Result<()> {
        let of = saved.iter().find(|disk| disk.serial == self.serial);
        match (&self.layers[..], of.map(|disk| &disk.layers[..])) {
            ([own], Some([saved])) if own.format == DiskFormat::Raw => {
                disks::copy_over(&saved.again(false)?.file.into(), &own.file)
                    .map_err(Error::io("a disk cannot be copied"))
            }
            _ => Ok(()),
        }
    }

    /// What is on it now, apart: nobody may write to it meanwhile. Constant where the file system shares blocks between
    /// files, else as long as what was written takes.
    pub(crate) fn apart(&self, lab: &Shared) -> Result<Self> {
        let layers = self.layers.iter().map(|layer| {
            let file = disks::copy(lab.images.cache(), &layer.again(false)?.file.into())?;
            Ok(Layer {
                file: file.into(),
                format: layer.format,
            })
        });
        Ok(Self {
            serial: self.serial.clone(),
            size: self.size,
            layers: layers.collect::<Result<_>>()?,
        })
    }
}

impl<'a> Disks<'a> {
    /// All of a virtual machine's, with what was written to them before.
    pub(super) async fn of(
        plan: &MachinePlan,
        lab: &'a Shared,
        before: Before<'a>,
    ) -> Result<Self> {
        let mut all = Self {
            all: Vec::new(),
            arguments: Vec::new(),
            written: Vec::new(),
            cache: lab.images.cache(),
            before,
            raw_only: strategy::is_raw_only(plan.backend),
            is_jailed: lab.backends.jailed_as(plan)?.is_some(),
        };
        if let Some(root) = lab.images.root_of(plan) {
            all.root(plan, root, &lab.process).await?;
        }
        if let Some(modules) = lab.images.modules_of(plan) {
            all.read(MODULES, raw(disks::DiskImage::open(modules)?.into()));
            all.arguments.push(format!("attest.modules={MODULES}"));
        }
        for (index, disk) in plan.disks.iter().enumerate() {
            all.of_the_user(disk, index)?;
        }
        Ok(all)
    }

    async fn root(&mut self, plan: &MachinePlan, root: &Root, lab: &LabProcess) -> Result<()> {
        let (strategy, _) = strategy::decide(plan, root.is_writable)?;
        let image = disks::DiskImage::open(&root.disk)?;
        let cache = self.cache;
        let upper = match strategy {
            Strategy::Memory => {
                self.read(ROOT, whole(image));
                "memory"
            }
            Strategy::Disk => {
                self.read(ROOT, whole(image));
                let written = || Ok(raw(disks::writable(cache)?));
                self.write(WRITTEN, disks::WRITABLE_BYTES, None, written)?;
                WRITTEN
            }
            Strategy::Qcow2 => {
                self.overlay(ROOT, image)?;
                "root"
            }
            Strategy::Reflink => {
                let size = image.size();
                let reflink = || Ok(raw(disks::reflink(cache, &image)?));
                self.write(ROOT, size, None, reflink)?;
                "root"
            }
            Strategy::DeviceMapper => {
                let size = image.size();
                let image = OwnedFd::from(image);
                let changes = disks::scratch(cache, 512)?;
                let device = lab.snapshot(image.as_fd(), changes.as_fd()).await?;
                self.write(ROOT, size, None, || Ok(raw(device)))?;
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

    fn of_the_user(&mut self, plan: &DiskPlan, index: usize) -> Result<()> {
        let serial = format!("disk{index}");
        let cache = self.cache;
        match &plan.content {
            DiskContent::Empty(bytes) => {
                let empty = || Ok(raw(disks::scratch(cache, *bytes)?));
                if plan.read_only {
                    self.read(&serial, empty()?);
                } else {
                    self.write(&serial, *bytes, None, empty)?;
                }
            }
            DiskContent::Source(path) => {
                let image = disks::DiskImage::open(path)?;
                if plan.read_only {
                    self.read(&serial, whole(image));
                } else if self.raw_only {
                    let size = image.size();
                    let reflink = || Ok(raw(disks::reflink(cache, &image)?));
                    self.write(&serial, size, None, reflink)?;
                } else {
                    self.overlay(&serial, image)?;
                }
            }
        }
        let added = self.all.last_mut().expect("one was added");
        added.rate = plan.rate.map(rate);
        Ok(())
    }

    fn overlay(&mut self, serial: &str, image: disks::DiskImage) -> Result<()> {
        let (cache, size) = (self.cache, image.size());
        self.write(serial, size, Some(whole(image)), || layer(cache, size))
    }

    /// A place for what is written on top of what was saved. Without layers that is a copy of all that was written: it
    /// shares its blocks with that, where the file system can.
    fn over(&self, saved: &WrittenDisk) -> Result<Vec<Layer>> {
        let mut layers = Vec::new();
        if self.raw_only {
            let below = saved
                .layers
                .first()
                .expect("a disk that was saved has a file");
            let copy = disks::copy(self.cache, &below.again(false)?.file.into())?;
            layers.push(Layer::new(raw(copy)));
        } else {
            layers.push(Layer::new(layer(self.cache, saved.size)?));
            layers.extend(saved.again(false)?.layers);
        }
        Ok(layers)
    }

    /// A disk that nothing writes to.
    fn read(&mut self, serial: &str, file: DiskFile) {
        self.all.push(Disk {
            file,
            below: Vec::new(),
            read_only: true,
            serial: serial.to_owned(),
            rate: None,
        });
    }

    /// A disk that the guest writes to: `fresh`, over this image, or over what was written before. All of it is
    /// gone with the machine.
    fn write(
        &mut self,
        serial: &str,
        size: u64,
        image: Option<DiskFile>,
        fresh: impl FnOnce() -> Result<DiskFile>,
    ) -> Result<()> {
        let of = |disks: &'a [WrittenDisk]| disks.iter().find(|disk| disk.serial == serial);
        let (same, saved) = match self.before {
            Before::Nothing => (None, None),
            Before::Same(disks) => (of(disks), None),
            Before::Saved(disks) => (None, of(disks)),
        };
        let layers = match (same, saved) {
            (Some(same), _) if self.is_jailed => self.over(same)?,
            (Some(same), _) => same.again(true)?.layers,
            (None, Some(saved)) => self.over(saved)?,
            (None, None) => vec![Layer::new(fresh()?)],
        };
        let written = WrittenDisk {
            serial: serial.to_owned(),
            size,
            layers,
        };
        let (top, before) = written.layers.split_first().expect("the top is there");
        let file = top.again(true)?;
        let below = before.iter().map(|layer| layer.again(false));
        let below = below.chain(image.map(Ok)).collect::<Result<_>>()?;
        self.all.push(Disk {
            file,
            below,
            read_only: false,
            serial: serial.to_owned(),
            rate: None,
        });
        self.written.push(written);
        Ok(())
    }
}

fn layer(cache: &Cache, size: u64) -> Result<DiskFile> {
    Ok(DiskFile {
        file: disks::layer(cache, size)?,
        format: DiskFormat::Qcow2,
    })
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

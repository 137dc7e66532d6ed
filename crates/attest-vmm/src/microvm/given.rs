//! The files of a machine, under the names by which its VMM finds them: the same in every place.

use std::fs::File;
use std::os::fd::OwnedFd;

use super::place::{Place, Use};
use crate::{Launcher, Program, VirtualConfig, VmmError};

pub(crate) const KERNEL: &str = "kernel";
pub(crate) const INITRD: &str = "initrd";
/// The memory that a machine goes on with, or is in.
pub(crate) const MEMORY: &str = "memory";

/// What every guest's kernel is told first. `reboot=k`: by the keyboard's controller, which every such VMM has.
pub(crate) const KERNEL_ARGUMENTS: [&str; 5] = [
    "console=ttyS0",
    "quiet",
    "panic=-1",
    "reboot=k",
    "cryptomgr.notests",
];

/// The name of a disk in the place, and of its device.
pub(crate) fn disk_name(index: usize) -> String {
    format!("disk{index}")
}

/// The name of a card's device.
pub(crate) fn card_name(index: usize) -> String {
    format!("card{index}")
}

/// What files are given for.
pub(crate) struct Given<'a> {
    /// The machine's.
    pub(crate) name: &'a str,
    /// As people know the VMM.
    pub(crate) vmm: &'static str,
    pub(crate) place: &'a Place,
    pub(crate) launcher: &'a dyn Launcher,
}

impl Given<'_> {
    pub(crate) async fn file(
        &self,
        name: &str,
        file: OwnedFd,
        how: Use,
        program: &mut Program,
    ) -> Result<(), VmmError> {
        self.place
            .give(self.name, name, file, how, program, self.launcher)
            .await
    }

    /// What it boots from.
    pub(crate) async fn kernel(
        &self,
        machine: &VirtualConfig,
        program: &mut Program,
    ) -> Result<(), VmmError> {
        for (name, path) in [(KERNEL, &machine.kernel), (INITRD, &machine.initrd)] {
            let file = File::open(path).map_err(VmmError::host(
                self.name,
                "its kernel or initramfs cannot be opened",
            ))?;
            self.file(name, file.into(), Use::Reads, program).await?;
        }
        Ok(())
    }

    pub(crate) async fn disks(
        &self,
        machine: &mut VirtualConfig,
        program: &mut Program,
    ) -> Result<(), VmmError> {
        for (index, disk) in machine.disks.iter_mut().enumerate() {
            let (file, how) = disk.take_raw(self.name, self.vmm)?;
            self.file(&disk_name(index), file, how, program).await?;
        }
        Ok(())
    }
}

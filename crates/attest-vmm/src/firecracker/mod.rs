//! The `firecracker` backend.

use std::path::{Path, PathBuf};

use crate::limits::{self, Limits};
use crate::{Ability, Backend, BoxFuture, Launcher, MachineConfig, Started, VmmError, Wanted};

/// Without `--enable-pci`. Of Firecracker: its interrupts for devices (`GSI_LEGACY`), `MAX_SUPPORTED_VCPUS`,
/// `CMDLINE_MAX_SIZE`; it adds ` virtio_mmio.device=4K@0xc0001000:12` for each device.
const LIMITS: Limits = Limits {
    backend: "firecracker",
    devices: 17,
    over: "MMIO",
    vcpus: 32,
    command_line: 2048,
    command_line_of_device: 36,
    command_line_of_backend: 0,
};

/// Runs machines under Firecracker.
#[derive(Debug)]
pub struct Firecracker {
    #[expect(dead_code, reason = "nothing is found out about the program yet")]
    memo: PathBuf,
}

impl Firecracker {
    /// What is found out about Firecracker is remembered in this directory.
    pub fn new(memo: &Path) -> Self {
        Self {
            memo: memo.to_owned(),
        }
    }
}

impl Backend for Firecracker {
    fn name(&self) -> &'static str {
        "firecracker"
    }

    fn lacks(&self, ability: Ability) -> Option<&'static str> {
        match ability {
            Ability::Image
            | Ability::Kernel
            | Ability::Size
            | Ability::Disks
            | Ability::Networks
            | Ability::RateLimits
            | Ability::Console
            | Ability::Clock
            | Ability::Reboot
            | Ability::PowerOff
            | Ability::Pause
            | Ability::Balloon
            | Ability::Jailer
            | Ability::Snapshots => None,
        }
    }

    fn host(&self, wanted: &Wanted) -> Result<(), VmmError> {
        limits::check(&LIMITS, wanted)?;
        Err(VmmError::unable(&wanted.machine)(
            "this version of attest does not start Firecracker; choose the backend `qemu`"
                .to_owned(),
        ))
    }

    fn start<'a>(
        &'a self,
        machine: MachineConfig,
        _: &'a dyn Launcher,
    ) -> BoxFuture<'a, Result<Started, VmmError>> {
        Box::pin(async move {
            Err(VmmError::WrongBody {
                machine: machine.name,
                backend: self.name(),
            })
        })
    }
}

//! The `cloud-hypervisor` backend.

use std::path::{Path, PathBuf};

use crate::limits::{self, Limits};
use crate::{Ability, Backend, BoxFuture, Launcher, MachineConfig, Started, VmmError, Wanted};

/// Of Cloud Hypervisor: `NUM_DEVICE_IDS` but for the bridge, `MAX_SUPPORTED_CPUS_LEGACY`, `CMDLINE_MAX_SIZE`.
const LIMITS: Limits = Limits {
    backend: "cloud-hypervisor",
    devices: 31,
    over: "PCI",
    vcpus: 254,
    command_line: 65536,
    command_line_of_device: 0,
    command_line_of_backend: 0,
};

/// Runs machines under Cloud Hypervisor.
#[derive(Debug)]
pub struct CloudHypervisor {
    #[expect(dead_code, reason = "nothing is found out about the program yet")]
    memo: PathBuf,
}

impl CloudHypervisor {
    /// What is found out about Cloud Hypervisor is remembered in this directory.
    pub fn new(memo: &Path) -> Self {
        Self {
            memo: memo.to_owned(),
        }
    }
}

impl Backend for CloudHypervisor {
    fn name(&self) -> &'static str {
        "cloud-hypervisor"
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
            | Ability::Snapshots => None,
            Ability::Jailer => Some("Landlock confines it; a jailer is Firecracker's"),
        }
    }

    fn host(&self, wanted: &Wanted) -> Result<(), VmmError> {
        limits::check(&LIMITS, wanted)?;
        Err(VmmError::unable(&wanted.machine)(
            "this version of attest does not start Cloud Hypervisor; choose the backend `qemu`"
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

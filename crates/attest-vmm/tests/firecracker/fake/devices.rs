//! What a microVM is made of: what is in its snapshot, too.

use std::fs::OpenOptions;
use std::io;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Firecracker;
use super::calls::{Balloon, Drive, Entropy, MachineConfig, NetworkInterface, Vsock};
use crate::common::program::Own;

/// Fact: 17 devices on MMIO, 31 on PCI.
const MMIO: usize = 17;
const PCI: usize = 31;
/// Bytes of ` virtio_mmio.device=4K@0xc0001000:5`, as Firecracker tells the guest of each on MMIO.
const MMIO_ARGUMENT: usize = 35;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Devices {
    pub(super) machine: MachineConfig,
    pub(super) drives: Vec<Drive>,
    pub(super) cards: Vec<NetworkInterface>,
    pub(super) vsock: Option<Vsock>,
    pub(super) entropy: Option<Entropy>,
    pub(super) balloon: Option<Balloon>,
}

impl Default for Devices {
    fn default() -> Self {
        let machine = json!({ "vcpu_count": 1, "mem_size_mib": 128 });
        Self {
            machine: serde_json::from_value(machine).unwrap(),
            drives: Vec::new(),
            cards: Vec::new(),
            vsock: None,
            entropy: None,
            balloon: None,
        }
    }
}

impl Devices {
    fn count(&self) -> usize {
        let single = [
            self.vsock.is_some(),
            self.entropy.is_some(),
            self.balloon.is_some(),
        ];
        let single = single.into_iter().filter(|there| *there).count();
        self.drives.len() + self.cards.len() + single
    }

    pub(super) fn fit(&self, pci: bool) -> Result<(), String> {
        let (limit, transport) = if pci { (PCI, "PCI") } else { (MMIO, "MMIO") };
        if self.count() <= limit {
            return Ok(());
        }
        Err(format!(
            "Could not attach device: {transport} transport error: Failed to allocate requested resource: The requested \
             resource is not available."
        ))
    }

    /// Bytes that they add to the kernel's command line.
    pub(super) fn arguments(&self, pci: bool) -> usize {
        if pci { 0 } else { self.count() * MMIO_ARGUMENT }
    }
}

pub(super) fn open_drive(drive: &Drive, own: &Own) -> Result<(), String> {
    let path = drive.path_on_host.as_deref().unwrap_or_default();
    let writes = !drive.is_read_only.unwrap_or(false);
    let opened = own.open(path, OpenOptions::new().read(true).write(writes));
    opened.map(drop).map_err(|error| {
        format!("Virtio backend error: Error manipulating the backing file: {error} {path}")
    })
}

/// Fact: a TAP is opened by its name, and is one program's at a time.
pub(super) fn open_tap(name: &str, firecracker: &Firecracker) -> Result<(), String> {
    if name.len() > 15 {
        return Err("Open tap device failed: Invalid interface name".to_owned());
    }
    if firecracker.busy_taps.contains(name) {
        let busy = io::Error::from_raw_os_error(nix::libc::EBUSY);
        return Err(format!(
            "Open tap device failed: Error while creating ifreq structure: {busy}. Invalid TUN/TAP Backend provided \
             by {name}. Check our documentation on setting up the network devices."
        ));
    }
    Ok(())
}

//! Devices of virtio 1: found on the command line (MMIO) and on the first PCI bus.

mod mmio;
mod pci;
pub(crate) mod queue;

use attest_metal_guest::text::Text;

use crate::memory::Region;
use mmio::Mmio;
use pci::Pci;
use queue::{Bell, Queue};

/// Types of devices.
pub(crate) const CARD: u32 = 1;
pub(crate) const DISK: u32 = 2;
pub(crate) const VSOCK: u32 = 19;
const MOST: usize = 32;
/// `VIRTIO_F_VERSION_1`, in the second word of features. No other is needed.
const VERSION_1: u32 = 1;
const ACKNOWLEDGE: u8 = 1;
const DRIVER: u8 = 2;
const DRIVER_OK: u8 = 4;
const FEATURES_OK: u8 = 8;

/// A device: its type and how it is reached.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Device {
    kind: u32,
    transport: Transport,
}

#[derive(Debug, Clone, Copy)]
enum Transport {
    Mmio(Mmio),
    Pci(Pci),
}

impl Device {
    /// Begin with it: reset it and agree on features.
    pub(crate) fn begin(&self) {
        self.set_status(0);
        // Firecracker takes no two steps at once.
        self.set_status(ACKNOWLEDGE);
        self.set_status(ACKNOWLEDGE | DRIVER);
        match &self.transport {
            Transport::Mmio(mmio) => mmio.agree(VERSION_1),
            Transport::Pci(pci) => pci.agree(VERSION_1),
        }
        self.set_status(ACKNOWLEDGE | DRIVER | FEATURES_OK);
    }

    /// Set up a queue, on the page with this number of all.
    pub(crate) fn queue(&self, index: u16, page: usize) -> Queue {
        let page = queue::page(page);
        let queue = |bell: Bell| Queue::new(page, bell);
        match &self.transport {
            Transport::Mmio(mmio) => queue(mmio.queue(index, page)),
            Transport::Pci(pci) => queue(pci.queue(index, page)),
        }
    }

    /// All queues are there.
    pub(crate) fn ready(&self) {
        self.set_status(ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
    }

    /// Four bytes of what the device says of itself.
    pub(crate) fn configuration(&self, at: usize) -> u32 {
        match &self.transport {
            Transport::Mmio(mmio) => mmio.configuration(at),
            Transport::Pci(pci) => pci.configuration(at),
        }
    }

    fn set_status(&self, status: u8) {
        match &self.transport {
            Transport::Mmio(mmio) => mmio.set_status(status),
            Transport::Pci(pci) => pci.set_status(status),
        }
    }
}

/// What was found, in order.
#[derive(Debug)]
pub(crate) struct Devices {
    found: [Option<Device>; MOST],
    count: usize,
}

impl Devices {
    fn add(&mut self, kind: u32, transport: Transport) {
        if let Some(place) = self.found.get_mut(self.count) {
            *place = Some(Device { kind, transport });
            self.count += 1;
        }
    }

    /// The first of a type.
    pub(crate) fn first(&self, kind: u32) -> Option<Device> {
        self.nth(kind, 0)
    }

    /// One of a type, counted from 0.
    pub(crate) fn nth(&self, kind: u32, index: usize) -> Option<Device> {
        let all = self.found.iter().flatten();
        all.filter(|device| device.kind == kind).nth(index).copied()
    }

    /// A line for each: its type and transport.
    pub(crate) fn list<const SIZE: usize>(&self, text: &mut Text<SIZE>) {
        for device in self.found.iter().flatten() {
            text.decimal(device.kind.into());
            text.put(match device.transport {
                Transport::Mmio(_) => b" mmio\n",
                Transport::Pci(_) => b" pci\n",
            });
        }
    }
}

/// Look for devices.
pub(crate) fn find(command_line: &[u8]) -> Devices {
    let mut devices = Devices {
        found: [const { None }; MOST],
        count: 0,
    };
    for word in command_line.split(u8::is_ascii_whitespace) {
        if let Some((kind, mmio)) = mmio::announced(word) {
            devices.add(kind, Transport::Mmio(mmio));
        }
    }
    pci::scan(|kind, pci| devices.add(kind, Transport::Pci(pci)));
    devices
}

/// Firecracker's `--boot-timer` takes this byte for the end of the boot.
pub(crate) fn tell_boot_timer(address: u64) {
    Region::of(address as usize, 1).write(0, 123_u8);
}

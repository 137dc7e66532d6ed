//! The PCI transport (virtio 1.2, 4.1), with registers where the VMM has put them, and MSI-X.

use super::queue::{self, Bell};
use crate::memory::Region;
use crate::{cpu, interrupts, paging};

const VENDOR: u32 = 0x1af4;
/// Types are added to it.
const FIRST: u32 = 0x1040;
const COMMAND: u32 = 4;
/// Memory, and being a master of the bus.
const ENABLE: u32 = 6;
const CAPABILITIES: u32 = 0x34;
const OF_VENDOR: u32 = 9;
const MSI_X: u32 = 0x11;
const COMMON: u32 = 1;
const NOTIFY: u32 = 2;
const DEVICE: u32 = 4;
/// Of a queue that does not interrupt.
const NO_VECTOR: u16 = 0xffff;

/// A device's registers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pci {
    common: Region,
    notify: Region,
    multiplier: usize,
    device: Region,
}

/// The number of a device on the first bus.
#[derive(Clone, Copy)]
struct Slot(u32);

impl Slot {
    fn choose(self, at: u32) {
        cpu::out32(0xcf8, 1 << 31 | self.0 << 11 | at);
    }

    fn read(self, at: u32) -> u32 {
        self.choose(at);
        cpu::in32(0xcfc)
    }

    fn write(self, at: u32, value: u32) {
        self.choose(at);
        cpu::out32(0xcfc, value);
    }

    /// A window of a device, mapped.
    fn window(self, bar: u32, at: u32, size: u32) -> Region {
        let low = self.read(0x10 + 4 * bar);
        let high = if low & 4 != 0 {
            self.read(0x14 + 4 * bar)
        } else {
            0
        };
        let base = u64::from(high) << 32 | u64::from(low & !15);
        if high != 0 {
            paging::map(base);
        }
        Region::of(base as usize + at as usize, size as usize)
    }
}

/// Call with each device's type.
pub(crate) fn scan(mut found: impl FnMut(u32, Pci)) {
    // The first is the host's bridge; without it there is no bus.
    for number in 0..32 {
        let head = Slot(number).read(0);
        let vendor = head & 0xffff;
        if number == 0 && (vendor == 0xffff || vendor == 0) {
            return;
        }
        let Some(kind) = (head >> 16).checked_sub(FIRST) else {
            continue;
        };
        if vendor == VENDOR
            && let Some(device) = open(Slot(number))
        {
            found(kind, device);
        }
    }
}

fn open(slot: Slot) -> Option<Pci> {
    slot.write(COMMAND, slot.read(COMMAND) | ENABLE);
    let (mut common, mut notify, mut device) = (None, None, None);
    let mut multiplier = 0;
    let mut at = slot.read(CAPABILITIES) & 0xfc;
    while at != 0 {
        let head = slot.read(at);
        if head & 0xff == OF_VENDOR {
            let window = || {
                slot.window(
                    slot.read(at + 4) & 0xff,
                    slot.read(at + 8),
                    slot.read(at + 12),
                )
            };
            match head >> 24 {
                COMMON => common = Some(window()),
                NOTIFY => {
                    notify = Some(window());
                    multiplier = slot.read(at + 16) as usize;
                }
                DEVICE => device = Some(window()),
                _ => {}
            }
        } else if head & 0xff == MSI_X {
            let table = slot.read(at + 4);
            let entry = slot.window(table & 7, table & !7, 16);
            entry.write(0, interrupts::MESSAGES as u32);
            entry.write(4, 0_u32);
            entry.write(8, u32::from(interrupts::DEVICE));
            entry.write(12, 0_u32);
            slot.write(at, head & !(1 << 30) | 1 << 31);
        }
        at = head >> 8 & 0xfc;
    }
    Some(Pci {
        common: common?,
        notify: notify?,
        multiplier,
        device: device?,
    })
}

impl Pci {
    pub(crate) fn set_status(&self, status: u8) {
        self.common.write(0x14, status);
    }

    /// Take these of the second word of features.
    pub(crate) fn agree(&self, high: u32) {
        for (word, features) in [(0_u32, 0), (1, high)] {
            self.common.write(8, word);
            self.common.write(12, features);
        }
        self.common.write(0x10, NO_VECTOR);
    }

    pub(crate) fn configuration(&self, at: usize) -> u32 {
        self.device.read(at)
    }

    pub(crate) fn queue(&self, index: u16, page: Region) -> Bell {
        let common = self.common;
        common.write(0x16, index);
        common.write(0x18, queue::SIZE);
        common.write(0x1a, 0_u16);
        for (at, address) in [0x20, 0x28, 0x30].into_iter().zip(queue::addresses(page)) {
            let (low, high) = (address as u32, (address >> 32) as u32);
            common.write(at, low);
            common.write(at + 4, high);
        }
        common.write(0x1c, 1_u16);
        let offset: u16 = common.read(0x1e);
        Bell::Narrow(
            self.notify.part(usize::from(offset) * self.multiplier, 2),
            index,
        )
    }
}

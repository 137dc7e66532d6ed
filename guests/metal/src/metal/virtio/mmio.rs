//! The MMIO transport (virtio 1.2, 4.2).

use attest_metal_guest::text::number;

use super::queue::{self, Bell};
use crate::interrupts;
use crate::memory::Region;

const MAGIC: u32 = 0x7472_6976;

/// A device's registers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mmio(Region);

/// The device that a word of the command line announces: `virtio_mmio.device=4K@0xADDRESS:LINE`.
pub(crate) fn announced(word: &[u8]) -> Option<(u32, Mmio)> {
    let word = word.strip_prefix(b"virtio_mmio.device=")?;
    let mut parts = word.split(|byte| *byte == b'@' || *byte == b':').skip(1);
    let address = usize::try_from(number(parts.next()?)?).ok()?;
    let line = u32::try_from(number(parts.next()?)?).ok()?;
    let registers = Region::of(address, 0x1000);
    if registers.read::<u32>(0) != MAGIC || registers.read::<u32>(4) != 2 {
        return None;
    }
    interrupts::wake_by(line);
    Some((registers.read(8), Mmio(registers)))
}

impl Mmio {
    pub(crate) fn set_status(&self, status: u8) {
        self.0.write(0x70, u32::from(status));
    }

    /// Take these of the second word of features.
    pub(crate) fn agree(&self, high: u32) {
        for (word, features) in [(0_u32, 0), (1, high)] {
            self.0.write(0x24, word);
            self.0.write(0x20, features);
        }
    }

    pub(crate) fn configuration(&self, at: usize) -> u32 {
        self.0.read(0x100 + at)
    }

    pub(crate) fn queue(&self, index: u16, page: Region) -> Bell {
        self.0.write(0x30, u32::from(index));
        self.0.write(0x38, u32::from(queue::SIZE));
        for (at, address) in [0x80, 0x90, 0xa0].into_iter().zip(queue::addresses(page)) {
            let (low, high) = (address as u32, (address >> 32) as u32);
            self.0.write(at, low);
            self.0.write(at + 4, high);
        }
        self.0.write(0x44, 1_u32);
        Bell::Wide(self.0.part(0x50, 4), u32::from(index))
    }
}

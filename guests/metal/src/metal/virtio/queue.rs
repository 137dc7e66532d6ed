//! A split virtqueue (virtio 1.2, 2.7) in a page: descriptors, what the driver gives, what comes back.

use core::sync::atomic::{Ordering, fence};

use crate::memory::{PAGE, QUEUES, Region};

/// Descriptors of a queue.
pub(crate) const SIZE: u16 = 16;
const GIVEN: usize = 0x400;
const BACK: usize = 0x800;
const NEXT: u16 = 1;
const WRITE: u16 = 2;

/// Where and how a queue is told that there is something in it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bell {
    /// The number of the queue, in four bytes (MMIO).
    Wide(Region, u32),
    /// The same in two (PCI).
    Narrow(Region, u16),
}

/// A queue of a device.
#[derive(Debug)]
pub(crate) struct Queue {
    page: Region,
    bell: Bell,
    given: u16,
    taken: u16,
}

/// The three addresses of a queue.
pub(crate) fn addresses(page: Region) -> [u64; 3] {
    [0, GIVEN, BACK].map(|at| page.address() + at as u64)
}

/// A page for the queue with this number of all.
pub(crate) fn page(number: usize) -> Region {
    QUEUES.part(number * PAGE, PAGE)
}

impl Queue {
    /// Empty.
    pub(crate) fn new(page: Region, bell: Bell) -> Self {
        // A machine that was reset has what was here before.
        page.fill(0);
        Self {
            page,
            bell,
            given: 0,
            taken: 0,
        }
    }

    /// Say that what comes back needs no interrupt.
    pub(crate) fn quiet(&self) {
        self.page.write(GIVEN, 1_u16);
    }

    /// Describe a piece of memory: the device writes to it, or reads it; another one may follow.
    pub(crate) fn describe(&self, at: u16, place: Region, device_writes: bool, follows: bool) {
        let entry = self.page.part(usize::from(at) * 16, 16);
        let flags = if device_writes { WRITE } else { 0 } | if follows { NEXT } else { 0 };
        entry.write(0, place.address());
        entry.write(8, place.size() as u32);
        entry.write(12, flags);
        entry.write(14, at + 1);
    }

    /// Give the device what begins with this descriptor.
    pub(crate) fn give(&mut self, at: u16) {
        let slot = usize::from(self.given % SIZE);
        self.page.write(GIVEN + 4 + 2 * slot, at);
        self.given = self.given.wrapping_add(1);
        fence(Ordering::SeqCst);
        self.page.write(GIVEN + 2, self.given);
    }

    /// Tell the device.
    pub(crate) fn ring(&self) {
        fence(Ordering::SeqCst);
        match self.bell {
            Bell::Wide(place, number) => place.write(0, number),
            Bell::Narrow(place, number) => place.write(0, number),
        }
    }

    /// The next that came back: its first descriptor, and how many bytes were written.
    pub(crate) fn take(&mut self) -> Option<(u16, usize)> {
        let back: u16 = self.page.read(BACK + 2);
        if back == self.taken {
            return None;
        }
        fence(Ordering::SeqCst);
        let slot = self
            .page
            .part(BACK + 4 + 8 * usize::from(self.taken % SIZE), 8);
        self.taken = self.taken.wrapping_add(1);
        Some((slot.read::<u32>(0) as u16, slot.read::<u32>(4) as usize))
    }
}

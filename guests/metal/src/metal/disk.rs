//! A disk (virtio 1.2, 5.2): its first sector, one request at a time.

use crate::clock::{Clock, MILLISECOND};
use crate::cpu;
use crate::memory::{DISKS, Region};
use crate::virtio::queue::Queue;
use crate::virtio::{DISK, Devices};

/// Disks that can be used.
pub(crate) const MOST: usize = 8;
const SECTOR: usize = 512;
/// Bytes of a disk's buffers: the sector, what is asked for, and the outcome.
const ROOM: usize = 1024;
const ASKED: usize = SECTOR;
const OUTCOME: usize = SECTOR + 16;
/// The first page of queues of disks.
const PAGES: usize = 8;
const READ: u32 = 0;
const WRITE: u32 = 1;
/// How long the VMM may take.
const PATIENCE: u64 = 5000 * MILLISECOND;

/// Set up for use.
#[derive(Debug)]
pub(crate) struct Disk {
    queue: Queue,
    buffers: Region,
}

impl Disk {
    /// The disk with this number, counted from 0.
    pub(crate) fn begin(devices: &Devices, index: usize) -> Option<Self> {
        let device = devices.nth(DISK, index)?;
        device.begin();
        let queue = device.queue(0, PAGES + index);
        device.ready();
        Some(Self {
            queue,
            buffers: DISKS.part(index * ROOM, ROOM),
        })
    }

    /// The beginning of the first sector.
    pub(crate) fn read(&mut self, clock: &Clock) -> Result<&'static [u8], u8> {
        self.ask(READ, clock)?;
        Ok(self.buffers.bytes(0, 16))
    }

    /// Fill the first sector: with this, and zeroes after it.
    pub(crate) fn write(&mut self, bytes: &[u8], clock: &Clock) -> Result<(), u8> {
        self.buffers.part(0, SECTOR).fill(0);
        self.buffers.put(0, &bytes[..bytes.len().min(SECTOR)]);
        self.ask(WRITE, clock)
    }

    /// The error is the device's status, or 255 when it does not answer.
    fn ask(&mut self, what: u32, clock: &Clock) -> Result<(), u8> {
        // The answer to what was given up.
        while self.queue.take().is_some() {}
        self.buffers.write(ASKED, what);
        self.buffers.write(ASKED + 4, 0_u32);
        self.buffers.write(ASKED + 8, 0_u64);
        self.buffers.write(OUTCOME, u8::MAX);
        self.queue
            .describe(0, self.buffers.part(ASKED, 16), false, true);
        self.queue
            .describe(1, self.buffers.part(0, SECTOR), what == READ, true);
        self.queue
            .describe(2, self.buffers.part(OUTCOME, 1), true, false);
        self.queue.give(0);
        self.queue.ring();
        let end = clock.now() + PATIENCE;
        while self.queue.take().is_none() && clock.now() < end {
            cpu::pause();
        }
        match self.buffers.read(OUTCOME) {
            0 => Ok(()),
            status => Err(status),
        }
    }
}

//! A network card (virtio 1.2, 5.1): sends one kind of frame, and counts those that come.

use crate::cpu;
use crate::memory::{CARDS, Region};
use crate::virtio::queue::{self, Queue};
use crate::virtio::{CARD, Device, Devices};

/// Cards that can be used.
pub(crate) const MOST: usize = 4;
/// Bytes of a card's buffers, and of each for a frame: far more than one has, because Firecracker gives
/// nothing while all together are smaller than the longest of other guests, 65562 bytes.
const ROOM: usize = 0x2_8000;
const FRAME: usize = 8192;
/// The first page of queues of cards.
const PAGES: usize = 16;
/// `struct virtio_net_hdr`, and the addresses and type of Ethernet after it.
const HEADER: usize = 12;
const KIND: usize = HEADER + 12;
/// Bytes of a frame without its checksum at least.
const LEAST: usize = 60;
/// For experiments (IEEE 802).
const EXPERIMENTAL: [u8; 2] = [0x88, 0xb5];

/// Set up for use.
#[derive(Debug)]
pub(crate) struct Card {
    device: Device,
    incoming: Queue,
    outgoing: Queue,
    buffers: Region,
    /// Frames of the experimental type that came.
    pub(crate) received: u64,
}

impl Card {
    /// The card with this number, counted from 0.
    pub(crate) fn begin(devices: &Devices, index: usize) -> Option<Self> {
        let device = devices.nth(CARD, index)?;
        device.begin();
        let [mut incoming, outgoing] =
            [0, 1].map(|queue| device.queue(queue, PAGES + 2 * index + usize::from(queue)));
        outgoing.quiet();
        device.ready();
        let buffers = CARDS.part(index * ROOM, ROOM);
        for at in 0..queue::SIZE {
            incoming.describe(
                at,
                buffers.part(usize::from(at) * FRAME, FRAME),
                true,
                false,
            );
            incoming.give(at);
        }
        incoming.ring();
        Some(Self {
            device,
            incoming,
            outgoing,
            buffers,
            received: 0,
        })
    }

    /// Send a frame to all.
    pub(crate) fn send(&mut self) {
        let frame = self
            .buffers
            .part(usize::from(queue::SIZE) * FRAME, HEADER + LEAST);
        for at in 0..frame.size() {
            frame.write(at, 0_u8);
        }
        let low = self.device.configuration(0).to_le_bytes();
        let high = self.device.configuration(4).to_le_bytes();
        frame.put(HEADER, &[0xff; 6]);
        frame.put(
            HEADER + 6,
            &[low[0], low[1], low[2], low[3], high[0], high[1]],
        );
        frame.put(KIND, &EXPERIMENTAL);
        frame.put(KIND + 2, b"attest");
        self.outgoing.describe(0, frame, false, false);
        self.outgoing.give(0);
        self.outgoing.ring();
        while self.outgoing.take().is_none() {
            cpu::pause();
        }
    }

    /// Count what has come.
    pub(crate) fn count(&mut self) {
        let mut any = false;
        while let Some((at, _)) = self.incoming.take() {
            let kind = self.buffers.bytes(usize::from(at) * FRAME + KIND, 2);
            self.received += u64::from(*kind == EXPERIMENTAL);
            self.incoming.give(at);
            any = true;
        }
        if any {
            self.incoming.ring();
        }
    }
}

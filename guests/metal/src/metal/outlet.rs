//! Bytes on their way to the host: frames are written here, and the device reads them from here.

use attest_metal_guest::frame::{HEADER, Head, PREAMBLE};
use attest_metal_guest::ring::Ring;

use crate::memory::{OUTLET, Region};

const SIZE: usize = 256 * 1024;

/// Frames for the host.
#[derive(Debug)]
pub(crate) struct Outlet {
    pub(crate) ring: Ring<SIZE>,
    /// A frame did not fit: what the host gets has a hole, and the connection must end.
    pub(crate) broken: bool,
}

impl Outlet {
    /// Empty.
    pub(crate) fn begin() -> Self {
        Self {
            ring: Ring::new(),
            broken: false,
        }
    }

    /// Bytes of payload that a frame can have now.
    pub(crate) fn room(&self) -> usize {
        self.ring.room().saturating_sub(PREAMBLE.len() + HEADER)
    }

    /// Append a greeting.
    pub(crate) fn greet(&mut self, kind: u8, payload: &[u8]) {
        self.put(&PREAMBLE);
        self.frame(kind, 0, payload);
    }

    /// Append a frame.
    pub(crate) fn frame(&mut self, kind: u8, channel: u32, payload: &[u8]) {
        let length = payload.len();
        let head = Head {
            kind,
            channel,
            length,
        };
        if self.room() < length {
            self.broken = true;
            return;
        }
        self.put(&head.encode());
        self.put(payload);
    }

    fn put(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (at, space) = self.ring.place();
            let (now, later) = bytes.split_at(space.min(bytes.len()));
            if now.is_empty() {
                self.broken = true;
                return;
            }
            OUTLET.put(at, now);
            self.ring.write(now.len());
            bytes = later;
        }
    }

    /// The next bytes for the device, at most so many, which it has until they are freed.
    pub(crate) fn next(&mut self, most: usize) -> Region {
        let (at, length) = self.ring.next();
        let length = length.min(most);
        self.ring.hand(length);
        OUTLET.part(at, length)
    }
}

//! The first serial port, by looking and waiting.

use crate::{cpu, interrupts};

const PORT: u16 = 0x3f8;
/// Bytes that its queue takes when it is empty.
const QUEUE: usize = 16;

/// Its line of the I/O APIC.
const LINE: u32 = 4;

/// Switch its queue on, and let what comes wake the processor.
pub(crate) fn begin() {
    cpu::out8(PORT + 2, 1);
    cpu::out8(PORT + 1, 1);
    interrupts::wake_by(LINE);
}

/// Print bytes as they are.
pub(crate) fn print(bytes: &[u8]) {
    for bytes in bytes.chunks(QUEUE) {
        while cpu::in8(PORT + 5) & 0x20 == 0 {
            cpu::pause();
        }
        for byte in bytes {
            cpu::out8(PORT, *byte);
        }
    }
}

/// A byte that has come, if one has.
pub(crate) fn input() -> Option<u8> {
    (cpu::in8(PORT + 5) & 1 != 0).then(|| cpu::in8(PORT))
}

//! How the machine ends.

use crate::clock::MILLISECOND;
use crate::{cpu, interrupts, serial};

/// A port of Cloud Hypervisor's for ACPI, and what it takes there for S5. Firecracker has nothing there.
const SLEEP: (u16, u8) = (0x600, 5 << 2 | 1 << 5);

/// What the host has asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    PowerOff,
    Reboot,
}

impl End {
    /// With the words of Linux.
    pub(crate) fn come(self) -> ! {
        match self {
            Self::PowerOff => {
                serial::print(b"reboot: Power down\r\n");
                cpu::out8(SLEEP.0, SLEEP.1);
                cpu::stop()
            }
            Self::Reboot => {
                serial::print(b"reboot: Restarting system\r\n");
                reset()
            }
        }
    }
}

/// What a reset may take. Without a pause, Firecracker would see the fault now and then.
const RESETTING: u64 = 100 * MILLISECOND;

/// By the keyboard's controller; where there is none, by a triple fault.
pub(crate) fn reset() -> ! {
    cpu::out8(0x64, 0xfe);
    interrupts::wait(RESETTING);
    interrupts::crash()
}

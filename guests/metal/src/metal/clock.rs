//! Nanoseconds, by KVM's clock where there is one: it says how the time-stamp counter runs. Elsewhere
//! the counter is taken for nanoseconds, which it is in QEMU without KVM.
#![expect(unsafe_code, reason = "the hypervisor writes into a page")]

use crate::cpu;
use crate::memory::Region;

/// In nanoseconds.
pub(crate) const MILLISECOND: u64 = 1_000_000;
/// MSR_KVM_SYSTEM_TIME_NEW.
const REGISTER: u32 = 0x4b56_4d01;

#[repr(align(64))]
struct Page(#[expect(dead_code, reason = "for its place")] [u8; 64]);
static mut PAGE: Page = Page([0; 64]);

/// What tells the time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    page: Option<Region>,
}

impl Clock {
    /// Ask the hypervisor for its clock.
    pub(crate) fn begin() -> Self {
        let is_kvm = cpu::id(0x4000_0000)[1..] == [0x4b4d_564b, 0x564b_4d56, 0x4d];
        if !is_kvm || cpu::id(0x4000_0001)[0] & 1 << 3 == 0 {
            return Self { page: None };
        }
        let page = Region::of(&raw const PAGE as usize, 64);
        // SAFETY: KVM writes 32 bytes of its clock (struct pvclock_vcpu_time_info) to the page.
        unsafe { cpu::set_register(REGISTER, page.address() | 1) };
        Self { page: Some(page) }
    }

    /// Nanoseconds since the machine began.
    pub(crate) fn now(&self) -> u64 {
        let Some(page) = self.page else {
            return cpu::ticks();
        };
        loop {
            let version: u32 = page.read(0);
            let passed = cpu::ticks().wrapping_sub(page.read(8));
            let base: u64 = page.read(16);
            let factor: u32 = page.read(24);
            let shift: u8 = page.read(28);
            if version.is_multiple_of(2) && version == page.read::<u32>(0) {
                let passed = match shift.cast_signed() {
                    left @ 0.. => passed << left,
                    right => passed >> -right,
                };
                let product = u128::from(passed) * u128::from(factor);
                return base.wrapping_add((product >> 32) as u64);
            }
        }
    }
}

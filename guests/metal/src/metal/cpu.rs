//! Single instructions.
#![expect(unsafe_code, reason = "instructions that Rust does not have")]

use core::arch::asm;

/// Write a byte to a port.
pub(crate) fn out8(port: u16, value: u8) {
    // SAFETY: no device behind a port of the boards that this runs on writes to memory for it.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack)) };
}

/// Read a byte from a port.
pub(crate) fn in8(port: u16) -> u8 {
    let value;
    // SAFETY: as for `out8`.
    unsafe { asm!("in al, dx", in("dx") port, out("al") value, options(nomem, nostack)) };
    value
}

/// Write four bytes to a port.
pub(crate) fn out32(port: u16, value: u32) {
    // SAFETY: as for `out8`.
    unsafe { asm!("out dx, eax", in("dx") port, in("eax") value, options(nomem, nostack)) };
}

/// Read four bytes from a port.
pub(crate) fn in32(port: u16) -> u32 {
    let value;
    // SAFETY: as for `out8`.
    unsafe { asm!("in eax, dx", in("dx") port, out("eax") value, options(nomem, nostack)) };
    value
}

/// The time-stamp counter.
pub(crate) fn ticks() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reads a register.
    unsafe { asm!("rdtsc", out("eax") low, out("edx") high, options(nomem, nostack)) };
    u64::from(high) << 32 | u64::from(low)
}

/// `eax`, `ebx`, `ecx`, `edx` of a leaf.
pub(crate) fn id(leaf: u32) -> [u32; 4] {
    let found = core::arch::x86_64::__cpuid(leaf);
    [found.eax, found.ebx, found.ecx, found.edx]
}

/// Write a model-specific register.
///
/// # Safety
/// What the register does is sound.
pub(crate) unsafe fn set_register(register: u32, value: u64) {
    let (low, high) = (value as u32, (value >> 32) as u32);
    // SAFETY: the caller's.
    unsafe { asm!("wrmsr", in("ecx") register, in("eax") low, in("edx") high, options(nostack)) };
}

/// A moment for the others.
pub(crate) fn pause() {
    core::hint::spin_loop();
}

/// Do nothing for ever.
pub(crate) fn stop() -> ! {
    loop {
        // SAFETY: interrupts are off, so that nothing comes back from this.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) };
    }
}

//! Interrupts wake the processor, and say nothing else: what has happened is looked up in the queues.
//! They are on only while it waits, so that no code but the wait can meet one.
//!
//! The local APIC's timer counts nanoseconds on KVM (its bus clock is 1 GHz there), as in QEMU.
#![expect(
    unsafe_code,
    reason = "interrupt tables are instructions and addresses of code"
)]

use core::arch::{asm, global_asm};

use crate::cpu;
use crate::memory::Region;

/// Of the local APIC's timer, of devices, and of what was withdrawn.
const TIMER: u8 = 0x20;
pub(crate) const DEVICE: u8 = 0x21;
const SPURIOUS: u8 = 0xff;
const EXCEPTIONS: u8 = 32;
/// Where a message of a device with MSI-X goes: the first processor.
pub(crate) const MESSAGES: u64 = 0xfee0_0000;
const LOCAL: Region = Region::of(0xfee0_0000, 0x1000);
const IO: Region = Region::of(0xfec0_0000, 0x1000);
/// Code of 64 bits, an interrupt gate, present.
const GATE: u64 = 0x8e00 << 32 | 8 << 16;

static mut GATES: [u64; 512] = [0; 512];

// SAFETY: they leave all registers as they are; the second does not return.
global_asm!(
    r#"
    .global woken, fault
woken:
    push rax
    mov eax, 0xfee000b0             // end of interrupt
    mov dword ptr [rax], 0
    pop rax
    iretq
fault:
    mov rdi, [rsp]
    mov rsi, [rsp + 8]
    and rsp, -16
    call {faulted}
"#,
    faulted = sym faulted,
);

unsafe extern "C" {
    fn woken();
    fn fault();
}

extern "C" fn faulted(first: u64, second: u64) -> ! {
    crate::panic::fault(first, second)
}

/// Set up the tables and the local APIC.
pub(crate) fn begin() {
    for vector in 0..EXCEPTIONS {
        gate(vector, fault);
    }
    for vector in [TIMER, DEVICE, SPURIOUS] {
        gate(vector, woken);
    }
    load(&raw const GATES as u64, 4095);
    // The old controllers never interrupt.
    cpu::out8(0x21, 0xff);
    cpu::out8(0xa1, 0xff);
}

/// After all is mapped: the local APIC, with its timer counting once, in steps of its clock.
pub(crate) fn begin_local() {
    LOCAL.write(0xf0, 0x100 | u32::from(SPURIOUS));
    LOCAL.write(0x3e0, 0b1011_u32);
    LOCAL.write(0x320, u32::from(TIMER));
}

/// Let a line of the I/O APIC, which must be mapped, wake the processor.
pub(crate) fn wake_by(line: u32) {
    let entry = 0x10 + 2 * line;
    for (register, value) in [(entry + 1, 0), (entry, u32::from(DEVICE))] {
        IO.write(0, register);
        IO.write(0x10, value);
    }
}

/// Wait for an interrupt, for so many nanoseconds at most.
pub(crate) fn wait(nanoseconds: u64) {
    LOCAL.write(0x380, u32::try_from(nanoseconds).unwrap_or(u32::MAX));
    // SAFETY: `woken` keeps everything. An interrupt that came before is taken after `hlt` began.
    unsafe { asm!("sti", "hlt", "cli") };
}

/// Whatever comes next kills the processor: a triple fault.
pub(crate) fn crash() -> ! {
    load(0, 0);
    // SAFETY: without a table this does not come back.
    unsafe { asm!("int3", options(noreturn)) }
}

fn gate(vector: u8, handler: unsafe extern "C" fn()) {
    let address = handler as usize as u64;
    let table = Region::of(&raw const GATES as usize, 4096);
    let low = address & 0xffff | GATE | (address & 0xffff_0000) << 32;
    table.write(usize::from(vector) * 16, low);
    table.write(usize::from(vector) * 16 + 8, address >> 32);
}

fn load(table: u64, limit: u16) {
    let [a, b, c, d] = [0, 16, 32, 48].map(|shift| (table >> shift) as u16);
    let pointer = [limit, a, b, c, d];
    // SAFETY: the table is one of gates, or an empty one for the end.
    unsafe { asm!("lidt [{}]", in(reg) &raw const pointer, options(nostack)) };
}

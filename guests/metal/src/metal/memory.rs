//! Where everything lies, and access to what devices see. Above the program:
//!
//! | from | what |
//! |---|---|
//! | 1.75 MiB | page tables beyond those of the boot code; and the stack, down from 2 MiB |
//! | 2 MiB | queues of devices, a page each, and headers of packets |
//! | 2.25 MiB | what goes to the host |
//! | 2.5 MiB | packets from the host |
//! | 3.25 MiB | a message from the host |
//! | 3.5 MiB | disks |
//! | 4 MiB | what commands echo |
//! | 6 MiB | cards |
//! | 7 MiB | what `dirty` writes to, up to the end of memory |
#![expect(
    unsafe_code,
    reason = "memory that devices read and write has no references to it"
)]

use core::arch::asm;

/// Bytes of a page.
pub(crate) const PAGE: usize = 4096;

/// Page tables.
pub(crate) const TABLES: Region = Region::of(0x1c_0000, 0x1_0000);
/// Where the stack begins.
pub(crate) const STACK: usize = 0x20_0000;
/// Queues, headers of packets.
pub(crate) const QUEUES: Region = Region::of(0x20_0000, 0x4_0000);
/// What goes to the host.
pub(crate) const OUTLET: Region = Region::of(0x24_0000, 0x4_0000);
/// Packets from the host.
pub(crate) const PACKETS: Region = Region::of(0x28_0000, 0xc_0000);
/// A message from the host.
pub(crate) const MESSAGE: Region = Region::of(0x34_0000, 0x1_0000);
/// Buffers of disks.
pub(crate) const DISKS: Region = Region::of(0x38_0000, 0x8_0000);
/// What commands echo.
pub(crate) const ECHOES: Region = Region::of(0x40_0000, 0x20_0000);
/// Buffers of cards.
pub(crate) const CARDS: Region = Region::of(0x60_0000, 0x10_0000);
/// What `dirty` writes to begins here.
pub(crate) const DIRTY: usize = 0x70_0000;

/// A piece of physical memory, of RAM that nothing else uses or of a device.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Region {
    base: usize,
    size: usize,
}

/// Integers, which any bytes are.
pub(crate) trait Plain: Copy {}
impl Plain for u8 {}
impl Plain for u16 {}
impl Plain for u32 {}
impl Plain for u64 {}

impl Region {
    /// Of a board's memory that no Rust object lies in.
    pub(crate) const fn of(base: usize, size: usize) -> Self {
        Self { base, size }
    }

    /// What lies in it from `at` on.
    pub(crate) fn part(self, at: usize, size: usize) -> Self {
        Self::of(self.place(at, size), size)
    }

    /// Its physical address.
    pub(crate) fn address(self) -> u64 {
        self.base as u64
    }

    /// Bytes.
    pub(crate) fn size(self) -> usize {
        self.size
    }

    fn place(self, at: usize, size: usize) -> usize {
        if at > self.size || size > self.size - at {
            outside();
        }
        self.base + at
    }

    /// Read at a multiple of the type's size.
    pub(crate) fn read<T: Plain>(self, at: usize) -> T {
        let place = self.place(at, size_of::<T>()) as *const T;
        // SAFETY: within the region, which is mapped and no Rust object; any bytes are a `Plain`.
        unsafe { place.read_volatile() }
    }

    /// Write at a multiple of the type's size.
    pub(crate) fn write<T: Plain>(self, at: usize, value: T) {
        let place = self.place(at, size_of::<T>()) as *mut T;
        // SAFETY: as for `read`.
        unsafe { place.write_volatile(value) }
    }

    /// Bytes that no device writes before they are used up.
    pub(crate) fn bytes(self, at: usize, size: usize) -> &'static [u8] {
        let place = self.place(at, size) as *const u8;
        // SAFETY: as for `read`. Who asks for bytes gives the buffer to its device only afterwards.
        unsafe { core::slice::from_raw_parts(place, size) }
    }

    /// Copy bytes into it.
    pub(crate) fn put(self, at: usize, bytes: &[u8]) {
        let place = self.place(at, bytes.len()) as *mut u8;
        // SAFETY: as for `write`; from a Rust object or from another region.
        unsafe { memcpy(place, bytes.as_ptr(), bytes.len()) };
    }

    /// Fill it with a word, again and again.
    pub(crate) fn fill(self, word: u64) {
        // SAFETY: as for `write`.
        unsafe {
            asm!("rep stosq", in("rax") word, inout("rdi") self.base => _,
                inout("rcx") self.size / 8 => _, options(nostack));
        }
    }

    /// Whether it is filled with a word.
    pub(crate) fn is_full_of(self, word: u64) -> bool {
        let same: u8;
        // SAFETY: as for `read`.
        unsafe {
            asm!("cmp rax, rax", "repe scasq", "sete {same}", same = out(reg_byte) same, in("rax") word,
                inout("rdi") self.base => _, inout("rcx") self.size / 8 => _, options(nostack));
        }
        same != 0
    }
}

/// In one place, for there are many accesses.
#[cold]
#[inline(never)]
fn outside() -> ! {
    panic!("outside of a region")
}

/// In words, because each step of a string instruction costs an emulator the same.
///
/// # Safety
/// As for C's.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, size: usize) -> *mut u8 {
    // SAFETY: the caller's.
    unsafe {
        asm!("mov rcx, rdx", "shr rcx, 3", "rep movsq", "mov ecx, edx", "and ecx, 7", "rep movsb",
            inout("rdi") to => _, inout("rsi") from => _, in("rdx") size, out("rcx") _, options(nostack));
    }
    to
}

/// # Safety
/// As for C's.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, size: usize) -> *mut u8 {
    if (to as usize).wrapping_sub(from as usize) >= size {
        // SAFETY: the caller's; forwards, nothing is overwritten before it is read.
        return unsafe { memcpy(to, from, size) };
    }
    // SAFETY: the caller's; backwards, for the same reason.
    unsafe {
        asm!("std", "rep movsb", "cld", inout("rdi") to.wrapping_add(size).wrapping_sub(1) => _,
            inout("rsi") from.wrapping_add(size).wrapping_sub(1) => _, inout("rcx") size => _, options(nostack));
    }
    to
}

/// # Safety
/// As for C's.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, value: i32, size: usize) -> *mut u8 {
    #[expect(clippy::cast_sign_loss, reason = "its lowest byte counts")]
    let word = u64::from(value as u32 & 0xff) * 0x0101_0101_0101_0101;
    // SAFETY: the caller's.
    unsafe {
        asm!("mov rcx, rdx", "shr rcx, 3", "rep stosq", "mov ecx, edx", "and ecx, 7", "rep stosb",
            in("rax") word, inout("rdi") to => _, in("rdx") size, out("rcx") _, options(nostack));
    }
    to
}

/// # Safety
/// As for C's.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, size: usize) -> i32 {
    for at in 0..size {
        // SAFETY: the caller's.
        let (a, b) = unsafe { (a.add(at).read_volatile(), b.add(at).read_volatile()) };
        if a != b {
            return i32::from(a) - i32::from(b);
        }
    }
    0
}

/// # Safety
/// As for C's `memcmp`; for equality alone.
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, size: usize) -> i32 {
    // SAFETY: the caller's.
    unsafe { memcmp(a, b, size) }
}

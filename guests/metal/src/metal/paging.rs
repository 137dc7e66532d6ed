//! Each address is mapped to itself, a gibibyte at a time: the first four at once, which hold RAM and
//! the windows of devices, and others where a device lies there.
#![expect(unsafe_code, reason = "page tables are symbols of the boot code")]

use crate::cpu;
use crate::memory::{PAGE, Region, TABLES};

const PRESENT: u64 = 3;
const LARGE: u64 = 0x83;
const ENTRIES: usize = 512;
/// Tables that were taken.
static mut USED: usize = 0;

unsafe extern "C" {
    static table_top: u8;
}

/// Map the first four gibibytes.
pub(crate) fn begin() {
    for gibibyte in 0..4 {
        map(gibibyte << 30);
    }
}

/// Map the gibibyte that holds the address.
pub(crate) fn map(address: u64) {
    let gibibyte = address >> 30;
    let top = Region::of(&raw const table_top as usize, PAGE);
    let table = below(top, index(gibibyte >> 9));
    let at = index(gibibyte);
    if has_large_pages() {
        table.write(at * 8, gibibyte << 30 | LARGE);
        return;
    }
    let table = below(table, at);
    for entry in 0..ENTRIES {
        table.write(entry * 8, gibibyte << 30 | (entry as u64) << 21 | LARGE);
    }
}

fn index(number: u64) -> usize {
    number as usize % ENTRIES
}

fn has_large_pages() -> bool {
    cpu::id(0x8000_0000)[0] > 0x8000_0000 && cpu::id(0x8000_0001)[3] & 1 << 26 != 0
}

/// The table that an entry names, made when there is none.
fn below(table: Region, at: usize) -> Region {
    let entry: u64 = table.read(at * 8);
    if entry & 1 != 0 {
        return Region::of(entry as usize & !(PAGE - 1), PAGE);
    }
    // SAFETY: there is one processor, and interrupts do not come here.
    let number = unsafe {
        USED += 1;
        USED - 1
    };
    let new = TABLES.part(number * PAGE, PAGE);
    new.fill(0);
    table.write(at * 8, new.address() | PRESENT);
    new
}

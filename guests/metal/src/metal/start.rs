//! What the loader says (struct hvm_start_info).

use attest_metal_guest::text::number;

use crate::memory::Region;

const MAGIC: u32 = 0x336e_c578;
const RAM: u32 = 1;
const LONGEST: usize = 4096;

/// What the loader says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Start {
    /// The kernel's.
    pub(crate) command_line: &'static [u8],
    /// Bytes of RAM in all.
    pub(crate) memory: u64,
    /// Where the RAM ends that begins at 1 MiB.
    pub(crate) end: usize,
}

impl Start {
    /// Read it.
    pub(crate) fn read(info: usize) -> Self {
        let info = Region::of(info, 56);
        assert!(info.read::<u32>(0) == MAGIC);
        let version: u32 = info.read(4);
        let mut start = Self {
            command_line: text(info.read::<u64>(24) as usize),
            memory: 0,
            end: 0x80_0000,
        };
        if version > 0 {
            let count = info.read::<u32>(48) as usize;
            let map = Region::of(info.read::<u64>(40) as usize, count * 24);
            for entry in 0..count {
                let entry = map.part(entry * 24, 24);
                let (from, size): (u64, u64) = (entry.read(0), entry.read(8));
                if entry.read::<u32>(16) == RAM {
                    start.memory += size;
                    if from <= 0x10_0000 && from + size > 0x10_0000 {
                        start.end = (from + size) as usize;
                    }
                }
            }
        }
        start
    }

    /// The number after the name of an option on the command line.
    pub(crate) fn option(&self, name: &[u8]) -> Option<u64> {
        self.command_line
            .split(u8::is_ascii_whitespace)
            .find_map(|word| number(word.strip_prefix(name)?))
    }
}

fn text(address: usize) -> &'static [u8] {
    if address == 0 {
        return b"";
    }
    let place = Region::of(address, LONGEST);
    let length = (0..LONGEST).find(|at| place.read::<u8>(*at) == 0);
    place.bytes(0, length.unwrap_or(LONGEST))
}

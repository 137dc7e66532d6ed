//! Guests of a few instructions: they start in milliseconds and end in every way.

use std::path::PathBuf;

/// What the processor does after it has said its text.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Then {
    /// Runs into a triple fault.
    TripleFault,
    /// Waits for a byte on the console, then runs into a triple fault.
    KeyThenTripleFault,
    /// Stops for good.
    Halt,
}

/// Where the program is loaded: the first MiB belongs to the board.
const BASE: u32 = 0x10_0000;
const HEADERS: u32 = 64 + 2 * 56;
/// An ELF note of type `XEN_ELFNOTE_PHYS32_ENTRY` (18), which makes a kernel startable by PVH.
const NOTE: u32 = 12 + 4 + 8;
const CODE: u32 = HEADERS + NOTE;

/// A directory with a kernel that says the text on the console, and then does that.
pub(crate) fn kernel(text: &str, then: Then) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kernel");
    std::fs::write(&path, elf(&code(text, then))).unwrap();
    (directory, path)
}

fn code(text: &str, then: Then) -> Vec<u8> {
    let fault: &[u8] = &[0x0f, 0x01, 0x1d, 0, 0, 0, 0, 0xcc]; // lidt [empty]; int3
    let key: &[u8] = &[0xba, 0xfd, 3, 0, 0, 0xec, 0xa8, 1, 0x74, 0xfb]; // until in(0x3fd) & 1
    let halt: &[u8] = &[0xfa, 0xf4, 0xeb, 0xfd]; // cli; hlt for ever
    let then = match then {
        Then::TripleFault => fault.to_vec(),
        Then::KeyThenTripleFault => [key, fault].concat(),
        Then::Halt => halt.to_vec(),
    };
    // mov esi, text; mov edx, 0x3f8; until a zero: lodsb, out dx, al
    let say = [
        0xbe, 0, 0, 0, 0, 0xba, 0xf8, 3, 0, 0, 0xac, 0x84, 0xc0, 0x74, 3, 0xee, 0xeb, 0xf8,
    ];
    let mut code = [&say[..], &then].concat();
    let text_at = BASE + CODE + u32::try_from(code.len()).unwrap();
    code[1..5].copy_from_slice(&text_at.to_le_bytes());
    code.extend(text.as_bytes());
    // The text's end, and an empty interrupt table for `lidt`.
    let empty_at = BASE + CODE + u32::try_from(code.len()).unwrap();
    if let Some(at) = code.windows(3).position(|bytes| bytes == &fault[..3]) {
        code[at + 3..at + 7].copy_from_slice(&empty_at.to_le_bytes());
    }
    code.extend([0; 8]);
    code
}

/// A 64-bit ELF file with one segment and the note (elf(5)).
fn elf(code: &[u8]) -> Vec<u8> {
    let size = u64::from(CODE) + code.len() as u64;
    let base = u64::from(BASE);
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(16, 0);
    let halves = |elf: &mut Vec<u8>, halves: &[u16]| {
        elf.extend(halves.iter().flat_map(|half| half.to_le_bytes()));
    };
    let words = |elf: &mut Vec<u8>, words: &[u32]| {
        elf.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    };
    let longs = |elf: &mut Vec<u8>, longs: &[u64]| {
        elf.extend(longs.iter().flat_map(|long| long.to_le_bytes()));
    };
    halves(&mut elf, &[2, 62]); // an executable for x86-64
    words(&mut elf, &[1]);
    longs(&mut elf, &[base + u64::from(CODE), 64, 0]);
    words(&mut elf, &[0]);
    halves(&mut elf, &[64, 56, 2, 0, 0, 0]);
    words(&mut elf, &[1, 7]); // loaded whole
    longs(&mut elf, &[0, base, base, size, size, 0x1000]);
    words(&mut elf, &[4, 4]); // the note
    let (note_at, note_size) = (u64::from(HEADERS), u64::from(NOTE));
    longs(
        &mut elf,
        &[
            note_at,
            base + note_at,
            base + note_at,
            note_size,
            note_size,
            4,
        ],
    );
    words(&mut elf, &[4, 8, 18]);
    elf.extend(b"Xen\0");
    longs(&mut elf, &[base + u64::from(CODE)]);
    elf.extend(code);
    elf
}

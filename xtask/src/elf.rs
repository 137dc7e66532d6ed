//! Whether a program is static: whether it names no interpreter.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// Program headers stand right behind the ELF header in every linker's output.
const HEAD: u64 = 4096;
/// `PT_INTERP` of elf(5).
const PT_INTERP: u32 = 3;

/// True for a 64-bit little-endian ELF file without an interpreter; false for all else.
pub(crate) fn is_static(path: &Path) -> bool {
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(HEAD).read_to_end(&mut head));
    read.is_ok() && names_interpreter(&head) == Some(false)
}

/// Offsets from `Elf64_Ehdr` of elf(5): `e_phoff` 32, `e_phentsize` 54, `e_phnum` 56.
fn names_interpreter(head: &[u8]) -> Option<bool> {
    if head.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let short = |at: usize| {
        Some(usize::from(u16::from_le_bytes(
            head.get(at..at + 2)?.try_into().ok()?,
        )))
    };
    let start = usize::try_from(u64::from_le_bytes(head.get(32..40)?.try_into().ok()?)).ok()?;
    let (size, count) = (short(54)?, short(56)?);
    let mut found = false;
    for index in 0..count {
        let at = start.checked_add(index * size)?;
        let kind = u32::from_le_bytes(head.get(at..at.checked_add(4)?)?.try_into().ok()?);
        found |= kind == PT_INTERP;
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF header with one program header of this type.
    fn elf(kind: u32) -> Vec<u8> {
        let mut head = vec![0; 64 + 56];
        head[..6].copy_from_slice(b"\x7fELF\x02\x01");
        head[32] = 64;
        head[54] = 56;
        head[56] = 1;
        head[64..68].copy_from_slice(&kind.to_le_bytes());
        head
    }

    #[test]
    fn an_interpreter_makes_it_dynamic() {
        assert_eq!(names_interpreter(&elf(PT_INTERP)), Some(true));
        assert_eq!(names_interpreter(&elf(1)), Some(false));
    }

    #[test]
    fn what_is_cut_off_or_no_elf_is_neither() {
        assert_eq!(names_interpreter(b"#!/bin/sh\n"), None);
        let whole = elf(1);
        for length in 0..68 {
            assert_eq!(names_interpreter(&whole[..length]), None, "{length}");
        }
    }
}

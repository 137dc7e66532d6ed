//! As much of elf(5) as is needed to tell whether a kernel or a program fits the guest.

/// `PT_INTERP`: names a dynamic loader.
pub(crate) const INTERPRETER: u32 = 3;
/// `PT_NOTE`.
pub(crate) const NOTE: u32 = 4;

/// An entry of the program headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment<'a> {
    pub(crate) kind: u32,
    /// Empty where the file does not have them.
    pub(crate) bytes: &'a [u8],
}

/// Why a file is no ELF for the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unfit {
    NotElf64,
    Architecture,
    Truncated,
}

/// What machine an ELF is for, for messages; nothing for what is no ELF.
pub(crate) fn machine(elf: &[u8]) -> Option<String> {
    let [b'\x7f', b'E', b'L', b'F', _, order, ..] = elf else {
        return None;
    };
    // e_machine. `EI_DATA` 2 is the order of great machines.
    let machine: [u8; 2] = array(elf, 18).ok()?;
    let machine = match order {
        2 => u16::from_be_bytes(machine),
        _ => u16::from_le_bytes(machine),
    };
    let name = match machine {
        3 => "i386",
        8 => "MIPS",
        20 => "PowerPC",
        21 => "PowerPC 64",
        22 => "S/390",
        40 => "ARM",
        62 => "x86-64",
        183 => "AArch64",
        243 => "RISC-V",
        258 => "LoongArch",
        other => return Some(format!("a machine with the number {other} (e_machine)")),
    };
    Some(name.to_owned())
}

/// Where something of a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) kind: u32,
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// Bytes from the beginning of a file in which program headers are: by custom they follow its own, and there are some.
pub(crate) const HEADERS: usize = 4096;

/// The program headers of an ELF for x86-64, with what they are of.
pub(crate) fn segments(elf: &[u8]) -> Result<Vec<Segment<'_>>, Unfit> {
    let bytes = |place: &Place| {
        let start = usize::try_from(place.offset).ok()?;
        let length = usize::try_from(place.length).ok()?;
        elf.get(start..)?.get(..length)
    };
    let places = places(elf)?.into_iter();
    let segments = places.map(|place| Segment {
        kind: place.kind,
        bytes: bytes(&place).unwrap_or_default(),
    });
    Ok(segments.collect())
}

/// The program headers of an ELF for x86-64, whose beginning this is.
pub(crate) fn places(elf: &[u8]) -> Result<Vec<Place>, Unfit> {
    /// `EM_X86_64`.
    const MACHINE: u16 = 62;
    if elf.get(..5) != Some(b"\x7fELF\x02") {
        return Err(Unfit::NotElf64);
    }
    // e_machine, e_phoff, e_phentsize and e_phnum of Elf64_Ehdr.
    if short(elf, 18)? != MACHINE {
        return Err(Unfit::Architecture);
    }
    let start = usize::try_from(long(elf, 32)?).map_err(|_| Unfit::Truncated)?;
    let (size, count) = (usize::from(short(elf, 54)?), short(elf, 56)?);
    (0..count)
        .map(|index| place(elf, start.saturating_add(usize::from(index) * size)))
        .collect()
}

/// p_type, p_offset and p_filesz of Elf64_Phdr.
fn place(elf: &[u8], at: usize) -> Result<Place, Unfit> {
    let header = elf
        .get(at..)
        .and_then(|rest| rest.get(..56))
        .ok_or(Unfit::Truncated)?;
    Ok(Place {
        kind: u32::from_le_bytes(array(header, 0)?),
        offset: long(header, 8)?,
        length: long(header, 32)?,
    })
}

fn short(bytes: &[u8], at: usize) -> Result<u16, Unfit> {
    array(bytes, at).map(u16::from_le_bytes)
}

fn long(bytes: &[u8], at: usize) -> Result<u64, Unfit> {
    array(bytes, at).map(u64::from_le_bytes)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], Unfit> {
    bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .copied()
        .ok_or(Unfit::Truncated)
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An ELF with one segment.
    pub(crate) fn elf(kind: u32, contents: &[u8]) -> Vec<u8> {
        let mut elf = vec![0; 64 + 56];
        elf[..5].copy_from_slice(b"\x7fELF\x02");
        elf[18] = 62;
        elf[32] = 64;
        elf[54] = 56;
        elf[56] = 1;
        elf[64..68].copy_from_slice(&kind.to_le_bytes());
        elf[64 + 8] = 120;
        elf[64 + 32..64 + 40].copy_from_slice(&(contents.len() as u64).to_le_bytes());
        elf.extend_from_slice(contents);
        elf
    }

    #[test]
    fn segments_are_found() {
        assert_eq!(
            segments(&elf(4, b"note")),
            Ok(vec![Segment {
                kind: 4,
                bytes: b"note"
            }])
        );
    }

    #[test]
    fn what_does_not_fit_is_told_apart() {
        assert_eq!(segments(b"#!/bin/sh"), Err(Unfit::NotElf64));
        let whole = elf(4, b"");
        for length in 5..whole.len() {
            assert_eq!(
                segments(&whole[..length]),
                Err(Unfit::Truncated),
                "cut to {length} bytes"
            );
        }
        let mut other = whole;
        other[18] = 183;
        assert_eq!(segments(&other), Err(Unfit::Architecture));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut bytes in prop::collection::vec(any::<u8>(), 64..300)) {
            bytes[..5].copy_from_slice(b"\x7fELF\x02");
            bytes[18..20].copy_from_slice(&[62, 0]);
            let _ = segments(&bytes);
        }
    }
}

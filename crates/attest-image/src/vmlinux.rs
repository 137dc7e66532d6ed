//! The ELF kernel inside a bzImage: QEMU starts it directly (PVH), which spares the guest its
//! own decompression: half a second and more under TCG.

use std::io::Read;

/// Largest kernel that is unpacked: Debian's has 40 MB; a hostile file must not fill memory.
const LARGEST: u64 = 512 * 1024 * 1024;

/// Why a bzImage is booted as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Whole {
    /// No bzImage at all: nothing can be booted.
    #[error("it is neither a bzImage nor an x86-64 ELF kernel")]
    NotAKernel,
    /// The file is cut.
    #[error("it is cut short")]
    Truncated,
    /// Another architecture's.
    #[error("it is a kernel for another architecture than x86-64")]
    Architecture,
    /// A compression without a decompressor here.
    #[error("its payload is compressed with {0}, which attest does not unpack")]
    Compression(&'static str),
    /// The payload does not decompress.
    #[error("its payload does not decompress")]
    Payload,
    /// No entry for direct boot.
    #[error("it has no PVH entry (CONFIG_PVH)")]
    NoPvh,
}

/// The release in a bzImage's header, as `6.1.0-42-cloud-amd64`.
pub(crate) fn release(image: &[u8]) -> Option<String> {
    let offset = usize::from(u16::from_le_bytes(image.get(0x20e..0x210)?.try_into().ok()?));
    (image.get(0x202..0x206)? == b"HdrS" && offset > 0).then_some(())?;
    let text = image.get(0x200 + offset..)?;
    let end = text.iter().take(256).position(|byte| *byte == 0)?;
    let version = std::str::from_utf8(&text[..end]).ok()?;
    version.split_whitespace().next().map(str::to_owned)
}

/// The vmlinux with a PVH entry that is in a bzImage, or the image itself if it is one.
pub(crate) fn extract(image: &[u8]) -> Result<Vec<u8>, Whole> {
    let elf = if image.starts_with(b"\x7fELF") { image.to_vec() } else { decompress(payload(image)?)? };
    check_elf(&elf)?;
    Ok(elf)
}

/// The compressed kernel, by the setup header (Documentation/arch/x86/boot.rst).
fn payload(image: &[u8]) -> Result<&[u8], Whole> {
    if image.get(0x202..0x206) != Some(b"HdrS") {
        return Err(Whole::NotAKernel);
    }
    let number = |at: usize| {
        let bytes = image.get(at..at + 4).ok_or(Whole::Truncated)?;
        Ok(u32::from_le_bytes(bytes.try_into().expect("four bytes")) as usize)
    };
    let sectors = match image[0x1f1] {
        0 => 4,
        sectors => usize::from(sectors),
    };
    let start = (sectors + 1) * 512 + number(0x248)?;
    let length = number(0x24c)?;
    image.get(start..start.saturating_add(length)).ok_or(Whole::Truncated)
}

fn decompress(payload: &[u8]) -> Result<Vec<u8>, Whole> {
    let whole = |reader: &mut dyn Read| {
        let mut bytes = Vec::new();
        reader.take(LARGEST).read_to_end(&mut bytes).map_err(|_| Whole::Payload)?;
        Ok(bytes)
    };
    match payload {
        [0x1f, 0x8b, ..] => whole(&mut flate2::read::GzDecoder::new(payload)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            let mut payload = payload;
            let mut decoder = ruzstd::decoding::StreamingDecoder::new(&mut payload).map_err(|_| Whole::Payload)?;
            whole(&mut decoder)
        }
        [0x02, 0x21, 0x4c, 0x18, rest @ ..] => lz4_legacy(rest),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => Err(Whole::Compression("xz")),
        [b'B', b'Z', b'h', ..] => Err(Whole::Compression("bzip2")),
        [0x5d, 0x00, 0x00, ..] => Err(Whole::Compression("lzma")),
        [0x89, b'L', b'Z', b'O', ..] => Err(Whole::Compression("lzo")),
        _ => Err(Whole::Compression("something unknown")),
    }
}

/// LZ4's legacy frames: blocks of 8 MiB, each with its compressed size (lz4_Frame_format.md).
/// The kernel's build appends the size of the whole, which ends the blocks.
fn lz4_legacy(mut rest: &[u8]) -> Result<Vec<u8>, Whole> {
    const BLOCK: usize = 8 * 1024 * 1024;
    let mut bytes = Vec::new();
    while rest.len() > 4 {
        let size = u32::from_le_bytes(rest[..4].try_into().expect("four bytes")) as usize;
        let block = rest.get(4..4 + size).ok_or(Whole::Payload)?;
        bytes.extend_from_slice(&lz4_flex::block::decompress(block, BLOCK).map_err(|_| Whole::Payload)?);
        rest = &rest[4 + size..];
    }
    Ok(bytes)
}

/// An x86-64 ELF with the Xen note 18, `XEN_ELFNOTE_PHYS32_ENTRY`: the entry for PVH boot.
fn check_elf(elf: &[u8]) -> Result<(), Whole> {
    const MACHINE: u16 = 62;
    const NOTE: u32 = 4;
    let short = |at: usize| elf.get(at..at + 2).map(|bytes| u16::from_le_bytes(bytes.try_into().expect("two bytes")));
    let long = |at: usize| elf.get(at..at + 8).map(|bytes| u64::from_le_bytes(bytes.try_into().expect("eight bytes")) as usize);
    if elf.get(..5) != Some(b"\x7fELF\x02") || short(18) != Some(MACHINE) {
        return Err(Whole::Architecture);
    }
    let headers = long(32).zip(short(54)).zip(short(56));
    let ((start, size), count) = headers.ok_or(Whole::Truncated)?;
    for index in 0..usize::from(count) {
        let at = start.saturating_add(index * usize::from(size));
        let kind = elf.get(at..at.saturating_add(56)).ok_or(Whole::Truncated)?;
        if kind[..4] != NOTE.to_le_bytes() {
            continue;
        }
        let (offset, length) = long(at + 8).zip(long(at + 32)).ok_or(Whole::Truncated)?;
        let notes = elf.get(offset..offset.saturating_add(length)).ok_or(Whole::Truncated)?;
        if has_pvh_note(notes) {
            return Ok(());
        }
    }
    Err(Whole::NoPvh)
}

fn has_pvh_note(mut notes: &[u8]) -> bool {
    const ENTRY: u32 = 18;
    while let Some(header) = notes.get(..12) {
        let number = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes"));
        let (name_size, size, kind) = (number(0) as usize, number(4) as usize, number(8));
        if kind == ENTRY && notes.get(12..16) == Some(b"Xen\0") {
            return true;
        }
        let next = 12 + name_size.next_multiple_of(4) + size.next_multiple_of(4);
        let Some(rest) = notes.get(next..) else { return false };
        notes = rest;
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The smallest ELF that passes: one note segment with the PVH entry.
    fn elf() -> Vec<u8> {
        let mut elf = vec![0; 64 + 56];
        elf[..5].copy_from_slice(b"\x7fELF\x02");
        elf[18] = 62;
        elf[32] = 64;
        elf[54] = 56;
        elf[56] = 1;
        elf[64] = 4;
        elf[64 + 8] = 120;
        elf[64 + 32] = 20;
        for number in [4_u32, 4, 18] {
            elf.extend_from_slice(&number.to_le_bytes());
        }
        elf.extend_from_slice(b"Xen\0\x01\x02\x03\x04");
        elf
    }

    fn bzimage(payload: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 1024];
        image[0x1f1] = 1;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x20e] = 0x80;
        image[0x280..0x28c].copy_from_slice(b"6.1.0-test x");
        image[0x24c..0x250].copy_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
        image.extend_from_slice(payload);
        image
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        use std::io::Write;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn lz4(bytes: &[u8]) -> Vec<u8> {
        let block = lz4_flex::block::compress(bytes);
        let mut payload = vec![0x02, 0x21, 0x4c, 0x18];
        payload.extend_from_slice(&u32::try_from(block.len()).unwrap().to_le_bytes());
        payload.extend_from_slice(&block);
        payload.extend_from_slice(&u32::try_from(bytes.len()).unwrap().to_le_bytes());
        payload
    }

    #[test]
    fn kernels_are_unpacked_whatever_packed_them() {
        for payload in [gzip(&elf()), lz4(&elf())] {
            let image = bzimage(&payload);
            assert_eq!(extract(&image).unwrap(), elf());
            assert_eq!(release(&image).unwrap(), "6.1.0-test");
        }
        assert_eq!(extract(&elf()).unwrap(), elf());
    }

    #[test]
    fn what_cannot_be_unpacked_says_why() {
        assert_eq!(extract(b"no kernel"), Err(Whole::NotAKernel));
        assert_eq!(extract(&bzimage(b"\xfd7zXZ...")), Err(Whole::Compression("xz")));
        let mut cut = bzimage(&gzip(&elf()));
        cut.pop();
        assert_eq!(extract(&cut), Err(Whole::Truncated));
        let mut other = elf();
        other[18] = 183;
        assert_eq!(extract(&other), Err(Whole::Architecture));
        let mut no_pvh = elf();
        no_pvh[128] = 17;
        assert_eq!(extract(&no_pvh), Err(Whole::NoPvh));
    }

    proptest! {
        #[test]
        fn no_input_makes_it_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..2000), elf_like: bool) {
            let magic: (usize, &[u8]) = if elf_like { (0, b"\x7fELF\x02") } else { (0x202, b"HdrS") };
            if let Some(place) = bytes.get_mut(magic.0..magic.0 + magic.1.len()) {
                place.copy_from_slice(magic.1);
            }
            let _ = extract(&bytes);
            let _ = release(&bytes);
        }
    }
}

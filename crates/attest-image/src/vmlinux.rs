//! The ELF kernel inside a bzImage: QEMU starts it directly (PVH), which spares the guest its
//! own decompression: half a second and more under TCG.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::elf;
use crate::packing::{Packing, Unpacking};

/// Largest kernel that is unpacked: Debian's has 50 MB; a hostile file must not fill memory.
const LARGEST: usize = 512 * 1024 * 1024;

/// Largest bzImage that is read: Debian's has 14 MB.
pub(crate) const LARGEST_IMAGE: u64 = 256 * 1024 * 1024;

/// The setup header and the version text lie in the first sectors of an image: in practice 40
/// (Documentation/arch/x86/boot.rst, `setup_sects`).
pub(crate) const HEADER: usize = 64 * 1024;

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
    #[error("its payload is damaged: it does not decompress")]
    Payload,
    /// The payload is more than a kernel.
    #[error("its payload has more than {} MiB", LARGEST >> 20)]
    TooLarge,
    /// The kernel of a 32-bit system.
    #[error("it is a 32-bit kernel; a 64-bit one (x86-64) is needed")]
    Bits32,
    /// Before the header had what is needed: Linux 2.6.26 of 2008.
    #[error("its boot protocol is older than 2.08")]
    Old,
    /// No entry for direct boot.
    #[error("it has no PVH entry (CONFIG_PVH)")]
    NoPvh,
}

impl Whole {
    /// Whether QEMU can boot the file as it is.
    pub(crate) fn boots(&self) -> bool {
        matches!(self, Self::Compression(_) | Self::NoPvh)
    }
}

/// The release in a bzImage's header, as `6.1.0-42-cloud-amd64`.
pub(crate) fn release(image: &[u8]) -> Option<String> {
    let offset = usize::from(u16::from_le_bytes(
        image.get(0x20e..0x210)?.try_into().ok()?,
    ));
    (image.get(0x202..0x206)? == b"HdrS" && offset > 0).then_some(())?;
    let text = image.get(0x200 + offset..)?;
    let end = text.iter().take(256).position(|byte| *byte == 0)?;
    let version = std::str::from_utf8(&text[..end]).ok()?;
    checked_release(version.split_whitespace().next()?)
}

/// The vmlinux with a PVH entry that is in a bzImage, or the image itself if it is one.
pub(crate) fn extract(image: &[u8]) -> Result<Vec<u8>, Whole> {
    let elf = unpacked(image)?;
    check_elf(&elf)?;
    Ok(elf)
}

/// The same, whatever entries it has.
pub(crate) fn unpacked(image: &[u8]) -> Result<Vec<u8>, Whole> {
    if image.starts_with(b"\x7fELF") {
        Ok(image.to_vec())
    } else {
        unpack(payload(image)?)
    }
}

/// Whether a file is a vmlinux with a PVH entry: QEMU starts it as it is. It is not read for that, but for its
/// notes.
pub(crate) fn is_started_directly(file: &File) -> io::Result<bool> {
    /// Of the notes of a kernel, which are some hundred bytes.
    const MOST_NOTES: u64 = 1 << 20;
    let mut header = vec![0; elf::HEADERS];
    let length = file.read_at(&mut header, 0)?;
    header.truncate(length);
    let Ok(places) = elf::places(&header) else {
        return Ok(false);
    };
    for place in places {
        let size = place.length;
        if place.kind != elf::NOTE || size > MOST_NOTES {
            continue;
        }
        let mut notes = vec![0; usize::try_from(size).unwrap_or_default()];
        match file.read_exact_at(&mut notes, place.offset) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            read => {
                read?;
                if has_pvh_note(&notes) {
                    return Ok(true);
                }
            }
        }
    }
    Ok(false)
}

/// The release of a vmlinux, which is looked for from its beginning on.
pub(crate) fn release_of_file(file: &File) -> io::Result<Option<String>> {
    const PART: usize = 4 << 20;
    /// Longer than what is looked for with its release: it may lie on a boundary.
    const OVERLAP: usize = 512;
    let mut part = vec![0; PART];
    let mut at = 0;
    loop {
        let length = file.read_at(&mut part, at)?;
        if let Some(release) = release_of_elf(&part[..length]) {
            return Ok(Some(release));
        }
        if length <= OVERLAP || at > LARGEST as u64 {
            return Ok(None);
        }
        at += (length - OVERLAP) as u64;
    }
}

/// What the ELF says of itself (`linux_banner`), as the header of a bzImage does.
pub(crate) fn release_of_elf(elf: &[u8]) -> Option<String> {
    const BANNER: &[u8] = b"Linux version ";
    memchr::memmem::find_iter(elf, BANNER).find_map(|at| {
        let text = &elf[at + BANNER.len()..];
        let end = text.iter().take(128).position(|byte| *byte == b' ')?;
        let release = std::str::from_utf8(&text[..end]).ok()?;
        // Also in messages of the kernel, with a format in place of the release.
        checked_release(release)
    })
}

/// It becomes part of paths.
pub(crate) fn checked_release(release: &str) -> Option<String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._+~-".contains(c);
    let fits = release.starts_with(|c: char| c.is_ascii_digit()) && release.chars().all(allowed);
    fits.then(|| release.to_owned())
}

fn unpack(payload: &[u8]) -> Result<Vec<u8>, Whole> {
    let packing = Packing::of(payload).unwrap_or(Packing::Other("something unknown"));
    packing
        .unpack(payload, LARGEST)
        .map_err(|error| match error {
            Unpacking::Unknown(name) => Whole::Compression(name),
            Unpacking::Damaged => Whole::Payload,
            Unpacking::TooLarge => Whole::TooLarge,
        })
}

/// The compressed kernel, by the setup header (Documentation/arch/x86/boot.rst).
fn payload(image: &[u8]) -> Result<&[u8], Whole> {
    // Documentation/arch/arm64/booting.rst and riscv/boot-image-header.rst: the same place.
    if matches!(image.get(0x38..0x3c), Some(b"ARM\x64" | b"RSC\x05")) {
        return Err(Whole::Architecture);
    }
    if image.get(0x202..0x206) != Some(b"HdrS") {
        return Err(Whole::NotAKernel);
    }
    let half = |at: usize| {
        let bytes = image.get(at..at + 2).ok_or(Whole::Truncated)?;
        Ok(u16::from_le_bytes(bytes.try_into().expect("two bytes")))
    };
    let protocol = half(0x206)?;
    if protocol < 0x208 {
        return Err(Whole::Old);
    }
    // XLF_KERNEL_64, since protocol 2.12.
    if protocol >= 0x20c && half(0x236)? & 1 == 0 {
        return Err(Whole::Bits32);
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
    image
        .get(start..start.saturating_add(length))
        .ok_or(Whole::Truncated)
}

/// An x86-64 ELF with the Xen note 18, `XEN_ELFNOTE_PHYS32_ENTRY`: the entry for PVH boot.
fn check_elf(elf: &[u8]) -> Result<(), Whole> {
    let segments = elf::segments(elf).map_err(|unfit| match unfit {
        elf::Unfit::NotElf64 => Whole::Bits32,
        elf::Unfit::Architecture => Whole::Architecture,
        elf::Unfit::Truncated => Whole::Truncated,
    })?;
    let mut notes = segments.iter().filter(|segment| segment.kind == elf::NOTE);
    if notes.any(|segment| has_pvh_note(segment.bytes)) {
        Ok(())
    } else {
        Err(Whole::NoPvh)
    }
}

fn has_pvh_note(mut notes: &[u8]) -> bool {
    const ENTRY: u32 = 18;
    while let Some(header) = notes.get(..12) {
        let number =
            |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes"));
        let (name_size, size, kind) = (number(0) as usize, number(4) as usize, number(8));
        if kind == ENTRY && notes.get(12..16) == Some(b"Xen\0") {
            return true;
        }
        let next = 12 + name_size.next_multiple_of(4) + size.next_multiple_of(4);
        let Some(rest) = notes.get(next..) else {
            return false;
        };
        notes = rest;
    }
    false
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::packing::tests::{gzip, lz4, with_size, xz, zstd};

    /// The smallest ELF that passes: one note segment with the PVH entry.
    pub(crate) fn elf() -> Vec<u8> {
        let numbers = [4_u32, 4, 18].map(u32::to_le_bytes);
        crate::elf::tests::elf(
            elf::NOTE,
            &[numbers.as_flattened(), b"Xen\0\x01\x02\x03\x04"].concat(),
        )
    }

    fn bzimage(payload: &[u8]) -> Vec<u8> {
        bzimage_of("6.1.0-test", payload)
    }

    pub(crate) fn bzimage_of(release: &str, payload: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 1024];
        image[0x1f1] = 1;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x206..0x208].copy_from_slice(&0x20f_u16.to_le_bytes());
        image[0x236] = 1;
        image[0x20e] = 0x80;
        let text = format!("{release} (built by hand)");
        image[0x280..0x280 + text.len()].copy_from_slice(text.as_bytes());
        image[0x24c..0x250].copy_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
        image.extend_from_slice(payload);
        image
    }

    #[test]
    fn kernels_are_unpacked_whatever_packed_them() {
        let sized = [lz4(&elf()), xz(&elf()), zstd(&elf())].map(|packed| with_size(packed, &elf()));
        for payload in [[gzip(&elf())].as_slice(), &sized].concat() {
            let image = bzimage(&payload);
            assert_eq!(extract(&image).unwrap(), elf());
            assert_eq!(release(&image).unwrap(), "6.1.0-test");
        }
        assert_eq!(extract(&elf()).unwrap(), elf());
    }

    #[test]
    fn a_file_is_known_by_its_notes() {
        let is_direct = |bytes: &[u8]| {
            let file = tempfile::tempfile().unwrap();
            file.write_all_at(bytes, 0).unwrap();
            is_started_directly(&file).unwrap()
        };
        assert!(is_direct(&elf()));
        assert!(!is_direct(&elf()[..130]));
        assert!(!is_direct(&crate::elf::tests::elf(elf::NOTE, b"")));
        assert!(!is_direct(&bzimage(&gzip(&elf()))));
        assert!(!is_direct(b""));
    }

    #[test]
    fn a_release_is_found_wherever_it_lies() {
        let file = tempfile::tempfile().unwrap();
        let release = || release_of_file(&file).unwrap();
        assert_eq!(release(), None);
        file.set_len(9 << 20).unwrap();
        assert_eq!(release(), None);
        let text = b"Linux version 6.12.1-test (x)";
        for at in [(9 << 20) - 40, (4 << 20) - 20, 0] {
            file.write_all_at(text, at).unwrap();
            assert_eq!(release().as_deref(), Some("6.12.1-test"), "{at}");
            file.write_all_at(&[0; 40], at).unwrap();
        }
    }

    #[test]
    fn what_cannot_be_unpacked_says_why() {
        assert_eq!(extract(b"no kernel"), Err(Whole::NotAKernel));
        assert_eq!(
            extract(&bzimage(b"BZh9....")),
            Err(Whole::Compression("bzip2"))
        );
        let mut damaged = gzip(&elf());
        damaged.truncate(damaged.len() - 9);
        assert_eq!(extract(&bzimage(&damaged)), Err(Whole::Payload));
        let mut small = bzimage(&gzip(&elf()));
        small[0x236] = 0;
        assert_eq!(extract(&small), Err(Whole::Bits32));
        let mut arm = vec![0; 64];
        arm[0x38..0x3c].copy_from_slice(b"ARM\x64");
        assert_eq!(extract(&arm), Err(Whole::Architecture));
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

    #[test]
    fn a_vmlinux_says_its_release() {
        let image = b"\x7fELF...Linux version %s (%s)\0Linux version 6.1.0-test (gcc 12)\0";
        assert_eq!(release_of_elf(image).as_deref(), Some("6.1.0-test"));
        assert_eq!(release_of_elf(b"Linux version "), None);
    }

    #[test]
    fn a_release_leads_nowhere() {
        assert_eq!(
            release(&bzimage_of("6.1.0+x_y~z-1", b"")).as_deref(),
            Some("6.1.0+x_y~z-1")
        );
        for hostile in ["../../etc", "6/../..", "6.1\u{e9}", ""] {
            assert_eq!(release(&bzimage_of(hostile, b"")), None, "{hostile}");
        }
    }

    #[test]
    fn any_cut_of_a_kernel_is_an_error() {
        let image = bzimage(&gzip(&elf()));
        for length in 0..image.len() {
            let error = extract(&image[..length]).unwrap_err();
            assert!(!error.boots(), "cut to {length} bytes: {error}");
        }
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

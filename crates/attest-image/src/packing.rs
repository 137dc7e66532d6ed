//! What kernels and their modules are compressed with, told by their first bytes.

use std::io::{self, Read};

use ruzstd::decoding::StreamingDecoder;

/// What a decompressor may keep of the plain bytes; kernels are packed with 8 to 128 MiB.
pub(crate) const WINDOW_KIB: u32 = 192 * 1024;

/// How something is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    Gzip,
    Zstd,
    Xz,
    Lzma,
    Lz4,
    /// Known, without a decompressor here.
    Other(&'static str),
}

/// Why something does not come out of its packing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unpacking {
    /// There is no decompressor for this.
    Unknown(&'static str),
    /// It is damaged or cut.
    Damaged,
    /// There is more in it than the caller takes.
    TooLarge,
}

impl Packing {
    /// By the magic bytes of Documentation/arch/x86/boot.rst, "payload_offset".
    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        Some(match bytes {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [0x5d, 0, 0, ..] => Self::Lzma,
            [0x02, 0x21, 0x4c, 0x18, ..] => Self::Lz4,
            [b'B', b'Z', b'h', ..] => Self::Other("bzip2"),
            [0x89, b'L', b'Z', b'O', ..] => Self::Other("lzo"),
            _ => return None,
        })
    }

    /// For messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Xz => "xz",
            Self::Lzma => "lzma",
            Self::Lz4 => "lz4",
            Self::Other(name) => name,
        }
    }

    /// The plain bytes, of which there may be at most `most`. What follows the packed bytes is
    /// not looked at: the kernel's build appends the plain size.
    pub(crate) fn unpack(self, packed: &[u8], most: usize) -> Result<Vec<u8>, Unpacking> {
        match self {
            Self::Gzip => whole(flate2::read::GzDecoder::new(packed), most),
            Self::Zstd => {
                let window = u64::from(WINDOW_KIB) * 1024;
                let decoder = StreamingDecoder::new_with_max_window_size(packed, window);
                whole(decoder.map_err(|_| Unpacking::Damaged)?, most)
            }
            Self::Xz => {
                let decoder = lzma_rust2::XzReader::new_mem_limit(packed, false, WINDOW_KIB);
                whole(decoder, most)
            }
            Self::Lzma => {
                let decoder = lzma_rust2::LzmaReader::new_mem_limit(packed, WINDOW_KIB, None);
                whole(decoder.map_err(|_| Unpacking::Damaged)?, most)
            }
            Self::Lz4 => lz4_legacy(packed.get(4..).unwrap_or_default(), most),
            Self::Other(name) => Err(Unpacking::Unknown(name)),
        }
    }
}

fn whole(reader: impl Read, most: usize) -> Result<Vec<u8>, Unpacking> {
    let mut bytes = Vec::new();
    let read: io::Result<_> = reader.take(most as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|_| Unpacking::Damaged)?;
    if bytes.len() > most {
        return Err(Unpacking::TooLarge);
    }
    Ok(bytes)
}

/// LZ4's legacy frames: blocks of 8 MiB, each with its compressed size (`lz4_Frame_format.md`).
/// The plain size behind them is too short for a block, which ends them.
fn lz4_legacy(mut rest: &[u8], most: usize) -> Result<Vec<u8>, Unpacking> {
    const BLOCK: usize = 8 * 1024 * 1024;
    let mut bytes = Vec::new();
    while let Some((size, blocks)) = rest.split_first_chunk::<4>()
        && !blocks.is_empty()
    {
        let size = u32::from_le_bytes(*size) as usize;
        let (block, next) = blocks.split_at_checked(size).ok_or(Unpacking::Damaged)?;
        let plain = lz4_flex::block::decompress(block, BLOCK).map_err(|_| Unpacking::Damaged)?;
        if bytes.len() + plain.len() > most {
            return Err(Unpacking::TooLarge);
        }
        bytes.extend_from_slice(&plain);
        rest = next;
    }
    Ok(bytes)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
    }

    pub(crate) fn xz(bytes: &[u8]) -> Vec<u8> {
        let mut options = lzma_rust2::XzOptions::with_preset(1);
        // As the kernel's build does it (scripts/xz_wrap.sh).
        options.prepend_pre_filter(lzma_rust2::FilterType::BcjX86, 0);
        let mut writer = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap()
    }

    pub(crate) fn lz4(bytes: &[u8]) -> Vec<u8> {
        let block = lz4_flex::block::compress(bytes);
        let mut packed = vec![0x02, 0x21, 0x4c, 0x18];
        packed.extend_from_slice(&u32::try_from(block.len()).unwrap().to_le_bytes());
        packed.extend_from_slice(&block);
        packed
    }

    /// With the plain size behind it, as in a kernel.
    pub(crate) fn with_size(mut packed: Vec<u8>, plain: &[u8]) -> Vec<u8> {
        packed.extend_from_slice(&u32::try_from(plain.len()).unwrap().to_le_bytes());
        packed
    }

    fn unpack(packed: &[u8], most: usize) -> Result<Vec<u8>, Unpacking> {
        Packing::of(packed)
            .expect("a known magic")
            .unpack(packed, most)
    }

    #[test]
    fn there_is_a_limit_to_what_comes_out() {
        let plain = vec![7; 100_000];
        for packed in [gzip(&plain), zstd(&plain), xz(&plain), lz4(&plain)] {
            assert_eq!(unpack(&packed, 100_000), Ok(plain.clone()));
            assert_eq!(unpack(&packed, 99_999), Err(Unpacking::TooLarge));
        }
    }

    #[test]
    fn what_is_cut_is_not_taken_for_whole() {
        let plain: Vec<u8> = (0..50_000_u32).flat_map(u32::to_le_bytes).collect();
        for packed in [gzip(&plain), zstd(&plain), xz(&plain), lz4(&plain)] {
            assert_eq!(
                unpack(&packed[..packed.len() - 9], 1 << 20),
                Err(Unpacking::Damaged)
            );
        }
    }

    #[test]
    fn what_cannot_be_unpacked_is_named() {
        assert_eq!(unpack(b"BZh9....", 10), Err(Unpacking::Unknown("bzip2")));
        assert_eq!(unpack(b"\x89LZO\0...", 10), Err(Unpacking::Unknown("lzo")));
        assert_eq!(Packing::of(b"\x7fELF"), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_grow(magic in 0_usize..5, bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let magics: [&[u8]; 5] =
                [b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\0\0\x01\x69\x22\xde\x36", b"\x5d\0\0", b"\x02\x21\x4c\x18"];
            let packed = [magics[magic], &bytes].concat();
            if let Ok(plain) = unpack(&packed, 1 << 20) {
                prop_assert!(plain.len() <= 1 << 20);
            }
        }
    }
}

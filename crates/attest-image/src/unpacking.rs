//! A compressed stream, unpacked as it is read: archives may be larger than memory.

use std::io::{self, BufRead, BufReader, Read};

use ruzstd::decoding::FrameDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};

use crate::packing::{Packing, WINDOW_KIB};

/// Bytes that are read at once.
const BUFFER: usize = 128 * 1024;
/// Bytes that tell a compression.
const MAGIC: usize = 6;

/// The plain bytes of a stream, compressed or not, as its first bytes tell. What stands behind
/// the first part of it, compressed in the same way, is a part of it.
///
/// # Errors
/// The stream cannot be read, or is compressed in a way that attest does not unpack.
pub(crate) fn plain<'a>(stream: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut stream = BufReader::with_capacity(BUFFER, stream);
    let mut start = Vec::with_capacity(MAGIC);
    stream.by_ref().take(MAGIC as u64).read_to_end(&mut start)?;
    let packing = Packing::of(&start);
    let stream = BufReader::with_capacity(BUFFER, io::Cursor::new(start).chain(stream));
    Ok(match packing {
        None => Box::new(stream),
        Some(Packing::Gzip) => Box::new(flate2::bufread::MultiGzDecoder::new(stream)),
        Some(Packing::Xz) => Box::new(lzma_rust2::XzReader::new_mem_limit(
            stream, true, WINDOW_KIB,
        )),
        Some(Packing::Zstd) => Box::new(Zstd::new(stream)),
        Some(other) => {
            let what = format!(
                "it is compressed with {}, which attest does not unpack; use gzip, xz or zstd",
                other.name()
            );
            return Err(io::Error::new(io::ErrorKind::Unsupported, what));
        }
    })
}

/// Frames of Zstandard, one behind the other, as those write them who compress in parallel.
struct Zstd<R> {
    stream: R,
    decoder: FrameDecoder,
    /// In the middle of a frame.
    within: bool,
}

impl<R: BufRead> Zstd<R> {
    fn new(stream: R) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(u64::from(WINDOW_KIB) * 1024);
        Self {
            stream,
            decoder,
            within: false,
        }
    }

    /// Begin the next frame; `false` at the end.
    fn begin(&mut self) -> io::Result<bool> {
        while !self.stream.fill_buf()?.is_empty() {
            match self.decoder.reset(&mut self.stream) {
                Ok(()) => return Ok(true),
                // A frame of something else, which is not to be looked at.
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let mut skipped = self.stream.by_ref().take(u64::from(length));
                    if io::copy(&mut skipped, &mut io::sink())? < u64::from(length) {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(damaged(error)),
            }
        }
        Ok(false)
    }

    /// Whether what came out is what went in.
    fn check(&self) -> io::Result<()> {
        let (wanted, own) = (
            self.decoder.get_checksum_from_data(),
            self.decoder.get_calculated_checksum(),
        );
        if wanted.is_some() && wanted != own {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "its checksum is wrong",
            ));
        }
        Ok(())
    }
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.within && !self.begin()? {
                return Ok(0);
            }
            self.within = true;
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                let one = ruzstd::decoding::BlockDecodingStrategy::UptoBlocks(1);
                self.decoder
                    .decode_blocks(&mut self.stream, one)
                    .map_err(damaged)?;
            }
            let count = self.decoder.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            self.check()?;
            self.within = false;
        }
    }
}

fn damaged(error: FrameDecoderError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packing::tests::{gzip, xz, zstd};

    fn unpacked(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        super::plain(bytes)?.read_to_end(&mut plain)?;
        Ok(plain)
    }

    fn text() -> Vec<u8> {
        (0..100_000_u32).flat_map(u32::to_le_bytes).collect()
    }

    #[test]
    fn what_is_packed_comes_out_whatever_packed_it() {
        let text = text();
        for packed in [text.clone(), gzip(&text), xz(&text), zstd(&text)] {
            assert!(unpacked(&packed).unwrap() == text);
        }
        assert_eq!(unpacked(b"").unwrap(), b"");
        assert_eq!(unpacked(b"abc").unwrap(), b"abc");
    }

    #[test]
    fn parts_that_follow_one_another_are_one() {
        for pack in [gzip, xz, zstd] {
            let both = [pack(b"first "), pack(b"second")].concat();
            assert_eq!(unpacked(&both).unwrap(), b"first second");
        }
        let skipped = [&b"\x50\x2a\x4d\x18\x03\0\0\0abc"[..], &zstd(b"rest")].concat();
        let both = [zstd(b"first "), skipped].concat();
        assert_eq!(unpacked(&both).unwrap(), b"first rest");
    }

    #[test]
    fn what_is_cut_or_changed_is_an_error() {
        let text = text();
        for pack in [gzip, xz, zstd] {
            let packed = pack(&text);
            assert!(unpacked(&packed[..packed.len() - 9]).is_err());
            let mut changed = packed.clone();
            changed[packed.len() / 2] ^= 1;
            assert!(unpacked(&changed).is_err());
            assert!(unpacked(&[&packed[..], b"\x01garbage"].concat()).is_err());
        }
    }

    #[test]
    fn what_cannot_be_unpacked_is_named() {
        let error = unpacked(b"BZh91AY").unwrap_err().to_string();
        assert!(error.contains("bzip2") && error.contains("gzip"), "{error}");
    }
}

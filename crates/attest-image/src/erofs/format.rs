//! The structures of an erofs image, as bytes (Linux, fs/erofs/erofs_fs.h).

use crate::tree::{Device, Kind, Node, Time};

/// Bytes of a block. Linux 6.1 mounts no other size than that of its pages.
pub(super) const BLOCK: usize = 4096;
/// Where the superblock is.
pub(super) const SUPERBLOCK: usize = 1024;
/// Where the inodes begin: behind the superblock.
pub(super) const FIRST_INODE: usize = SUPERBLOCK + 128;
/// Inodes are numbered by their places in units of this.
pub(super) const SLOT: usize = 32;

/// `EROFS_SUPER_MAGIC_V1`.
pub(super) const MAGIC: u32 = 0xe0f5_e1e2;
/// `EROFS_FEATURE_COMPAT_SB_CHKSUM` and `EROFS_FEATURE_COMPAT_MTIME`.
const COMPATIBLE: u32 = 1 | 2;

/// What the superblock says.
pub(super) struct Superblock {
    pub(super) root: u16,
    pub(super) inodes: u64,
    /// That of all inodes of the small form.
    pub(super) time: Time,
    pub(super) blocks: u32,
    pub(super) uuid: [u8; 16],
    /// Padded with NUL, of which there must be one.
    pub(super) name: [u8; 16],
}

impl Superblock {
    /// Put it into the first block, which has all else that it will have.
    pub(super) fn put(&self, block: &mut [u8; BLOCK]) {
        let mut put = |at: usize, bytes: &[u8]| {
            block[SUPERBLOCK + at..SUPERBLOCK + at + bytes.len()].copy_from_slice(bytes);
        };
        put(0, &MAGIC.to_le_bytes());
        put(8, &COMPATIBLE.to_le_bytes());
        put(
            12,
            &[u8::try_from(BLOCK.ilog2()).expect("a number of bits is small")],
        );
        put(14, &self.root.to_le_bytes());
        put(16, &self.inodes.to_le_bytes());
        put(24, &self.time.seconds.to_le_bytes());
        put(32, &self.time.nanoseconds.to_le_bytes());
        put(36, &self.blocks.to_le_bytes());
        put(48, &self.uuid);
        put(64, &self.name);
        let sum = crc32c(&block[SUPERBLOCK..]);
        block[SUPERBLOCK + 4..SUPERBLOCK + 8].copy_from_slice(&sum.to_le_bytes());
    }
}

/// CRC-32C of so few bytes that a table would not pay; without the inversion at the end, as the
/// kernel has it.
fn crc32c(bytes: &[u8]) -> u32 {
    /// Castagnoli's polynomial, reversed.
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ if crc & 1 == 1 { POLYNOMIAL } else { 0 }
        })
    })
}

/// An inode, without its extended attributes.
pub(super) struct Inode<'a> {
    pub(super) node: &'a Node,
    pub(super) form: Form,
    /// The last part of the data follows the inode.
    pub(super) inline: bool,
    /// Bytes of the extended attributes.
    pub(super) xattrs: usize,
    pub(super) size: u64,
    /// The first block of its data, or a device's number.
    pub(super) location: u32,
    /// For systems of 32 bits, which do not see the place.
    pub(super) number: u32,
    pub(super) links: u32,
}

/// How much an inode says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Small numbers, and the time of the superblock.
    Compact,
    /// All of it.
    Extended,
}

impl Form {
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::Compact => 32,
            Self::Extended => 64,
        }
    }
}

impl Inode<'_> {
    /// In the form that is given; the compact one is only for what fits.
    pub(super) fn bytes(&self) -> Vec<u8> {
        /// `EROFS_INODE_FLAT_INLINE`, at its place in `i_format`.
        const INLINE: u16 = 2 << 1;
        let attributes = &self.node.attributes;
        let form = u16::from(self.form == Form::Extended);
        let format = form | if self.inline { INLINE } else { 0 };
        // A header of 12 bytes counts as one, the rest in words.
        let count = match self.xattrs {
            0 => 0,
            bytes => u16::try_from((bytes - 12) / 4 + 1).expect("the plan checked it"),
        };
        let mut bytes = Vec::with_capacity(self.form.bytes());
        for short in [format, count, self.node.st_mode()] {
            bytes.extend_from_slice(&short.to_le_bytes());
        }
        let low = |number: u32| {
            u16::try_from(number)
                .expect("the plan checked it")
                .to_le_bytes()
        };
        match self.form {
            Form::Compact => {
                bytes.extend_from_slice(&low(self.links));
                let size = u32::try_from(self.size).expect("the plan checked it");
                for number in [size, 0, self.location, self.number] {
                    bytes.extend_from_slice(&number.to_le_bytes());
                }
                bytes.extend_from_slice(&low(attributes.uid));
                bytes.extend_from_slice(&low(attributes.gid));
            }
            Form::Extended => {
                bytes.extend_from_slice(&[0; 2]);
                bytes.extend_from_slice(&self.size.to_le_bytes());
                for number in [self.location, self.number, attributes.uid, attributes.gid] {
                    bytes.extend_from_slice(&number.to_le_bytes());
                }
                let modified = attributes.modified;
                bytes.extend_from_slice(&modified.seconds.to_le_bytes());
                bytes.extend_from_slice(&modified.nanoseconds.to_le_bytes());
                bytes.extend_from_slice(&self.links.to_le_bytes());
            }
        }
        // The reserved end.
        bytes.resize(self.form.bytes(), 0);
        bytes
    }
}

/// A device's number as Linux packs it (`new_encode_dev`): 12 bits of the major, 20 of the minor.
pub(super) fn device(device: Device) -> Option<u32> {
    let Device { major, minor } = device;
    (major < 1 << 12 && minor < 1 << 20)
        .then_some((minor & 0xff) | (major << 8) | ((minor & !0xff) << 12))
}

/// The type of a directory's entry.
pub(super) fn file_type(kind: &Kind) -> u8 {
    match kind {
        Kind::File(_) => 1,
        Kind::Directory(_) => 2,
        Kind::Character(_) => 3,
        Kind::Block(_) => 4,
        Kind::Pipe => 5,
        Kind::Symlink(_) => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_that_of_the_standard_without_its_inversion() {
        // The check value of CRC-32C, RFC 3720.
        assert_eq!(!crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn device_numbers_are_packed_as_linux_packs_them() {
        let pack = |major, minor| device(Device { major, minor });
        assert_eq!(pack(8, 1), Some(0x801));
        assert_eq!(pack(259, 0x12345), Some(0x1231_0345));
        assert_eq!(pack(4096, 0), None);
        assert_eq!(pack(0, 1 << 20), None);
    }
}

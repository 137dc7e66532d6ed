//! qcow2: an empty overlay, and what the header of a user's image says
//! (docs/interop/qcow2.rst of QEMU). All numbers in it are big-endian.

use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::nameless;
use crate::cache::Cache;
use crate::error::ImageError;

pub(super) const MAGIC: [u8; 4] = *b"QFI\xfb";
/// Bytes of a header of version 3 without extensions.
pub(super) const HEADER: usize = 104;

/// Bits of a cluster's size: 64 KiB, as QEMU's own default.
const CLUSTER_BITS: u32 = 16;
const CLUSTER: u64 = 1 << CLUSTER_BITS;
/// Bytes of the disk for which one entry of the first table stands: a table of clusters, each
/// entry 8 bytes.
const PER_ENTRY: u64 = CLUSTER / 8 * CLUSTER;
/// Counts of references have 16 bits: 1 << 4.
const REFERENCE_ORDER: u32 = 4;
/// The feature of an image whose data is in another file.
const EXTERNAL_DATA: u64 = 1 << 2;

/// An empty overlay over a disk of so many bytes. It does not name what lies below: QEMU is told.
///
/// # Errors
/// The cache's file system takes no file; the disk is larger than any.
pub fn layer(cache: &Cache, size: u64) -> Result<OwnedFd, ImageError> {
    let entries = size.div_ceil(PER_ENTRY);
    let entries = u32::try_from(entries).map_err(|_| ImageError::DiskSize {
        bytes: size,
        reason: "no overlay holds as much",
    })?;
    // Behind the header: the table of counts, its one block, and the first table. A block counts
    // 2 GiB of clusters; QEMU adds more as it needs them.
    let tables = (u64::from(entries) * 8).div_ceil(CLUSTER);
    let clusters = 3 + tables;
    let file = nameless(cache)?;
    let counts: Vec<u8> = (0..clusters).flat_map(|_| 1_u16.to_be_bytes()).collect();
    let written = file
        .write_all_at(&header(size, entries), 0)
        .and_then(|()| file.write_all_at(&(2 * CLUSTER).to_be_bytes(), CLUSTER))
        .and_then(|()| file.write_all_at(&counts, 2 * CLUSTER))
        .and_then(|()| file.set_len(clusters * CLUSTER));
    written.map_err(ImageError::file(
        cache.directory(),
        "no overlay can be written there",
    ))?;
    Ok(file.into())
}

fn header(size: u64, entries: u32) -> [u8; HEADER] {
    let mut header = Vec::with_capacity(HEADER);
    let version = 3_u32;
    header.extend(MAGIC);
    header.extend(version.to_be_bytes());
    // No name of a backing file: its place and length.
    header.extend([0; 12]);
    header.extend(CLUSTER_BITS.to_be_bytes());
    header.extend(size.to_be_bytes());
    // Not encrypted.
    header.extend([0; 4]);
    header.extend(entries.to_be_bytes());
    header.extend((3 * CLUSTER).to_be_bytes());
    header.extend(CLUSTER.to_be_bytes());
    let clusters_of_counts = 1_u32;
    header.extend(clusters_of_counts.to_be_bytes());
    // No snapshots: their number and place. No features: three words.
    header.extend([0; 12 + 24]);
    header.extend(REFERENCE_ORDER.to_be_bytes());
    let length = u32::try_from(HEADER).expect("a hundred bytes");
    header.extend(length.to_be_bytes());
    header.try_into().expect("the parts make a header")
}

/// Bytes of the disk in an image that begins like this.
///
/// # Errors
/// It is cut short, or does not stand alone.
pub(super) fn size(path: &Path, start: &[u8]) -> Result<u64, ImageError> {
    let unusable = |reason| ImageError::Qcow2 {
        path: path.to_owned(),
        reason,
    };
    let field = |at: usize| -> Option<u64> {
        let bytes = start.get(at..at + 8)?;
        Some(u64::from_be_bytes(bytes.try_into().ok()?))
    };
    let (Some(backing), Some(size)) = (field(8), field(24)) else {
        return Err(unusable("it is cut short"));
    };
    let version = field(0).map(|word| word & u64::from(u32::MAX));
    // Version 2 has no features.
    let features = match version {
        Some(2) => 0,
        Some(3) => field(72).ok_or_else(|| unusable("it is cut short"))?,
        _ => return Err(unusable("it is of a version that attest does not know")),
    };
    if backing != 0 {
        return Err(unusable(
            "it lies over another image; make them one with `qemu-img convert -O qcow2`",
        ));
    }
    if features & EXTERNAL_DATA != 0 {
        return Err(unusable(
            "its data is in another file; make them one with `qemu-img convert -O qcow2`",
        ));
    }
    Ok(size)
}

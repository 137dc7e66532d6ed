//! Where what a machine writes to its root goes: copy-on-write, of which every image allows some
//! kinds and every backend has some.

use attest_manifest::{Backend, CopyOnWrite, MachinePlan};

use crate::error::{Error, Result};

/// A kind of copy-on-write. All cost the same for every size of image: next to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strategy {
    /// An overlay in the guest, over memory.
    Memory,
    /// An overlay in the guest, over a sparse disk.
    Disk,
    /// A qcow2 file over the image.
    Qcow2,
    /// A file that shares the image's blocks.
    Reflink,
    /// The kernel's device mapper.
    DeviceMapper,
}

impl Strategy {
    /// As in the manifest.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Memory => CopyOnWrite::Memory,
            Self::Disk => CopyOnWrite::Disk,
            Self::Qcow2 => CopyOnWrite::Qcow2,
            Self::Reflink => CopyOnWrite::Reflink,
            Self::DeviceMapper => CopyOnWrite::DeviceMapper,
        }
        .name()
    }

    /// Whether the guest mounts the root read-only, and lays an overlay over it.
    fn is_overlay(self) -> bool {
        matches!(self, Self::Memory | Self::Disk)
    }
}

/// The one for a machine, and why. `is_writable` says whether its image's file system can be
/// written to at all.
///
/// # Errors
/// The one that was asked for cannot be.
pub(super) fn decide(machine: &MachinePlan, is_writable: bool) -> Result<(Strategy, &'static str)> {
    let asked = match machine.copy_on_write {
        CopyOnWrite::Auto => return Ok(best(machine.backend, is_writable)),
        CopyOnWrite::Memory => Strategy::Memory,
        CopyOnWrite::Disk => Strategy::Disk,
        CopyOnWrite::Qcow2 => Strategy::Qcow2,
        CopyOnWrite::Reflink => Strategy::Reflink,
        CopyOnWrite::DeviceMapper => Strategy::DeviceMapper,
    };
    let reason = if asked.is_overlay() {
        None
    } else if machine.backend == Backend::Nspawn {
        Some("a container's root is an overlay: write `memory` or `disk`")
    } else if asked == Strategy::Qcow2 && is_raw_only(machine.backend) {
        Some("its VMM takes raw disks only: write `disk`, `memory` or `reflink`")
    } else if !is_writable {
        Some(
            "the image's file system is read-only by itself: write `memory` or `disk`, or give an \
             image that attest builds `format = \"ext4\"`",
        )
    } else {
        None
    };
    match reason {
        None => Ok((asked, "as asked")),
        Some(reason) => Err(Error::CopyOnWrite {
            machine: machine.name.clone(),
            strategy: asked.name(),
            reason,
        }),
    }
}

/// Whether a backend's VMM knows nothing but raw disks: no layers.
pub(super) fn is_raw_only(backend: Backend) -> bool {
    matches!(backend, Backend::Firecracker | Backend::CloudHypervisor)
}

fn best(backend: Backend, is_writable: bool) -> (Strategy, &'static str) {
    if backend == Backend::Nspawn {
        (Strategy::Memory, "a container's root is an overlay")
    } else if is_writable && is_raw_only(backend) {
        (Strategy::Disk, "its VMM has no layers of disks")
    } else if is_writable {
        (Strategy::Qcow2, "works for every image, on every host")
    } else {
        (Strategy::Memory, "the image is read-only by itself")
    }
}

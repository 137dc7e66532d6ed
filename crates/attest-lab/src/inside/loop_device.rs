//! Loop devices: a file as a block device, for as long as it is mounted.
#![expect(unsafe_code, reason = "two ioctls")]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::MetadataExt;

use nix::errno::Errno;

/// From linux/loop.h.
const LO_FLAGS_READ_ONLY: u32 = 1;
/// The device goes when its last user closes it, so nothing is left however the lab ends.
const LO_FLAGS_AUTOCLEAR: u32 = 4;

/// `struct loop_info64` of linux/loop.h.
#[repr(C)]
struct Info {
    numbers: [u64; 5],
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    names: [u8; 64 + 64 + 32],
    init: [u64; 2],
}

/// `struct loop_config` of linux/loop.h.
#[repr(C)]
struct Config {
    fd: u32,
    block_size: u32,
    info: Info,
    reserved: [u64; 8],
}

// The layout that the kernel has, on every architecture.
const _: () = assert!(size_of::<Info>() == 232 && size_of::<Config>() == 304);

// From linux/loop.h: `LOOP_CTL_GET_FREE` and `LOOP_CONFIGURE` (Linux 5.8).
nix::ioctl_none_bad!(loop_ctl_get_free, 0x4C82);
nix::ioctl_write_ptr_bad!(loop_configure, 0x4C0A, Config);

/// A loop device that is set up. It must be mounted, or have another user, before this is dropped.
pub(super) struct LoopDevice {
    number: i32,
    device: File,
}

/// Whether the file below may be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

impl LoopDevice {
    pub(super) fn path(&self) -> String {
        path(self.number)
    }

    /// As the kernel names it.
    pub(super) fn number(&self) -> io::Result<u64> {
        Ok(self.device.metadata()?.rdev())
    }
}

fn path(number: i32) -> String {
    format!("/dev/loop{number}")
}

/// A device over this file.
pub(super) fn over(file: &File, access: Access) -> io::Result<LoopDevice> {
    let control = File::options()
        .read(true)
        .write(true)
        .open("/dev/loop-control")?;
    loop {
        let number = free(control.as_raw_fd())?;
        let writes = access == Access::Write;
        let device = File::options()
            .read(true)
            .write(writes)
            .open(path(number))?;
        match configure(device.as_raw_fd(), file.as_raw_fd(), access) {
            Ok(()) => {
                return Ok(LoopDevice { number, device });
            }
            // Another took it in between.
            Err(Errno::EBUSY) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn free(control: RawFd) -> nix::Result<i32> {
    // SAFETY: the descriptor is open for the call, and the request takes no argument.
    unsafe { loop_ctl_get_free(control) }
}

fn configure(device: RawFd, file: RawFd, access: Access) -> nix::Result<()> {
    let access = match access {
        Access::Read => LO_FLAGS_READ_ONLY,
        Access::Write => 0,
    };
    let config = Config {
        fd: u32::try_from(file).expect("descriptors are not negative"),
        block_size: 0,
        info: Info {
            numbers: [0; 5],
            number: 0,
            encrypt_type: 0,
            encrypt_key_size: 0,
            flags: access | LO_FLAGS_AUTOCLEAR,
            names: [0; 160],
            init: [0; 2],
        },
        reserved: [0; 8],
    };
    // SAFETY: the kernel reads one `struct loop_config`; `config` is one, whole and alive for the
    // call, and both descriptors are open.
    unsafe { loop_configure(device, &raw const config) }?;
    Ok(())
}

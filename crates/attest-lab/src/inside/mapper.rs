//! Snapshots by the kernel's device mapper: a device that shows an image, with what is written to
//! it elsewhere. The layout of the calls is that of linux/dm-ioctl.h; what a snapshot is told,
//! that of Documentation/admin-guide/device-mapper/snapshot.rst.
#![expect(unsafe_code, reason = "five ioctls with one structure")]

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;

use super::failed;
use super::loop_device::{self, Access};
use crate::probe::MAPPER as CONTROL;
use crate::wire::Failure;

/// Of the interface; the kernel refuses another first number.
const VERSION: [u32; 3] = [4, 0, 0];
/// `DM_DEFERRED_REMOVE`: when its last user closes it.
const DEFERRED: u32 = 1 << 17;
const SECTOR: u64 = 512;
/// Sectors that are copied when one of them is written: 8 KiB, as small writes are the most.
const CHUNK: u32 = 16;
/// Bytes for what the target is told: two numbers of devices, a letter, the chunk.
const PARAMETERS: usize = 64;

/// `struct dm_ioctl`, `struct dm_target_spec`, and the target's parameters behind them.
#[repr(C)]
struct Call {
    version: [u32; 3],
    data_size: u32,
    data_start: u32,
    target_count: u32,
    open_count: i32,
    flags: u32,
    event_nr: u32,
    padding: u32,
    device: u64,
    name: [u8; 128],
    uuid: [u8; 129 + 7],
    sector_start: u64,
    length: u64,
    status: i32,
    next: u32,
    target: [u8; 16],
    parameters: [u8; PARAMETERS],
}

/// `sizeof(struct dm_ioctl)`.
const HEADER: usize = 312;
const _: () = assert!(
    size_of::<Call>() == HEADER + 40 + PARAMETERS
        && std::mem::offset_of!(Call, sector_start) == HEADER
);

// The number of a call has the size of the header, not of what follows it.
const fn number(call: u8) -> nix::libc::c_ulong {
    nix::request_code_readwrite!(0xfd, call, HEADER)
}
nix::ioctl_readwrite_bad!(create, number(3), Call);
nix::ioctl_readwrite_bad!(remove, number(4), Call);
nix::ioctl_readwrite_bad!(resume, number(6), Call);
nix::ioctl_readwrite_bad!(load, number(9), Call);

/// The open device of a snapshot of `image`, a raw one. It goes when nobody has it open, and the
/// loop devices below it with it, however the lab ends: it is removed, later, as soon as it is
/// there.
pub(super) fn snapshot(image: OwnedFd, changes: OwnedFd) -> Result<OwnedFd, Failure> {
    let control = File::options().read(true).write(true).open(CONTROL);
    let control = control.map_err(failed(
        "open /dev/mapper/control; is the kernel's device mapper there (`modprobe dm-snapshot`)?",
    ))?;
    let (image, changes) = (File::from(image), File::from(changes));
    let length = (&image)
        .seek(SeekFrom::End(0))
        .map_err(failed("see how large the image is"))?;
    (&changes)
        .seek(SeekFrom::Start(0))
        .and_then(|_| changes.set_len(length + length / 64 + (1 << 20)))
        .map_err(failed("make room for what is written"))?;
    let below = loop_device::over(&image, Access::Read).map_err(failed("make a loop device"))?;
    let above = loop_device::over(&changes, Access::Write).map_err(failed("make a loop device"))?;
    let numbers = [&below, &above].map(|device| device.number().map(shown));
    let [below_number, above_number] = numbers;
    let told = format!(
        "{} {} N {CHUNK}",
        below_number.map_err(failed("read a loop device"))?,
        above_number.map_err(failed("read a loop device"))?,
    );
    let name = name().map_err(failed("name a snapshot"))?;
    let mut made = Call::new(&name);
    // SAFETY: the kernel reads and writes `data_size` bytes of the call, which are there.
    unsafe { create(control.as_raw_fd(), &raw mut made) }
        .map_err(call_failed("make a device of the device mapper"))?;
    let mut loaded = Call::new(&name).target(length / SECTOR, &told);
    // SAFETY: as above.
    let loaded = unsafe { load(control.as_raw_fd(), &raw mut loaded) }.map_err(call_failed(
        "make a snapshot; the kernel must have dm-snapshot (`modprobe dm-snapshot`)",
    ));
    // With its table it has a node; before anything else may fail, its end is arranged.
    let device = loaded.and_then(|_| open(made.device).map_err(failed("open a snapshot")));
    let mut removed = Call::new(&name);
    removed.flags = DEFERRED;
    // SAFETY: as above.
    unsafe { remove(control.as_raw_fd(), &raw mut removed) }
        .map_err(call_failed("have a snapshot removed when it is closed"))?;
    let device = device?;
    let mut resumed = Call::new(&name);
    // SAFETY: as above.
    unsafe { resume(control.as_raw_fd(), &raw mut resumed) }
        .map_err(call_failed("begin a snapshot"))?;
    Ok(device.into())
}

impl Call {
    fn new(device: &str) -> Self {
        let mut name = [0; 128];
        name[..device.len()].copy_from_slice(device.as_bytes());
        let bytes = |size: usize| u32::try_from(size).expect("a few hundred");
        Self {
            version: VERSION,
            data_size: bytes(size_of::<Self>()),
            data_start: bytes(HEADER),
            target_count: 0,
            open_count: 0,
            flags: 0,
            event_nr: 0,
            padding: 0,
            device: 0,
            name,
            uuid: [0; 136],
            sector_start: 0,
            length: 0,
            status: 0,
            next: 0,
            target: [0; 16],
            parameters: [0; PARAMETERS],
        }
    }

    /// One snapshot of so many sectors.
    fn target(mut self, sectors: u64, told: &str) -> Self {
        const TARGET: &[u8] = b"snapshot";
        self.target_count = 1;
        self.length = sectors;
        self.target[..TARGET.len()].copy_from_slice(TARGET);
        // A zero stays behind it.
        self.parameters[..told.len()].copy_from_slice(told.as_bytes());
        self
    }
}

/// Names are the host's: nothing else may have this one.
fn name() -> io::Result<String> {
    let mut random = [0; 8];
    let filled = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    if filled < random.len() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(format!("attest-{:016x}", u64::from_ne_bytes(random)))
}

/// The kernel's own file system of devices has it at once; others would have to be told.
fn open(device: u64) -> io::Result<File> {
    let minor = nix::sys::stat::minor(device);
    File::options()
        .read(true)
        .write(true)
        .open(format!("/dev/dm-{minor}"))
}

fn shown(device: u64) -> String {
    use nix::sys::stat::{major, minor};
    format!("{}:{}", major(device), minor(device))
}

fn call_failed(what: &'static str) -> impl Fn(Errno) -> Failure {
    move |errno| failed(what)(errno.into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    fn file(bytes: &[u8]) -> File {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(bytes, 0).unwrap();
        file
    }

    #[test]
    fn a_snapshot_shows_the_image_and_leaves_it_as_it_is() {
        if let Err(error) = File::open(CONTROL) {
            println!("skipped: no device mapper: {CONTROL}: {error}");
            return;
        }
        let image = file(&vec![7; 4 << 20]);
        let below = image.try_clone().unwrap();
        let device = File::from(snapshot(image.into(), file(&[]).into()).unwrap());
        device.write_all_at(&[1; 512], 1 << 20).unwrap();
        device.sync_all().unwrap();
        let read = |file: &File, at| {
            let mut bytes = [0; 512];
            file.read_exact_at(&mut bytes, at).unwrap();
            (bytes[0], bytes[511])
        };
        assert_eq!(read(&device, 0), (7, 7));
        assert_eq!(read(&device, 1 << 20), (1, 1));
        assert_eq!(read(&below, 1 << 20), (7, 7));
        let link = std::fs::read_link(format!("/proc/self/fd/{}", device.as_raw_fd())).unwrap();
        drop(device);
        // The kernel removes it behind the back of its last user.
        let began = std::time::Instant::now();
        while link.exists() {
            assert!(began.elapsed().as_secs() < 60, "{} stays", link.display());
            std::thread::yield_now();
        }
    }
}

//! The device by which Firecracker measures how long a machine takes to user space
//! (`--boot-timer`).

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;

/// What it takes for the end of the boot (`MAGIC_VALUE_SIGNAL_GUEST_BOOT_COMPLETE` of Firecracker's
/// devices/pseudo/boot_timer.rs).
const BOOTED: u8 = 123;

/// Tell the device at this physical address. What fails is said on the console.
pub(super) fn stop(address: u64) {
    if let Err(error) = write(address) {
        eprintln!("attest: the boot timer at {address:#x} cannot be written to: {error}");
    }
}

fn write(address: u64) -> io::Result<()> {
    // Only a mapping reaches a device: write(2) is for memory alone (mem(4)).
    let memory = File::options()
        .read(true)
        .write(true)
        .custom_flags(nix::libc::O_SYNC)
        .open("/dev/mem")?;
    mapped::put(&memory, address, BOOTED)
}

mod mapped {
    #![expect(
        unsafe_code,
        reason = "mmap(2) of a device, and one byte written to it"
    )]

    use std::fs::File;
    use std::io;
    use std::num::NonZeroUsize;

    use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
    use nix::unistd::{SysconfVar, sysconf};

    /// Write a byte through a mapping of its page.
    pub(super) fn put(memory: &File, address: u64, byte: u8) -> io::Result<()> {
        let page = sysconf(SysconfVar::PAGE_SIZE)?.and_then(|size| u64::try_from(size).ok());
        let page = page.ok_or(io::ErrorKind::Unsupported)?;
        let invalid = |_| io::Error::from(io::ErrorKind::InvalidInput);
        let inside = usize::try_from(address % page).map_err(invalid)?;
        let start = i64::try_from(address - address % page).map_err(invalid)?;
        let length = usize::try_from(page).map_err(invalid)?;
        let length = NonZeroUsize::new(length).ok_or(io::ErrorKind::Unsupported)?;
        let (protection, flags) = (ProtFlags::PROT_WRITE, MapFlags::MAP_SHARED);
        // SAFETY: the kernel chooses where the new mapping goes, so it takes nobody's place.
        let mapping = unsafe { mmap(None, length, protection, flags, memory, start) }?;
        // SAFETY: `inside` is less than the length of the mapping, which can be written to and which
        // nothing else refers to.
        unsafe { mapping.cast::<u8>().add(inside).write_volatile(byte) };
        // SAFETY: it is the mapping from above, whole, and nothing refers to it any more.
        unsafe { munmap(mapping, length.get()) }?;
        Ok(())
    }

    #[cfg(test)]
    mod tests {
        use std::os::unix::fs::FileExt;

        use super::*;

        #[test]
        fn a_byte_gets_to_its_place_anywhere_in_a_page() {
            let file = tempfile::tempfile().unwrap();
            file.set_len(1 << 20).unwrap();
            for address in [0, 1, 4095, 4096, 65_537, (1 << 20) - 1] {
                put(&file, address, 123).unwrap();
                let mut around = [0; 2];
                let count = file.read_at(&mut around, address).unwrap();
                assert_eq!(around[0], 123, "{address}");
                assert!(count == 1 || around[1] == 0 || address == 0, "{address}");
            }
            assert!(put(&file, u64::MAX, 123).is_err());
        }
    }
}

//! What is looked at in a kernel and its command line.

use std::fs::File;
use std::io::Read;

use super::calls::BootSource;

/// With Firecracker's own, where none is given.
pub(super) fn command_line(source: &BootSource) -> String {
    let own = "reboot=k panic=1 nomodule 8250.nr_uarts=0 i8042.noaux i8042.nomux i8042.dumbkbd swiotlb=noforce";
    source.boot_args.clone().unwrap_or_else(|| own.to_owned())
}

/// Fact: bzImage boot is newer than 1.16.
pub(super) fn is_kernel(file: &File, takes_bz_images: bool) -> Result<(), &'static str> {
    let mut head = Vec::new();
    let _ = file.take(0x210).read_to_end(&mut head);
    let is_elf = head.starts_with(b"\x7fELF");
    let is_bz_image = head.get(0x202..0x206) == Some(b"HdrS");
    match (is_elf, takes_bz_images) {
        (true, _) => Ok(()),
        (false, true) if is_bz_image => Ok(()),
        (false, true) => Err("failed to load bzImage kernel image: Kernel Loader: Invalid bzImage"),
        (false, false) => {
            Err("failed to load ELF kernel image: Kernel Loader: Invalid ELF magic number")
        }
    }
}

//! The guest without an operating system: a few KB that real Firecracker and Cloud Hypervisor load in
//! place of a kernel, and that attest's driver talks with. What it can do is in `guests/metal/README.md`.

use std::path::Path;

/// The guest's program: an ELF file with a note for PVH. It lies where cargo builds, as long as that does.
///
/// # Panics
/// On another processor than x86-64, for which there is none.
pub fn kernel() -> &'static Path {
    let built = option_env!("ATTEST_METAL_GUEST");
    Path::new(built.expect("the guest without an operating system is for x86-64"))
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    /// Where loaders look for the entry: in a note called `Xen` of type 18.
    #[test]
    fn it_is_a_small_kernel_for_pvh() {
        let elf = std::fs::read(kernel()).unwrap();
        assert!(elf.starts_with(b"\x7fELF\x02\x01"));
        let note = [4_u32, 8, 18].map(u32::to_le_bytes).concat();
        let at = elf
            .windows(note.len() + 4)
            .position(|bytes| bytes[..note.len()] == note && bytes[note.len()..] == *b"Xen\0")
            .unwrap();
        let entry = u64::from_le_bytes(elf[at + 16..at + 24].try_into().unwrap());
        assert_eq!(entry, u64::from_le_bytes(elf[24..32].try_into().unwrap()));
        assert!((0x10_0000..0x20_0000).contains(&entry), "{entry:#x}");
        assert!(elf.len() < 64 * 1024, "{} bytes", elf.len());
    }
}

//! The static programs that attest carries, so that it needs no files beside its own binary.
//!
//! They are built by this crate's build script. `ATTEST_EMBED_DIR` names a directory with an
//! `attest-agent` and an `attest-lab` to use in their place; both must be static.

/// The guest's program: `attest-agent`, compressed with LZ4. It is needed plain when an initramfs is
/// built, and by each process that starts containers: gzip would make attest 0.5 MB smaller, and
/// take each of them 6 ms more.
pub static AGENT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/attest-agent.lz4"));

/// The lab process: `attest-lab`. It is started from here with every lab, and so is plain.
pub static LAB: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/attest-lab"));

#[cfg(test)]
mod tests {
    /// Both must run where there is no dynamic loader: an ELF file without PT_INTERP.
    #[test]
    fn the_programs_are_static() {
        // Behind a magic number and the packed size.
        let packed = super::AGENT.get(8..).unwrap();
        let agent = lz4_flex::block::decompress(packed, 8 << 20).unwrap();
        for (name, program) in [("attest-agent", &*agent), ("attest-lab", super::LAB)] {
            let half = |at: usize| usize::from(u16::from_le_bytes([program[at], program[at + 1]]));
            assert_eq!(
                &program[..5],
                b"\x7fELF\x02",
                "{name} is no 64-bit ELF file"
            );
            // elf(5): e_phoff, e_phentsize and e_phnum of Elf64_Ehdr, p_type of Elf64_Phdr.
            let (start, size, count) = (half(32), half(54), half(56));
            assert!(count > 0);
            for header in (0..count).map(|number| start + number * size) {
                assert_ne!(
                    half(header),
                    3,
                    "{name} asks for a dynamic loader (PT_INTERP)"
                );
            }
        }
    }
}

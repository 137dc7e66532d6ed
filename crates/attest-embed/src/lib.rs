//! The static programs that attest carries, so that it needs no files beside its own binary.
//!
//! They are built by this crate's build script. `ATTEST_EMBED_DIR` names a directory with an
//! `attest-agent` and an `attest-lab` to use in their place; both must be static.

/// The guest's program: `attest-agent`, compressed with gzip, for it is needed plain only when
/// an initramfs is built: that makes attest 1.7 MB smaller.
pub static AGENT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/attest-agent.gz"));

/// The lab process: `attest-lab`. It is started from here with every lab, and so is plain.
pub static LAB: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/attest-lab"));

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;

    /// Both must run where there is no dynamic loader: an ELF file without PT_INTERP.
    #[test]
    fn the_programs_are_static() {
        let mut agent = Vec::new();
        GzDecoder::new(super::AGENT)
            .read_to_end(&mut agent)
            .unwrap();
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

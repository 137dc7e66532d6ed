//! Files with holes: blocks of zeros that take no space.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use super::{TreeError, file_error};

/// Blocks of zeros of this size become holes: the block size of the file systems in use.
const BLOCK: usize = 4096;
/// Bytes read at once: two frames of the link.
const BUFFER: usize = 128 * 1024;

/// Copy to an empty file, leaving out blocks of zeros. Gives the bytes of contents.
pub(super) fn write(
    reader: &mut impl Read,
    file: &mut File,
    path: &Path,
) -> Result<u64, TreeError> {
    let failed = || file_error::<io::Error>(path, "it cannot be written");
    let mut buffer = vec![0; BUFFER];
    let mut length = 0_u64;
    let mut hole = false;
    loop {
        let filled = fill(reader, &mut buffer).map_err(TreeError::Stream)?;
        let mut at = 0;
        while at < filled {
            let (end, zero) = run_of_blocks(&buffer[..filled], at);
            hole = zero;
            if zero {
                let skipped = i64::try_from(end - at).expect("within the buffer");
                file.seek_relative(skipped).map_err(failed())?;
            } else {
                file.write_all(&buffer[at..end]).map_err(failed())?;
            }
            at = end;
        }
        length += filled as u64;
        if filled < buffer.len() {
            break;
        }
    }
    if hole {
        file.set_len(length).map_err(failed())?;
    }
    Ok(length)
}

/// The end of the blocks from `at` on that are alike, and whether they are zeros.
fn run_of_blocks(buffer: &[u8], at: usize) -> (usize, bool) {
    let mut blocks = buffer[at..].chunks(BLOCK);
    let first = blocks.next().expect("there are bytes");
    let zero = is_hole(first);
    let more: usize = blocks
        .take_while(|block| is_hole(block) == zero)
        .map(<[u8]>::len)
        .sum();
    (at + first.len() + more, zero)
}

fn is_hole(block: &[u8]) -> bool {
    block.len() == BLOCK && block.iter().all(|byte| *byte == 0)
}

fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

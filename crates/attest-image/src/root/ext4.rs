//! A root as ext4, by `mke2fs`: no library writes it.

use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::ImageError;
use crate::progress::Step;
use crate::sandbox::{Sandboxed, is_root};
use crate::tree::{Owners, Tree};

const PROGRAM: &str = "mke2fs";
/// Blocks of this file system, in bytes.
const BLOCK: u64 = 4096;
/// Bytes for which there is an inode, `inode_ratio` of mke2fs.conf(5).
const INODE_RATIO: u64 = 16 * 1024;
/// Bytes that a machine may write before it is full. They take no space until then.
const ROOM: u64 = 1 << 30;

/// Write a tree into a new file, sparse, with room for a GiB more.
///
/// # Errors
/// attest is not root, `mke2fs` is missing or fails, the disk is full.
pub(super) fn write(
    tree: &Tree,
    image: &str,
    path: &Path,
    uuid: &[u8; 16],
    progress: &mut dyn FnMut(Step),
) -> Result<(), ImageError> {
    if !is_root() {
        return Err(ImageError::NeedsRoot {
            image: image.to_owned(),
            what: "`format = \"ext4\"`",
        });
    }
    let directory = path.parent().unwrap_or(path);
    let work = tempfile::tempdir_in(directory);
    let work = work.map_err(ImageError::file(
        directory,
        "no directory can be made there",
    ))?;
    tree.materialise("", work.path(), Owners::Kept, progress)?;
    progress(Step::new("writing the image"));
    let file = File::create_new(path).and_then(|file| file.set_len(size(tree)));
    file.map_err(ImageError::file(path, "the image cannot be written"))?;
    make(path, work.path(), uuid)
}

/// What the tree needs, by rules of thumb on the safe side, and the room.
fn size(tree: &Tree) -> u64 {
    let nodes = tree.count() as u64;
    // Each node may have a last block that is not full, and a block of attributes.
    let own = tree.bytes() + nodes * 2 * BLOCK;
    // An eighth for what describes the blocks, and for the journal.
    let needed = own + own / 8 + ROOM;
    // There must be an inode for each.
    needed
        .max(nodes * INODE_RATIO * 2)
        .next_multiple_of(1 << 20)
}

fn make(path: &Path, directory: &Path, uuid: &[u8; 16]) -> Result<(), ImageError> {
    let failed = |reason| ImageError::FileSystem {
        path: path.to_owned(),
        program: PROGRAM,
        reason,
    };
    let digits: Vec<String> = uuid.iter().map(|byte| format!("{byte:02x}")).collect();
    let id = digits.concat();
    let id = [&id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..]].join("-");
    let mut command = Command::new(PROGRAM);
    command
        .args([
            "-q",
            "-F",
            "-t",
            "ext4",
            "-b",
            "4096",
            "-m",
            "0",
            "-L",
            "attest-root",
            "-U",
            &id,
        ])
        .arg("-E")
        // What is zeros in a sparse file need not be written; equal trees give equal hashes.
        .arg(format!(
            "lazy_itable_init=1,lazy_journal_init=1,nodiscard,root_owner=0:0,hash_seed={id}"
        ))
        .arg("-d")
        .arg(directory)
        .arg(path)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut running = Sandboxed::start(command, None).map_err(|error| {
        failed(match error.kind() {
            io::ErrorKind::NotFound => "it is not installed; `apt install e2fsprogs`".to_owned(),
            _ => error.to_string(),
        })
    })?;
    let words = running.child.stderr.take().map(io::read_to_string);
    let words = words
        .transpose()
        .map_err(|error| failed(error.to_string()))?;
    let status = running.wait().map_err(|error| failed(error.to_string()))?;
    if status.success() {
        return Ok(());
    }
    let words = words.unwrap_or_default();
    let words: Vec<&str> = words.lines().filter(|line| !line.is_empty()).collect();
    Err(failed(format!("{status}: {}", words.join("; "))))
}

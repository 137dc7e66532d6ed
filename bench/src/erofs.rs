//! Writing erofs images, beside mkfs.erofs with the same tree.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use attest_image::erofs::{self, Volume};
use attest_image::source;

use crate::Result;
use crate::figure::{Compared, Report, quantile};

const SAMPLES: usize = 5;
const DIRECTORIES: usize = 100;
const FILES: usize = 25;
/// Bytes of the files, in turn: 260 MB in all, most of it in few files, as in systems.
const LENGTHS: [usize; 5] = [700, 6_000, 24_000, 90_000, 400_000];
const OTHER: &str = "mkfs.erofs";

/// An image with next to nothing in it.
pub(crate) fn small(path: &Path) -> Result<()> {
    let directory = tempfile::tempdir()?;
    fs::write(directory.path().join("file"), "contents")?;
    write(directory.path(), path)
}

/// Of a tree of some hundred megabytes, which is made here.
pub(crate) fn run(report: &Report, place: &Path) -> Result<()> {
    let directory = tempfile::tempdir_in(place)?;
    let tree = directory.path().join("tree");
    let bytes = make(&tree)?;
    let image = directory.path().join("image");
    let other = attest_vmm::installed_program(OTHER, "it is in the package erofs-utils");
    let (mut ours, mut others) = (Vec::new(), Vec::new());
    for _ in 0..SAMPLES {
        ours.push(rate(bytes, &image, || write(&tree, &image))?);
        if let Ok(program) = &other {
            others.push(rate(bytes, &image, || by_hand(program, &tree, &image))?);
        }
    }
    let floor = quantile(&others, 0.5);
    let compared = other.map(|_| Compared {
        what: "mkfs.erofs, uncompressed",
        median: floor,
    });
    if let Err(reason) = &compared {
        report.skipped("images/erofs-write beside mkfs.erofs", reason);
    }
    let compared = compared.ok();
    report.figure(
        "images/erofs-write",
        &ours,
        "MB/s",
        compared.as_ref().map(|_| floor),
        "higher",
        compared,
    );
    Ok(())
}

fn write(tree: &Path, image: &Path) -> Result<()> {
    erofs::write(
        &source::directory(tree)?,
        image,
        &Volume::default(),
        &mut |_| {},
    )?;
    Ok(())
}

fn by_hand(program: &Path, tree: &Path, image: &Path) -> Result<()> {
    let status = Command::new(program)
        .args([image, tree])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{OTHER} ended with {status}").into())
    }
}

/// MB/s of one writing; the image is gone afterwards.
#[expect(clippy::cast_precision_loss, reason = "a rate")]
fn rate(bytes: usize, image: &Path, write: impl FnOnce() -> Result<()>) -> Result<f64> {
    let began = Instant::now();
    write()?;
    let took = began.elapsed();
    fs::remove_file(image)?;
    Ok(bytes as f64 / 1e6 / took.as_secs_f64())
}

/// A tree of files that differ, and that are no holes; its bytes.
fn make(tree: &Path) -> Result<usize> {
    let mut bytes = 0;
    let mut number: u32 = 1;
    for directory in 0..DIRECTORIES {
        let directory = tree.join(format!("directory-{directory}"));
        fs::create_dir_all(&directory)?;
        for file in 0..FILES {
            let length = LENGTHS[file % LENGTHS.len()];
            let contents: Vec<u8> = std::iter::repeat_with(|| {
                // Numerical Recipes' generator: what it gives need only not repeat.
                number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                number.to_le_bytes()
            })
            .flatten()
            .take(length)
            .collect();
            fs::write(directory.join(format!("file-{file}")), contents)?;
            bytes += length;
        }
    }
    Ok(bytes)
}

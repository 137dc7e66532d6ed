//! What a machine's disks take, for every kind of copy-on-write, over an image of 100 MB and over
//! one of 5 GB; and what an image takes that is in the cache already.
//!
//! The images are sparse files: nothing that is measured reads what is in them. One that does
//! would show in the bytes, or in the time that 5 GB take in place of 100 MB.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use attest_image::disks::{self, DiskImage};
use attest_image::{Cache, root};
use attest_lab::{LabContent, LabProcess};
use nix::sys::statvfs::statvfs;

use crate::figure::Report;
use crate::{Result, debian, erofs};

const SAMPLES: usize = 50;
/// Labs, each with a root of each kind.
const LABS: usize = 15;
/// Of a machine's disks, in milliseconds.
const BUDGET: f64 = 2.0;
/// What 5 GB may take more than 100 MB: nothing, but for the noise of times that are this short.
const GROWTH: f64 = 1.5;
/// The sizes, in bytes, and their names.
const SIZES: [(u64, &str); 2] = [(100 << 20, "100MB"), (5 << 30, "5GB")];

/// A kind of copy-on-write that needs the image and the cache alone.
struct Kind {
    /// In the figures.
    name: &'static str,
    /// In the findings of `attest doctor`; nothing where every host has it.
    finding: Option<&'static str>,
    /// Of the kind's own tables; of the image nothing is copied.
    kilobytes: f64,
    make: fn(&Cache, &Path) -> Result<OwnedFd>,
}

const KINDS: [Kind; 4] = [
    Kind {
        name: "overlay",
        finding: Some("qcow2"),
        kilobytes: 16.0,
        make: |cache, image| Ok(disks::layer(cache, DiskImage::open(image)?.size())?),
    },
    Kind {
        name: "reflink",
        finding: Some("reflink"),
        kilobytes: 0.0,
        make: |cache, image| Ok(disks::reflink(cache, &DiskImage::open(image)?)?),
    },
    Kind {
        name: "writable",
        finding: Some("disk"),
        // An empty ext4: its groups' bitmaps and tables.
        kilobytes: 800.0,
        make: |cache, _| Ok(disks::writable(cache)?),
    },
    Kind {
        name: "scratch",
        finding: None,
        kilobytes: 0.0,
        make: |cache, image| Ok(disks::scratch(cache, DiskImage::open(image)?.size())?),
    },
];

pub(crate) async fn run(report: &Report) -> Result<()> {
    let cache = debian::cache()?;
    // In the cache's file system, for reflinks do not leave it.
    let place = cache.directory().parent().unwrap_or(cache.directory());
    let directory = tempfile::tempdir_in(place)?;
    let mut raw = Vec::new();
    for (bytes, name) in SIZES {
        let path = directory.path().join(name);
        File::create(&path)?.set_len(bytes)?;
        raw.push(path);
    }
    for kind in &KINDS {
        let name = format!("images/{}", kind.name);
        match kind.finding.and_then(missing) {
            Some(reason) => report.skipped(&name, &reason),
            None => of_cache(report, &cache, kind, &raw)?,
        }
    }
    match missing("device-mapper") {
        Some(reason) => report.skipped("images/device-mapper", &reason),
        None => device_mapper(report, &cache, &raw).await?,
    }
    if let Err(reason) = attest_vmm::nspawn::probe() {
        report.skipped("images/root", &reason);
    } else {
        let images = erofs_images(directory.path())?;
        let first = directory.path().join("first.erofs");
        erofs::small(&first)?;
        roots(report, &cache, &images, &first).await?;
    }
    from_cache(report, &cache)?;
    erofs::run(report, place)
}

/// Why this host lacks a kind of copy-on-write; nothing where it has it.
fn missing(kind: &str) -> Option<String> {
    let found = attest::doctor::examine()
        .into_iter()
        .find(|finding| finding.area == "copy-on-write" && finding.what == kind && !finding.works);
    found.map(|finding| finding.detail)
}

/// Samples for each size, one after the other in turn.
#[derive(Default)]
struct Samples {
    took: [Vec<Duration>; SIZES.len()],
    kilobytes: Vec<f64>,
}

impl Samples {
    fn report(&self, report: &Report, name: &str, kilobytes: f64) {
        for ((_, size), took) in SIZES.iter().zip(&self.took) {
            let name = format!("images/{name}-{size}");
            report.milliseconds(&name, took, Some(BUDGET), None);
        }
        let [small, large] = &self.took;
        report.ratio(&format!("images/{name}-growth"), large, small, GROWTH);
        report.figure(
            &format!("images/{name}-written"),
            &self.kilobytes,
            "KB",
            Some(kilobytes),
            "lower",
            None,
        );
    }
}

fn of_cache(report: &Report, cache: &Cache, kind: &Kind, images: &[PathBuf]) -> Result<()> {
    // The first may make what the others take from the cache.
    (kind.make)(cache, &images[0])?;
    let mut samples = Samples::default();
    for _ in 0..SAMPLES {
        for (size, image) in images.iter().enumerate() {
            let began = Instant::now();
            let disk = (kind.make)(cache, image)?;
            samples.took[size].push(began.elapsed());
            samples.kilobytes.push(kilobytes_of(disk)?);
        }
    }
    samples.report(report, kind.name, kind.kilobytes);
    Ok(())
}

/// What a file takes, which for a sparse one is what was written to it.
fn kilobytes_of(file: OwnedFd) -> Result<f64> {
    // Of st_blocks, as of inode(7).
    const BLOCK: u64 = 512;
    let blocks = File::from(file).metadata()?.blocks();
    Ok(kilobytes(blocks * BLOCK))
}

#[expect(clippy::cast_precision_loss, reason = "a small count")]
fn kilobytes(bytes: u64) -> f64 {
    bytes as f64 / 1e3
}

async fn device_mapper(report: &Report, cache: &Cache, images: &[PathBuf]) -> Result<()> {
    let lab = LabProcess::start(attest_embed::LAB, &[], LabContent::Programs).await?;
    let mut samples = Samples::default();
    for _ in 0..SAMPLES {
        for (size, image) in images.iter().enumerate() {
            let began = Instant::now();
            let image = OwnedFd::from(DiskImage::open(image)?);
            let changes = disks::scratch(cache, 512)?;
            let device = lab.snapshot(image.as_fd(), changes.as_fd()).await?;
            samples.took[size].push(began.elapsed());
            samples.kilobytes.push(kilobytes_of(changes)?);
            drop(device);
        }
    }
    samples.report(report, "device-mapper", 16.0);
    lab.end().await;
    Ok(())
}

/// As large as [`SIZES`] say: a small image with a hole behind it, which no mount looks at.
fn erofs_images(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut images = Vec::new();
    for (bytes, name) in SIZES {
        let path = directory.join(format!("{name}.erofs"));
        erofs::small(&path)?;
        File::options().write(true).open(&path)?.set_len(bytes)?;
        images.push(path);
    }
    Ok(images)
}

/// Where what a container writes goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Upper {
    Memory,
    Disk,
}

/// Roots of containers: the image mounted, and an overlay over it. Each lab mounts an image once,
/// for its first machine of it: that one is measured, and one more machine of the same image.
async fn roots(report: &Report, cache: &Cache, images: &[PathBuf], first: &Path) -> Result<()> {
    let (mut memory, mut disk) = (Samples::default(), Samples::default());
    let (mut firsts, mut others) = (Vec::new(), Vec::new());
    for _ in 0..LABS {
        for (upper, samples) in [(Upper::Memory, &mut memory), (Upper::Disk, &mut disk)] {
            let lab = LabProcess::start(attest_embed::LAB, &[], LabContent::Containers).await?;
            // The first of a lab also has its place made.
            let (took, _) = root_of(&lab, "first", first, cache, Upper::Memory).await?;
            firsts.push(took);
            for (size, image) in images.iter().enumerate() {
                let (took, written) = root_of(&lab, SIZES[size].1, image, cache, upper).await?;
                samples.took[size].push(took);
                samples.kilobytes.push(written);
            }
            let (took, _) = root_of(&lab, "other", &images[0], cache, Upper::Memory).await?;
            others.push(took);
            lab.end().await;
        }
    }
    memory.report(report, "root-memory", 0.0);
    disk.report(report, "root-disk", 800.0);
    report.milliseconds("images/root-of-known-image", &others, Some(BUDGET), None);
    report.milliseconds("images/root-first-of-lab", &firsts, None, None);
    Ok(())
}

/// What a root takes, and what is written to make it, in KB.
async fn root_of(
    lab: &LabProcess,
    name: &str,
    image: &Path,
    cache: &Cache,
    upper: Upper,
) -> Result<(Duration, f64)> {
    let before = memory_of(lab)?;
    let began = Instant::now();
    let image = OwnedFd::from(DiskImage::open(image)?);
    let disk = match upper {
        Upper::Memory => None,
        Upper::Disk => Some(disks::writable(cache)?),
    };
    lab.root(name, image.as_fd(), disk.as_ref().map(AsFd::as_fd))
        .await?;
    let took = began.elapsed();
    let on_disk = disk.map_or(Ok(0.0), kilobytes_of)?;
    Ok((took, on_disk + memory_of(lab)? - before))
}

/// What a lab keeps in memory for its containers, in KB.
fn memory_of(lab: &LabProcess) -> Result<f64> {
    let place = format!("/proc/{}/root/dev/shm", lab.pid());
    let status = statvfs(Path::new(&place))?;
    Ok(kilobytes(
        (status.blocks() - status.blocks_free()) * status.fragment_size(),
    ))
}

/// An image that was built before: its key is made, and its entry found and held.
fn from_cache(report: &Report, cache: &Cache) -> Result<()> {
    if let Err(reason) = debian::image(cache)? {
        report.skipped("images/built-from-cache", &reason);
        return Ok(());
    }
    let mut samples = Vec::new();
    for _ in 0..SAMPLES {
        let spec = debian::spec();
        let began = Instant::now();
        root::build_root(cache, &spec, &mut |_| {})?;
        samples.push(began.elapsed());
    }
    report.milliseconds("images/built-from-cache", &samples, Some(BUDGET), None);
    Ok(())
}

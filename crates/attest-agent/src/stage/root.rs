//! The root of the system: mounted, with what is written to it going where it should.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount as mount_at};
use nix::sys::utsname::uname;

use super::device::Disks;
use super::options::{Options, Upper};
use crate::init::modules::load_filesystem;

/// Where things are mounted before they become the root.
const STAGE: &str = "/attest";
/// Tried in this order when the file system is not said: attest's own images first.
const FILESYSTEMS: [&str; 4] = ["erofs", "ext4", "xfs", "btrfs"];

/// Mount it; its place, below which nothing of the initramfs is.
pub(super) fn mount(options: &Options) -> Result<PathBuf, String> {
    let disks = Disks::of_the_kernel(&options.disks);
    let device = disks.find(&options.root, options.partition)?;
    let root = match &options.upper {
        Upper::Root => {
            let place = made("root")?;
            mount_filesystem(&device, &place, options.filesystem.as_deref(), false)?;
            place
        }
        upper => {
            let lower = made("lower")?;
            mount_filesystem(&device, &lower, options.filesystem.as_deref(), true)?;
            overlay(&lower, upper, &disks)?
        }
    };
    if let Some(disk) = &options.modules {
        modules(&root, disk, &disks)?;
    }
    Ok(root)
}

fn made(name: &str) -> Result<PathBuf, String> {
    let place = Path::new(STAGE).join(name);
    directory(&place)?;
    Ok(place)
}

fn directory(path: &Path) -> Result<(), String> {
    fs::create_dir_all(path).map_err(|error| format!("{} cannot be made: {error}", path.display()))
}

fn mount_filesystem(
    device: &Path,
    place: &Path,
    filesystem: Option<&str>,
    read_only: bool,
) -> Result<(), String> {
    let flags = if read_only {
        MsFlags::MS_RDONLY
    } else {
        MsFlags::MS_NOATIME
    };
    let candidates = filesystem.map_or(FILESYSTEMS.to_vec(), |known| vec![known]);
    let mut refusals = Vec::new();
    for kind in candidates {
        load_filesystem(kind);
        match mount_at(Some(device), place, Some(kind), flags, None::<&str>) {
            Ok(()) => return Ok(()),
            Err(error) => refusals.push(format!("{kind}: {}", error.desc())),
        }
    }
    Err(format!(
        "the root on {} cannot be mounted ({}); does the kernel have the driver of its file system?",
        device.display(),
        refusals.join(", ")
    ))
}

/// The image below, what is written above it.
fn overlay(lower: &Path, upper: &Upper, disks: &Disks<'_>) -> Result<PathBuf, String> {
    let writable = made("writable")?;
    match upper {
        Upper::Disk(disk) => {
            let device = disks.find(disk, None)?;
            mount_filesystem(&device, &writable, Some("ext4"), false)?;
        }
        _ => memory(&writable)?,
    }
    let (changes, work) = (writable.join("changes"), writable.join("work"));
    directory(&changes)?;
    directory(&work)?;
    // The root has the permissions of the layer above.
    copy_mode(lower, &changes)?;
    let root = made("root")?;
    load_filesystem("overlay");
    let data = format!(
        "lowerdir={},upperdir={},workdir={}",
        lower.display(),
        changes.display(),
        work.display()
    );
    mount_at(
        Some("attest"),
        &root,
        Some("overlay"),
        MsFlags::empty(),
        Some(data.as_str()),
    )
    .map_err(|error| {
        format!("the overlay cannot be mounted: {error}; does the kernel have overlayfs?")
    })?;
    Ok(root)
}

fn memory(place: &Path) -> Result<(), String> {
    // Half of the memory, as every tmpfs; inodes without a limit, for a system has many files.
    let data = Some("mode=0755,nr_inodes=0");
    mount_at(Some("attest"), place, Some("tmpfs"), MsFlags::empty(), data)
        .map_err(|error| format!("no memory for what is written: {error}"))
}

fn copy_mode(from: &Path, to: &Path) -> Result<(), String> {
    let copied =
        fs::metadata(from).and_then(|metadata| fs::set_permissions(to, metadata.permissions()));
    copied.map_err(|error| format!("{}: {error}", to.display()))
}

/// The modules of the kernel that runs, where the root looks for them, unless it brings them.
fn modules(root: &Path, disk: &str, disks: &Disks<'_>) -> Result<(), String> {
    let release = uname().map_err(|error| format!("uname: {error}"))?;
    let release = release.release().to_os_string();
    let places = ["usr/lib/modules", "lib/modules"].map(|place| root.join(place).join(&release));
    if places
        .iter()
        .any(|place| place.join("modules.dep").exists())
    {
        return Ok(());
    }
    let [place, _] = &places;
    directory(place)?;
    // One that is not merged into /usr has them in /lib.
    let lib = root.join("lib/modules");
    if !lib.exists() && directory(&root.join("lib")).is_ok() {
        // A root that is odd enough to refuse it has programs that are not surprised.
        let _ = symlink("../usr/lib/modules", lib);
    }
    mount_filesystem(&disks.find(disk, None)?, place, Some("erofs"), true)
}

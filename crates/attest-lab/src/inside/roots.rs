//! Roots of containers: an image below, memory or a disk above, in a place that only the lab has.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::failed;
use super::loop_device::{self, Access, LoopDevice};
use crate::wire::Failure;

/// Every Linux has this directory, and in a lab nothing else uses it.
const PLACE: &str = "/dev/shm";
/// Tried in this order: attest's own images first.
const FILESYSTEMS: [&str; 4] = ["erofs", "ext4", "xfs", "btrfs"];
/// systemd-nspawn keeps locks and links of its containers here: not among those of the host.
const OF_SYSTEMD: [&str; 2] = ["/run/systemd", "/run"];

/// The roots of a lab, and what containers are given.
#[derive(Debug, Default)]
pub(super) struct Roots {
    is_ready: bool,
    /// Whether the host's systemd stays as it is, or was hidden before.
    shows_systemd: bool,
    /// Images that are mounted, by what identifies a file.
    images: HashMap<(u64, u64), PathBuf>,
    /// The directories of machines that have one.
    machines: HashMap<String, PathBuf>,
    /// Roots so far.
    count: u32,
}

impl Roots {
    pub(super) fn new(shows_systemd: bool) -> Self {
        Self {
            shows_systemd,
            ..Self::default()
        }
    }

    /// A root of this name over this image; its directory. What is written goes to the ext4 of
    /// `upper`, or into memory. What a machine of this name had before is gone.
    pub(super) fn root(
        &mut self,
        name: &str,
        image: &OwnedFd,
        upper: Option<OwnedFd>,
    ) -> Result<PathBuf, Failure> {
        self.prepare()?;
        let lower = self.image(image)?;
        let place = Path::new(PLACE).join("machines").join(name);
        let machine = place.join(self.count.to_string());
        self.count += 1;
        if let Some(before) = self.machines.insert(name.to_owned(), machine.clone()) {
            discard(&before);
        }
        let written = machine.join("written");
        if let Some(disk) = upper {
            make(&written)?;
            mount_disk(&File::from(disk), &written)?;
        }
        let [changes, work] = ["changes", "work"].map(|part| written.join(part));
        let root = machine.join("root");
        for directory in [&changes, &work, &root] {
            make(directory)?;
        }
        // The root has the permissions of the layer above.
        let metadata = fs::metadata(&lower).map_err(failed("read the image's root"))?;
        fs::set_permissions(&changes, fs::Permissions::from_mode(metadata.mode()))
            .map_err(failed("set the permissions of a root"))?;
        let data = format!(
            "lowerdir={},upperdir={},workdir={}",
            lower.display(),
            changes.display(),
            work.display()
        );
        mount_at("attest", &root, "overlay", MsFlags::empty(), &data)
            .map_err(failed("mount an overlay; the kernel must have overlayfs"))?;
        Ok(root)
    }

    /// A file that programs of the lab can name; its path.
    pub(super) fn file(
        &mut self,
        name: &str,
        mode: u32,
        from: OwnedFd,
    ) -> Result<PathBuf, Failure> {
        self.prepare()?;
        let path = Path::new(PLACE).join(name);
        let written = || {
            let mut to = File::options()
                .write(true)
                .create_new(true)
                .mode(mode)
                .open(&path)?;
            io::copy(&mut File::from(from), &mut to)
        };
        written().map_err(failed("write a file for the lab"))?;
        Ok(path)
    }

    /// Where network namespaces are kept.
    pub(super) fn networks(&mut self) -> Result<PathBuf, Failure> {
        self.prepare()?;
        let place = Path::new(PLACE).join("networks");
        make(&place)?;
        Ok(place)
    }

    /// Where programs have directories of their own. Short, for there are sockets in them (unix(7): 107 bytes).
    pub(super) fn programs(&mut self) -> Result<PathBuf, Failure> {
        self.prepare()?;
        Ok(Path::new(PLACE).join("p"))
    }

    fn prepare(&mut self) -> Result<(), Failure> {
        if self.is_ready {
            return Ok(());
        }
        let private = "mode=0700";
        mount_at(
            "attest",
            Path::new(PLACE),
            "tmpfs",
            MsFlags::empty(),
            private,
        )
        .map_err(failed("mount a place for its roots"))?;
        let hidden = OF_SYSTEMD.into_iter().find(|path| Path::new(path).is_dir());
        if let Some(path) = hidden
            && !self.shows_systemd
        {
            mount_at(
                "attest",
                Path::new(path),
                "tmpfs",
                MsFlags::empty(),
                "mode=0755",
            )
            .map_err(failed("hide the host's systemd"))?;
        }
        self.is_ready = true;
        Ok(())
    }

    /// Where the image is mounted: once, however many machines have it.
    fn image(&mut self, image: &OwnedFd) -> Result<PathBuf, Failure> {
        let file = File::from(image.try_clone().map_err(failed("keep an image"))?);
        let metadata = file.metadata().map_err(failed("read an image"))?;
        let identity = (metadata.dev(), metadata.ino());
        if let Some(path) = self.images.get(&identity) {
            return Ok(path.clone());
        }
        let path = Path::new(PLACE).join(format!("images/{}", self.images.len()));
        make(&path)?;
        mount_image(&file, &path)?;
        self.images.insert(identity, path.clone());
        Ok(path)
    }
}

/// Linux 6.12 and newer mount an erofs from its file; all else goes through a loop device, which
/// goes with its mount.
fn mount_image(file: &File, path: &Path) -> Result<(), Failure> {
    let source = format!("/proc/self/fd/{}", file.as_raw_fd());
    let flags = MsFlags::MS_RDONLY;
    if mount_at(&source, path, FILESYSTEMS[0], flags, "").is_ok() {
        return Ok(());
    }
    let device = over(file, Access::Read)?;
    let mut mounted = Ok(());
    for kind in FILESYSTEMS {
        mounted = mount_at(&device.path(), path, kind, flags, "");
        if mounted.is_ok() {
            break;
        }
    }
    mounted.map_err(failed(
        "mount an image as erofs, ext4, xfs or btrfs; the kernel must have its file system",
    ))
}

fn mount_disk(file: &File, path: &Path) -> Result<(), Failure> {
    let device = over(file, Access::Write)?;
    mount_at(&device.path(), path, "ext4", MsFlags::MS_NOATIME, "")
        .map_err(failed("mount the disk for what is written"))
}

fn over(file: &File, access: Access) -> Result<LoopDevice, Failure> {
    loop_device::over(file, access).map_err(failed(
        "make a loop device; the kernel must have loop devices, and /dev/loop-control be there",
    ))
}

/// A machine has ended: its memory is for others. Whatever still uses it keeps it.
fn discard(machine: &Path) {
    for part in ["root", "written"] {
        // The second is a mount only where it is a disk.
        let _ = umount2(&machine.join(part), MntFlags::MNT_DETACH);
    }
    let _ = fs::remove_dir_all(machine);
}

fn mount_at(
    source: &str,
    target: &Path,
    kind: &str,
    flags: MsFlags,
    data: &str,
) -> Result<(), io::Error> {
    Ok(mount(Some(source), target, Some(kind), flags, Some(data))?)
}

fn make(directory: &Path) -> Result<(), Failure> {
    let mut builder = DirBuilder::new();
    let made = builder.recursive(true).mode(0o755).create(directory);
    made.map_err(failed("make a directory for a root"))
}

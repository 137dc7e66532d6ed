//! From the initramfs into the root: as `switch_root` does, and what was there is freed.

use std::fs::File;
use std::path::Path;

use nix::dir::{Dir, Type};
use nix::fcntl::{AtFlags, OFlag};
use nix::mount::{MsFlags, mount};
use nix::sys::stat::{Mode, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, chdir, chroot, unlinkat};

/// Mounts that go along.
const KEPT: [&str; 4] = ["dev", "proc", "sys", "run"];

/// Make this the root of PID 1, and of all that it starts.
pub(super) fn to(root: &Path) -> Result<(), String> {
    let failed = |what: &'static str| move |error: nix::Error| format!("{what}: {error}");
    let nothing = None::<&str>;
    for name in KEPT {
        let (from, to) = (Path::new("/").join(name), root.join(name));
        std::fs::create_dir_all(&to)
            .map_err(|error| format!("{} cannot be made: {error}", to.display()))?;
        mount(Some(&from), &to, nothing, MsFlags::MS_MOVE, nothing)
            .map_err(failed("/dev, /proc, /sys and /run cannot be moved"))?;
    }
    let initramfs = File::open("/").map_err(|error| format!("/: {error}"))?;
    chdir(root).map_err(failed("the root cannot be entered"))?;
    mount(Some("."), "/", nothing, MsFlags::MS_MOVE, nothing)
        .map_err(failed("the root cannot be moved"))?;
    chroot(".").map_err(failed("the root cannot be changed"))?;
    chdir("/").map_err(failed("the root cannot be entered"))?;
    free(initramfs);
    Ok(())
}

/// Remove what only the initramfs has: it is memory. What cannot be removed costs some, no more.
fn free(initramfs: File) {
    let Ok(device) = fstat(&initramfs).map(|metadata| metadata.st_dev) else {
        return;
    };
    if let Ok(directory) = Dir::from_fd(initramfs.into()) {
        empty(directory, device);
    }
}

/// What is mounted there has another device, and stays.
fn empty(mut directory: Dir, device: u64) {
    let entries: Vec<_> = directory.iter().flatten().collect();
    for entry in entries {
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let own = fstatat(&directory, name, AtFlags::AT_SYMLINK_NOFOLLOW)
            .is_ok_and(|metadata| metadata.st_dev == device);
        if !own {
            continue;
        }
        if entry.file_type() == Some(Type::Directory) {
            let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            if let Ok(below) = Dir::openat(&directory, name, flags, Mode::empty()) {
                empty(below, device);
            }
            let _ = unlinkat(&directory, name, UnlinkatFlags::RemoveDir);
        } else {
            let _ = unlinkat(&directory, name, UnlinkatFlags::NoRemoveDir);
        }
    }
}

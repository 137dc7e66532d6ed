use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Command;

use super::*;

fn cache() -> (tempfile::TempDir, Cache) {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::open(directory.path()).unwrap();
    (directory, cache)
}

fn image(directory: &Path, bytes: &[u8]) -> Result<DiskImage, ImageError> {
    let path = directory.join("disk");
    std::fs::write(&path, bytes).unwrap();
    DiskImage::open(&path)
}

#[test]
fn a_scratch_disk_has_its_size_and_no_blocks_and_no_name() {
    let (directory, cache) = cache();
    let disk = File::from(scratch(&cache, 1 << 40).unwrap());
    let metadata = disk.metadata().unwrap();
    assert_eq!(
        (metadata.len(), metadata.blocks(), metadata.nlink()),
        (1 << 40, 0, 0)
    );
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn impossible_sizes_are_refused() {
    let (_directory, cache) = cache();
    for bytes in [0, 513, u64::MAX / 512 * 512, (i64::MAX as u64) / 512 * 512] {
        let error = scratch(&cache, bytes).unwrap_err();
        assert!(
            matches!(error, ImageError::DiskSize { .. }),
            "{bytes}: {error}"
        );
    }
}

#[test]
fn images_are_known_by_their_first_bytes() {
    let (directory, cache) = cache();
    let raw = image(directory.path(), b"raw").unwrap();
    assert_eq!((raw.format(), raw.size()), (DiskFormat::Raw, 512));
    let error = image(directory.path(), b"KDMV...").unwrap_err().to_string();
    assert!(
        error.contains("VMDK") && error.contains("qemu-img convert"),
        "{error}"
    );
    assert!(DiskImage::open(directory.path()).is_err(), "a directory");
    assert!(DiskImage::open(&directory.path().join("missing")).is_err());
    // The overlay is itself an image.
    let overlay = File::from(layer(&cache, raw.size()).unwrap());
    let mut bytes = vec![0; 4 << 16];
    overlay.read_exact_at(&mut bytes, 0).unwrap();
    let own = image(directory.path(), &bytes).unwrap();
    assert_eq!((own.format(), own.size()), (DiskFormat::Qcow2, 512));
}

#[test]
fn qcow2_that_does_not_stand_alone_is_refused() {
    let (directory, cache) = cache();
    let raw = image(directory.path(), b"raw").unwrap();
    let overlay = File::from(layer(&cache, raw.size()).unwrap());
    let mut bytes = vec![0; 104];
    overlay.read_exact_at(&mut bytes, 0).unwrap();
    for (at, value, cause) in [
        (15, 1, "over another image"),
        (79, 4, "data is in another file"),
        (7, 9, "version"),
    ] {
        let mut changed = bytes.clone();
        changed[at] = value;
        let error = image(directory.path(), &changed).unwrap_err().to_string();
        assert!(error.contains(cause), "{error}");
    }
    for cut in 4..32 {
        let error = image(directory.path(), &bytes[..cut]).unwrap_err();
        assert!(error.to_string().contains("cut short"), "{error}");
    }
}

/// QEMU's own check of it, where `qemu-img` is installed.
#[test]
fn qemu_finds_nothing_wrong_with_overlays() {
    let (directory, cache) = cache();
    for size in [512_u64, 1 << 20, 5 << 30, 3 << 40, 9 << 40] {
        let path = directory.path().join("image");
        let sparse = File::create(&path).unwrap();
        sparse.set_len(size).unwrap();
        let overlay = File::from(layer(&cache, DiskImage::open(&path).unwrap().size()).unwrap());
        assert!(overlay.metadata().unwrap().blocks() * 512 <= 16 << 10);
        let copy = directory.path().join("overlay.qcow2");
        io::copy(&mut &overlay, &mut File::create(&copy).unwrap()).unwrap();
        let Ok(output) = Command::new("qemu-img").arg("check").arg(&copy).output() else {
            println!("skipped: qemu-img is not installed (package qemu-utils)");
            return;
        };
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && said.contains("No errors"),
            "{size}: {said}"
        );
    }
}

#[test]
fn an_empty_file_system_is_made_once_and_is_nearly_nothing() {
    let (directory, cache) = cache();
    let first = match writable(&cache) {
        Err(ImageError::Program { reason, .. }) if reason.contains("not installed") => {
            println!("skipped: mke2fs: {reason}");
            return;
        }
        first => File::from(first.unwrap()),
    };
    let second = File::from(writable(&cache).unwrap());
    for disk in [&first, &second] {
        let mut magic = [0; 2];
        disk.read_exact_at(&mut magic, 1024 + 56).unwrap();
        assert_eq!(magic, [0x53, 0xef], "that of ext4");
        assert!(disk.metadata().unwrap().blocks() * 512 < 1 << 20);
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
}

/// On a Btrfs of the test's own, seen by its thread alone.
#[test]
fn reflinks_share_their_blocks_or_say_why_not() {
    let (directory, cache) = cache();
    let raw = image(directory.path(), &vec![7; 1 << 20]).unwrap();
    if let Err(error) = reflink(&cache, &raw) {
        assert!(
            error.to_string().contains("copy-on-write = \"qcow2\""),
            "{error}"
        );
    }
    let place = directory.path().join("btrfs");
    std::fs::create_dir(&place).unwrap();
    let _mounted = match mount_btrfs(directory.path(), &place) {
        Ok(mounted) => mounted,
        Err(reason) => {
            println!("skipped: no Btrfs can be mounted: {reason}");
            return;
        }
    };
    let other = Cache::open(&place.join("cache")).unwrap();
    let error = reflink(&other, &raw).unwrap_err().to_string();
    assert!(
        error.contains("not in the file system of the cache"),
        "{error}"
    );
    let shared = image(&place, &vec![7; 1 << 20]).unwrap();
    let disk = File::from(reflink(&other, &shared).unwrap());
    disk.write_all_at(b"new", 0).unwrap();
    let (mut own, mut below) = ([0; 4], [0; 4]);
    disk.read_exact_at(&mut own, 0).unwrap();
    let file = File::open(shared.path()).unwrap();
    file.read_exact_at(&mut below, 0).unwrap();
    assert_eq!((&own, below), (b"new\x07", [7; 4]));
}

/// Unmounted when dropped, or the directory would be left.
struct Mounted<'a>(&'a Path);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        // Whose files are still open goes with them.
        let _ = nix::mount::umount2(self.0, nix::mount::MntFlags::MNT_DETACH);
    }
}

fn mount_btrfs<'a>(directory: &Path, place: &'a Path) -> Result<Mounted<'a>, String> {
    let file = directory.join("file-system");
    let made = File::create(&file).and_then(|file| file.set_len(256 << 20));
    made.map_err(|error| error.to_string())?;
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).map_err(|error| error.to_string())?;
    nix::mount::mount(
        None::<&str>,
        "/",
        None::<&str>,
        nix::mount::MsFlags::MS_REC | nix::mount::MsFlags::MS_PRIVATE,
        None::<&str>,
    )
    .map_err(|error| error.to_string())?;
    let steps: [&[&str]; 2] = [&["mkfs.btrfs", "-q"], &["mount", "-o", "loop"]];
    for (index, step) in steps.iter().enumerate() {
        let mut command = Command::new(step[0]);
        command.args(&step[1..]).arg(&file);
        if index == 1 {
            command.arg(place);
        }
        let output = command
            .output()
            .map_err(|error| format!("{}: {error}", step[0]))?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
    }
    Ok(Mounted(place))
}

//! Disks by their serial numbers.

use std::fs;
use std::path::PathBuf;

/// The device of a disk, or of one of its partitions. The drivers were loaded, and they look at
/// their disks before that returns: what is not there is not coming.
pub(super) fn find(serial: &str, partition: Option<u32>) -> Result<PathBuf, String> {
    let disk = disks()
        .into_iter()
        .find(|(_, known)| known == serial)
        .map(|(name, _)| name);
    let disk = disk.ok_or_else(|| {
        format!(
            "there is no disk `{serial}`; there are: {}; does the kernel have the driver (virtio_blk)?",
            names()
        )
    })?;
    let Some(number) = partition else {
        return Ok(format!("/dev/{disk}").into());
    };
    let partition = format!("{disk}{number}");
    if !PathBuf::from(format!("/sys/class/block/{partition}")).exists() {
        return Err(format!("the disk `{serial}` has no partition {number}"));
    }
    Ok(format!("/dev/{partition}").into())
}

/// Names and serial numbers of the virtio disks.
fn disks() -> Vec<(String, String)> {
    let entries = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let serial = fs::read_to_string(entry.path().join("serial")).ok()?;
            let name = entry.file_name().into_string().ok()?;
            Some((name, serial.trim().to_owned()))
        })
        .collect()
}

fn names() -> String {
    let names: Vec<String> = disks().into_iter().map(|(_, serial)| serial).collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

//! Disks by their names: serial numbers, or places in the order of the devices.

use std::fs;
use std::path::{Path, PathBuf};

/// The machine's disks.
#[derive(Debug)]
pub(crate) struct Disks<'a> {
    /// Where the kernel lists block devices.
    list: &'a Path,
    /// What the virtio disks are called, in their order: for those without a serial number.
    order: &'a [String],
}

impl<'a> Disks<'a> {
    pub(crate) fn of_the_kernel(order: &'a [String]) -> Self {
        Self {
            list: Path::new("/sys/block"),
            order,
        }
    }

    #[cfg(test)]
    pub(crate) fn below(list: &'a Path, order: &'a [String]) -> Self {
        Self { list, order }
    }

    /// The device of a disk, or of one of its partitions. The drivers were loaded, and they look at
    /// their disks before that returns: what is not there is not coming.
    pub(super) fn find(&self, name: &str, partition: Option<u32>) -> Result<PathBuf, String> {
        let disk = self.device(name).ok_or_else(|| {
            format!(
                "there is no disk `{name}`; there are: {}; does the kernel have the driver (virtio_blk)?",
                self.names()
            )
        })?;
        let Some(number) = partition else {
            return Ok(format!("/dev/{disk}").into());
        };
        let partition = format!("{disk}{number}");
        if !self.list.join(&disk).join(&partition).exists() {
            return Err(format!("the disk `{name}` has no partition {number}"));
        }
        Ok(format!("/dev/{partition}").into())
    }

    /// What the kernel calls the disk of this name, as `vda`.
    pub(crate) fn device(&self, name: &str) -> Option<String> {
        self.by_serial(name).or_else(|| self.by_place(name))
    }

    fn by_serial(&self, name: &str) -> Option<String> {
        let found = self.serials().into_iter();
        found
            .filter(|(_, serial)| serial == name)
            .map(|(device, _)| device)
            .next()
    }

    fn by_place(&self, name: &str) -> Option<String> {
        let place = self.order.iter().position(|known| known == name)?;
        Some(virtio_disk(place)).filter(|device| self.list.join(device).exists())
    }

    /// Devices of virtio disks, with their serial numbers.
    fn serials(&self) -> Vec<(String, String)> {
        let entries = fs::read_dir(self.list).into_iter().flatten().flatten();
        entries
            .filter_map(|entry| {
                let serial = fs::read_to_string(entry.path().join("serial")).ok()?;
                let name = entry.file_name().into_string().ok()?;
                Some((name, serial.trim().to_owned()))
            })
            .collect()
    }

    fn names(&self) -> String {
        let given = self
            .order
            .iter()
            .filter(|name| self.by_place(name).is_some());
        let serials = self.serials().into_iter().map(|(_, serial)| serial);
        let names: Vec<String> = given.cloned().chain(serials).collect();
        if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        }
    }
}

/// What the kernel calls the virtio disk in this place, from 0: `vda` to `vdz`, `vdaa` and so on
/// (`virtblk_name_format` in drivers/block/virtio_blk.c).
fn virtio_disk(place: usize) -> String {
    let mut letters = Vec::new();
    let mut left = Some(place);
    while let Some(place) = left {
        letters.push(('a'..='z').nth(place % 26).expect("less than 26"));
        left = (place / 26).checked_sub(1);
    }
    letters.extend(['d', 'v']);
    letters.into_iter().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_have_the_kernels_letters() {
        let places = [
            (0, "vda"),
            (1, "vdb"),
            (25, "vdz"),
            (26, "vdaa"),
            (51, "vdaz"),
            (52, "vdba"),
            (701, "vdzz"),
            (702, "vdaaa"),
        ];
        for (place, device) in places {
            assert_eq!(virtio_disk(place), device, "{place}");
        }
    }

    #[test]
    fn serial_numbers_count_before_places() {
        let directory = tempfile::tempdir().unwrap();
        let list = directory.path();
        for (device, serial) in [
            ("vda", "0123"),
            ("vdb", "scratch"),
            ("vdc", ""),
            ("sda", "old"),
        ] {
            fs::create_dir(list.join(device)).unwrap();
            fs::write(list.join(device).join("serial"), format!("{serial}\n")).unwrap();
        }
        fs::create_dir(list.join("vdc/vdc2")).unwrap();
        let order = ["root", "modules", "scratch", "late"].map(str::to_owned);
        let disks = Disks::below(list, &order);
        let find = |name, partition| disks.find(name, partition);
        assert_eq!(find("root", None).unwrap(), Path::new("/dev/vda"));
        assert_eq!(find("scratch", None).unwrap(), Path::new("/dev/vdb"));
        assert_eq!(find("old", None).unwrap(), Path::new("/dev/sda"));
        // Its place is taken by one whose serial number says otherwise; there is nothing better.
        assert_eq!(find("modules", None).unwrap(), Path::new("/dev/vdb"));
        let error = find("late", None).unwrap_err();
        assert!(
            error.contains("no disk `late`") && error.contains("root, modules, scratch, "),
            "{error}"
        );

        let order = ["", "", "third"].map(str::to_owned);
        let disks = Disks::below(list, &order);
        assert_eq!(
            disks.find("third", Some(2)).unwrap(),
            Path::new("/dev/vdc2")
        );
        let error = disks.find("third", Some(1)).unwrap_err();
        assert!(error.contains("no partition 1"), "{error}");
        let none = Disks::below(Path::new("/nowhere"), &order);
        assert!(
            none.find("third", None)
                .unwrap_err()
                .contains("there are: none;")
        );
    }
}

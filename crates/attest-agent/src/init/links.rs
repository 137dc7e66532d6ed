//! Links to disks by their names, as udev makes them of serial numbers: for machines whose disks
//! have none.

use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::stage::device::Disks;

/// Where udev puts them (its rules, 60-persistent-storage.rules), below `/dev`.
const PLACE: &str = "disk/by-id";

/// Make a link for each of these disks that is there, and leave alone what has such a name already.
pub(super) fn make(names: &[String]) {
    if !names.is_empty() {
        make_in(Path::new("/dev"), &Disks::of_the_kernel(names), names);
    }
}

fn make_in(devices: &Path, disks: &Disks<'_>, names: &[String]) {
    let place = devices.join(PLACE);
    for name in names.iter().filter(|name| !name.is_empty()) {
        let Some(device) = disks.device(name) else {
            eprintln!("attest: there is no disk for the name `{name}` of attest.disks");
            continue;
        };
        let link = place.join(format!("virtio-{name}"));
        let made = std::fs::create_dir_all(&place)
            .and_then(|()| symlink(Path::new("../..").join(&device), &link));
        match made {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                eprintln!("attest: {} cannot be made: {error}", link.display());
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn disks_have_links_and_those_of_others_stay() {
        let directory = tempfile::tempdir().unwrap();
        let (list, devices) = (directory.path().join("block"), directory.path().join("dev"));
        for device in ["vda", "vdb", "vdc"] {
            fs::create_dir_all(list.join(device)).unwrap();
        }
        fs::write(list.join("vdc/serial"), "data").unwrap();
        fs::create_dir_all(devices.join(PLACE)).unwrap();
        symlink("elsewhere", devices.join(PLACE).join("virtio-root")).unwrap();
        let names = ["root", "data", "", "gone", "a/b", "gone"].map(str::to_owned);
        make_in(&devices, &Disks::below(&list, &names), &names);
        make_in(&devices, &Disks::below(&list, &names), &names);
        let mut links: Vec<_> = fs::read_dir(devices.join(PLACE))
            .unwrap()
            .map(|link| link.unwrap())
            .map(|link| (link.file_name(), fs::read_link(link.path()).unwrap()))
            .collect();
        links.sort();
        let expected = [("virtio-data", "../../vdc"), ("virtio-root", "elsewhere")];
        assert_eq!(links, expected.map(|(link, to)| (link.into(), to.into())));
    }
}

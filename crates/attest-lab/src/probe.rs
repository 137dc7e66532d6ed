//! What labs can be asked for on this host.

use std::fs::{self, File};

pub(crate) const MAPPER: &str = "/dev/mapper/control";

/// Whether snapshots of images can be made by the kernel's device mapper.
///
/// # Errors
/// The reason, for people.
pub fn device_mapper() -> Result<(), String> {
    match File::options().read(true).write(true).open(MAPPER) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(format!(
            "{MAPPER} is missing: the kernel has no device mapper, or it is not loaded (`modprobe dm-snapshot`)"
        )),
        Err(error) => Err(format!("{MAPPER}: {error}; it needs root")),
    }
}

/// Whether the users that this process has are not all of the host's: its root may do less than the host's.
pub fn is_in_user_namespace() -> bool {
    !fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| is_whole(&map))
}

/// Whether a namespace has all users, as the first one has (user_namespaces(7)).
fn is_whole(uid_map: &str) -> bool {
    uid_map.split_whitespace().eq(["0", "0", "4294967295"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_of_a_namespace_are_told_from_all() {
        assert!(is_whole("         0          0 4294967295\n"));
        assert!(!is_whole("         0       1000          1\n"));
        assert!(!is_whole("         0     100000      65536\n"));
        assert!(!is_whole(""));
    }
}

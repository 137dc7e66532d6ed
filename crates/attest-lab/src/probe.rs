//! What labs can be asked for on this host.

use std::fs::File;

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

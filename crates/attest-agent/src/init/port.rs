//! The port to the host: found by its name, among the virtio-serial ports.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use crate::device_events::DeviceEvents;

/// The host's end of this virtio-serial port is the driver.
const NAME: &str = "attest.0";

/// Open the port to the host.
///
/// # Errors
/// It cannot be had, as one line for the console.
pub async fn open() -> Result<OwnedFd, String> {
    let device = appeared()
        .await
        .map_err(|error| format!("no virtio-serial port named {NAME}: {error}"))?;
    File::options()
        .read(true)
        .write(true)
        .open(&device)
        .map(OwnedFd::from)
        .map_err(|error| format!("{device} cannot be opened: {error}"))
}

/// The driver makes the port a moment after it was loaded, and names it another moment later:
/// it says both by device events.
async fn appeared() -> io::Result<String> {
    let events = DeviceEvents::open()?;
    loop {
        if let Some(device) = find() {
            return Ok(device);
        }
        events.next().await?;
    }
}

fn find() -> Option<String> {
    for port in fs::read_dir("/sys/class/virtio-ports").ok()?.flatten() {
        let name = fs::read_to_string(port.path().join("name")).unwrap_or_default();
        let device = format!("/dev/{}", port.file_name().to_string_lossy());
        if name.trim() == NAME && Path::new(&device).exists() {
            return Some(device);
        }
    }
    None
}

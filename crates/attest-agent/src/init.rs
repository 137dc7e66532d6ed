//! PID 1 of the built-in guest: a system to live in, as fast as it can be had.

mod modules;

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use tokio::signal::unix::{SignalKind, signal};

use crate::system::{self, Leaving};

/// The host's end of this virtio-serial port is the driver.
const PORT_NAME: &str = "attest.0";

/// Mounts of a system: source, target, type, flags, data.
const MOUNTS: [(&str, &str, &str, MsFlags, &str); 8] = [
    ("proc", "/proc", "proc", NOTHING_SPECIAL, ""),
    ("sysfs", "/sys", "sysfs", NOTHING_SPECIAL, ""),
    (
        "devtmpfs",
        "/dev",
        "devtmpfs",
        MsFlags::MS_NOSUID,
        "mode=0755",
    ),
    (
        "devpts",
        "/dev/pts",
        "devpts",
        MsFlags::MS_NOSUID,
        "mode=0620,ptmxmode=0666",
    ),
    (
        "tmpfs",
        "/dev/shm",
        "tmpfs",
        MsFlags::MS_NOSUID,
        "mode=1777",
    ),
    ("tmpfs", "/run", "tmpfs", MsFlags::MS_NOSUID, "mode=0755"),
    ("tmpfs", "/tmp", "tmpfs", MsFlags::MS_NOSUID, "mode=1777"),
    ("cgroup2", "/sys/fs/cgroup", "cgroup2", NOTHING_SPECIAL, ""),
];

const NOTHING_SPECIAL: MsFlags = MsFlags::MS_NOSUID
    .union(MsFlags::MS_NODEV)
    .union(MsFlags::MS_NOEXEC);

const LINKS: [(&str, &str); 4] = [
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
];

/// Mount what a system has and load the kernel's modules. What fails is said on the console and
/// does not stop the rest: a guest that can still speak can say more.
pub fn prepare() {
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("attest: the agent failed: {panic}");
    }));
    for (source, target, kind, flags, data) in MOUNTS {
        let _ = fs::create_dir_all(target);
        if let Err(error) = mount(Some(source), target, Some(kind), flags, Some(data)) {
            eprintln!("attest: {target} cannot be mounted: {error}");
        }
    }
    for (target, link) in LINKS {
        let _ = std::os::unix::fs::symlink(target, link);
    }
    loopback();
    modules::load();
}

/// Bring `localhost` up: nobody else does.
fn loopback() {
    if let Err(error) = attest_net::loopback_up() {
        eprintln!("attest: the loopback interface cannot be used: {error}");
    }
}

/// Open the port to the host.
///
/// # Errors
/// There is no such port, as one line for the console.
pub async fn port() -> Result<OwnedFd, String> {
    // The device's driver makes the port as soon as the host's end has told it: a moment after
    // the module was loaded.
    let appeared = crate::wait::until_some("/dev", find_port).await;
    let device =
        appeared.map_err(|error| format!("no virtio-serial port named {PORT_NAME}: {error}"))?;
    File::options()
        .read(true)
        .write(true)
        .open(&device)
        .map(OwnedFd::from)
        .map_err(|error| format!("{device} cannot be opened: {error}"))
}

fn find_port() -> Option<String> {
    for port in fs::read_dir("/sys/class/virtio-ports").ok()?.flatten() {
        let name = fs::read_to_string(port.path().join("name")).unwrap_or_default();
        let device = format!("/dev/{}", port.file_name().to_string_lossy());
        if name.trim() == PORT_NAME && Path::new(&device).exists() {
            return Some(device);
        }
    }
    None
}

/// Nothing can be done any more. PID 1 may not end: the kernel would panic with less to say.
pub fn give_up(reason: &str) -> ! {
    eprintln!("attest: the agent gives up: {reason}");
    loop {
        std::thread::park();
    }
}

/// `reboot`, `poweroff` and `halt` of busybox tell PID 1 by signals.
pub(crate) async fn follow_signals() {
    let signals = (
        signal(SignalKind::terminate()),
        signal(SignalKind::user_defined1()),
        signal(SignalKind::user_defined2()),
        signal(SignalKind::interrupt()),
    );
    let (Ok(mut reboot), Ok(mut halt), Ok(mut off), Ok(mut interrupt)) = signals else {
        return;
    };
    let leaving = tokio::select! {
        _ = reboot.recv() => Leaving::Reboot,
        _ = interrupt.recv() => Leaving::Reboot,
        _ = halt.recv() => Leaving::PowerOff,
        _ = off.recv() => Leaving::PowerOff,
    };
    system::end_machine(leaving).await;
}

//! PID 1 of the built-in guest: a system to live in, as fast as it can be had.

mod boot_timer;
mod links;
pub(crate) mod modules;
mod port;

pub use port::open as port;

use std::fs;

use nix::mount::{MsFlags, mount};
use tokio::signal::unix::{SignalKind, signal};

use crate::arguments::Arguments;
use crate::system::{self, Leaving};

/// A mount: source, target, type, flags, data.
type Mount = (
    &'static str,
    &'static str,
    &'static str,
    MsFlags,
    &'static str,
);

/// What every system needs at once.
const FIRST: [Mount; 4] = [
    ("proc", "/proc", "proc", NOTHING_SPECIAL, ""),
    ("sysfs", "/sys", "sysfs", NOTHING_SPECIAL, ""),
    (
        "devtmpfs",
        "/dev",
        "devtmpfs",
        MsFlags::MS_NOSUID,
        "mode=0755",
    ),
    ("tmpfs", "/run", "tmpfs", MsFlags::MS_NOSUID, "mode=0755"),
];

/// What other systems mount for themselves.
const REST: [Mount; 4] = [
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

/// Mount what every system needs, load the kernel's modules, and link its disks. What fails is said on the console
/// and does not stop the rest: a guest that can still speak can say more.
pub fn prepare() {
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("attest: the agent failed: {panic}");
    }));
    mount_all(&FIRST);
    let arguments = Arguments::of_the_kernel();
    for argument in &arguments.senseless {
        eprintln!("attest: the kernel argument `{argument}` makes no sense, and is left out");
    }
    if let Some(address) = arguments.boot_timer {
        boot_timer::stop(address);
    }
    modules::load();
    links::make(&arguments.disks);
}

/// Make the rest of a system, where the agent is all that there is.
pub fn prepare_rest() {
    mount_all(&REST);
    for (target, link) in LINKS {
        let _ = std::os::unix::fs::symlink(target, link);
    }
    loopback();
}

fn mount_all(mounts: &[Mount]) {
    for &(source, target, kind, flags, data) in mounts {
        let _ = fs::create_dir_all(target);
        if let Err(error) = mount(Some(source), target, Some(kind), flags, Some(data)) {
            eprintln!("attest: {target} cannot be mounted: {error}");
        }
    }
}

/// Bring `localhost` up: nobody else does.
fn loopback() {
    if let Err(error) = attest_net::loopback_up() {
        eprintln!("attest: the loopback interface cannot be used: {error}");
    }
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

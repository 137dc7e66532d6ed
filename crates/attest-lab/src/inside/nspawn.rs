//! What start scripts of containers (`run-NAME-nspawn`) expect of a host, and what they would leave on
//! it: it is made in the lab's own mounts and network, so that it goes with the lab, and equal names
//! in labs side by side do not meet.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::ExitCode;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns};

use super::failed;
use super::wrapped::turn_into;
use crate::wire::Failure;

/// As the first argument of this program: become the program after it, in the host's network.
pub(super) const ON_HOST_NETWORK: &str = "--on-host-network";

/// What scripts and systemd-nspawn keep for all containers of a host: names of networks, locks, and
/// links. Each lab has its own.
const OF_CONTAINERS: [&str; 3] = ["/run/netns", "/run/nixos-nspawn", "/run/systemd"];
/// The host's network, for those who go back to it.
const HOST: &str = "/run/netns/attest-host";
/// While another file system is mounted above it, control groups are here.
const ASIDE: &str = "/run/netns/attest-cgroup";
const CGROUPS: &str = "/sys/fs/cgroup";

const NONE: Option<&str> = None;

/// Make this host one that such scripts can live with.
pub(super) fn prepare(host: &File) -> Result<(), Failure> {
    run().map_err(failed("mount a /run for containers"))?;
    for path in OF_CONTAINERS {
        own(path).map_err(failed("mount directories for containers"))?;
    }
    let keep = || {
        File::create_new(HOST)?;
        let from = format!("/proc/self/fd/{}", host.as_raw_fd());
        mount(Some(from.as_str()), HOST, NONE, MsFlags::MS_BIND, NONE)?;
        Ok(())
    };
    keep().map_err(failed("keep the host's network"))?;
    devices().map_err(failed("mount /sys for its own network"))?;
    identity().map_err(failed("name the host for containers"))
}

/// Become the program of these words, in the host's network.
pub(super) fn go_out(words: &[OsString]) -> ExitCode {
    turn_into(words, |program| {
        let gone = File::open(HOST).and_then(|host| Ok(setns(host, CloneFlags::CLONE_NEWNET)?));
        match gone {
            Ok(()) => program.exec(),
            Err(error) => error,
        }
    })
}

/// Where the host is a sandbox, it may have none that can be written to.
fn run() -> io::Result<()> {
    let is_writable = nix::unistd::access("/run", nix::unistd::AccessFlags::W_OK).is_ok();
    if !is_writable {
        make("/run")?;
        mount(
            Some("attest"),
            "/run",
            Some("tmpfs"),
            MsFlags::empty(),
            Some("mode=0755"),
        )?;
    }
    let leads_there = matches!(
        (fs::canonicalize("/var/run"), fs::canonicalize("/run")),
        (Ok(var), Ok(run)) if var == run
    );
    if !leads_there && fs::symlink_metadata("/var/run").is_err() {
        make("/var")?;
        std::os::unix::fs::symlink("/run", "/var/run")?;
    }
    Ok(())
}

fn own(path: &str) -> io::Result<()> {
    make(path)?;
    mount(
        Some("attest"),
        path,
        Some("tmpfs"),
        MsFlags::empty(),
        Some("mode=0755"),
    )?;
    Ok(())
}

/// Cards in /sys are those of the network in which it was mounted; scripts look for theirs there.
/// Control groups are to be of version 2.
fn devices() -> io::Result<()> {
    let is_unified = fs::read_to_string("/proc/self/mounts")?
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .rfind(|parts| parts.get(1) == Some(&CGROUPS))
        .is_some_and(|parts| parts.get(2) == Some(&"cgroup2"));
    let safe = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    if is_unified {
        make(ASIDE)?;
        let all = MsFlags::MS_BIND | MsFlags::MS_REC;
        mount(Some(CGROUPS), ASIDE, NONE, all, NONE)?;
    }
    mount(Some("sysfs"), "/sys", Some("sysfs"), safe, NONE)?;
    if is_unified {
        mount(Some(ASIDE), CGROUPS, NONE, MsFlags::MS_MOVE, NONE)?;
        fs::remove_dir(ASIDE)?;
    } else {
        mount(Some("cgroup2"), CGROUPS, Some("cgroup2"), safe, NONE)?;
    }
    Ok(())
}

/// systemd-nspawn asks for these files.
fn identity() -> io::Result<()> {
    if !Path::new("/etc/os-release").is_file() {
        fs::write("/etc/os-release", "")?;
    }
    let known = fs::read_to_string("/etc/machine-id").unwrap_or_default();
    if known.trim().is_empty() {
        let random = fs::read_to_string("/proc/sys/kernel/random/uuid")?;
        fs::write("/etc/machine-id", random.replace('-', ""))?;
    }
    Ok(())
}

fn make(path: &str) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o755).create(path)
}

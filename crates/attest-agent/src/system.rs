//! Clock, entropy, file systems, the end of the machine, and what it says of itself.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use attest_protocol::message::{Failure, FailureCode, RawBytes, Response, Stats};
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime, clock_settime};

use crate::failure::{failure, os};
use crate::mounts;
use crate::session::Agent;
use crate::shells::Shells;

/// For the answer to reach the host before the machine ends.
const FAREWELL: Duration = Duration::from_millis(20);
/// How long PID 1 gives processes between SIGTERM and SIGKILL at the machine's end, at most.
const TERM_GRACE: Duration = Duration::from_millis(100);

/// Nanoseconds since the kernel started.
pub(crate) fn uptime_ns() -> u64 {
    now_ns(ClockId::CLOCK_BOOTTIME)
}

fn now_ns(clock: ClockId) -> u64 {
    clock_gettime(clock)
        .map(|time| Duration::from(time).as_nanos())
        .map_or(0, |ns| u64::try_from(ns).unwrap_or(u64::MAX))
}

pub(crate) fn random_u64() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    // Seeded by the kernel's randomness for each state; good enough to tell sessions apart, and
    // never waits for the entropy pool of a guest that has just started.
    let mut hasher = std::hash::RandomState::new().build_hasher();
    hasher.write_u64(uptime_ns());
    hasher.finish()
}

pub(crate) fn set_clock(ns: u64) -> Result<Response, Failure> {
    let time = TimeSpec::from_duration(Duration::from_nanos(ns));
    clock_settime(ClockId::CLOCK_REALTIME, time)
        .map_err(|error| os("the wall clock cannot be set", &error.into()))?;
    Ok(Response::Done)
}

pub(crate) fn reseed(entropy: &[u8]) -> Result<Response, Failure> {
    let failed = |error: &std::io::Error| os("/dev/urandom cannot be reseeded", error);
    let device = File::options()
        .write(true)
        .open("/dev/urandom")
        .map_err(|error| failed(&error))?;
    ioctls::add_entropy(&device, entropy).map_err(|error| failed(&error))?;
    Ok(Response::Done)
}

pub(crate) async fn sync() -> Result<Response, Failure> {
    let synced = tokio::task::spawn_blocking(nix::unistd::sync).await;
    synced.map_err(|panic| failure(FailureCode::Os, panic.to_string()))?;
    Ok(Response::Done)
}

/// Before the machine is saved. Those that go on from there have shells at hand. What is on its disks is whole in any
/// case, for they are saved with its memory at one instant; frozen and written, they also hold all by themselves.
pub(crate) async fn quiesce(agent: &Rc<Agent>) -> Result<Response, Failure> {
    Shells::ready(agent).await;
    sync().await?;
    let root = device(OsStr::new("/"));
    let mut tried = Vec::new();
    let mut refused = Vec::new();
    for mount in mounts::on_disks() {
        let its = device(&mount);
        if its.is_none() || its == root || tried.contains(&its) {
            continue;
        }
        tried.push(its);
        match freeze_one(&mount) {
            Ok(file) => agent.frozen.borrow_mut().push(file),
            Err(failure) => refused.push(failure.message),
        }
    }
    Ok(Response::Quiesced(refused))
}

/// Where programs of the guest find which machine they are on.
const IDENTITY: &str = "/run/attest/identity";

pub(crate) fn identity() -> Result<Response, Failure> {
    let mut token = [0; 16];
    let random = File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut token));
    random.map_err(|error| os("/dev/urandom", &error))?;
    let token = format!("{:032x}", u128::from_be_bytes(token));
    let directory = Path::new(IDENTITY).parent().unwrap_or(Path::new("/run"));
    fs::create_dir_all(directory)
        .and_then(|()| fs::write(IDENTITY, format!("{token}\n")))
        .map_err(|error| os(IDENTITY, &error))?;
    Ok(Response::Identity(token))
}

fn device(path: &OsStr) -> Option<u64> {
    fs::metadata(path).ok().map(|file| file.dev())
}

pub(crate) async fn freeze(agent: &Agent, mount_points: &[RawBytes]) -> Result<Response, Failure> {
    sync().await?;
    let mut frozen = Vec::new();
    for mount_point in mount_points {
        match freeze_one(OsStr::from_bytes(mount_point)) {
            Ok(file) => frozen.push(file),
            Err(failure) => {
                thaw_all(&frozen);
                return Err(failure);
            }
        }
    }
    agent.frozen.borrow_mut().extend(frozen);
    Ok(Response::Done)
}

fn freeze_one(path: &OsStr) -> Result<File, Failure> {
    let shown = path.to_string_lossy();
    let failed = |error: &std::io::Error| os(format!("{shown} cannot be frozen"), error);
    let file = File::open(path).map_err(|error| failed(&error))?;
    if device(path) == device(OsStr::new("/")) {
        return Err(failure(
            FailureCode::Unsupported,
            format!(
                "{shown} is the root file system; freezing it would freeze the agent's programs"
            ),
        ));
    }
    ioctls::freeze(&file).map_err(|error| failed(&error))?;
    Ok(file)
}

pub(crate) fn thaw(agent: &Agent) {
    thaw_all(&agent.frozen.take());
}

fn thaw_all(frozen: &[File]) {
    for file in frozen {
        // Somebody else may have thawed it.
        let _ = ioctls::thaw(file);
    }
}

/// How a machine ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leaving {
    PowerOff,
    Reboot,
}

pub(crate) fn leave(agent: &Rc<Agent>, leaving: Leaving) -> Result<Response, Failure> {
    if agent.role.leave(leaving)? {
        return Ok(Response::Done);
    }
    tokio::task::spawn_local(async move {
        tokio::time::sleep(FAREWELL).await;
        end_machine(leaving).await;
    });
    Ok(Response::Done)
}

/// Until PID 1 is alone: whatever runs descends from it, or was left to it.
async fn no_children() {
    use nix::sys::wait::{Id, WaitPidFlag, waitid};
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut ended) = signal(SignalKind::child()) else {
        return std::future::pending().await;
    };
    // Only looked at: to reap is the reaper's.
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    while waitid(Id::All, look) != Err(nix::errno::Errno::ECHILD) {
        ended.recv().await;
        // The reaper hears of it at the same time.
        tokio::task::yield_now().await;
    }
}

/// End all processes, write everything to disk, and end the machine. Returns only when the
/// kernel refuses.
pub(crate) async fn end_machine(leaving: Leaving) {
    use nix::sys::signal::{Signal, kill};
    let everyone = nix::unistd::Pid::from_raw(-1);
    // From PID 1, "everyone" leaves out PID 1 itself.
    let _ = kill(everyone, Signal::SIGTERM);
    let _ = tokio::time::timeout(TERM_GRACE, no_children()).await;
    let _ = kill(everyone, Signal::SIGKILL);
    let _ = sync().await;
    let mode = match leaving {
        Leaving::PowerOff => {
            eprintln!("attest: power off");
            RebootMode::RB_POWER_OFF
        }
        Leaving::Reboot => {
            eprintln!("attest: reboot");
            RebootMode::RB_AUTOBOOT
        }
    };
    let Err(error) = reboot(mode);
    eprintln!("attest: the kernel refuses to end the machine: {error}");
}

pub(crate) fn stats(agent: &Agent) -> Stats {
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kilobytes = |text: &str, name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim_start_matches(':')
            .split_whitespace()
            .next()?
            .parse::<u64>()
            .ok()
    };
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let own = fs::read_to_string("/proc/self/status").unwrap_or_default();
    Stats {
        uptime_ns: uptime_ns(),
        userspace_ns: agent.userspace_ns,
        agent_ns: agent.connected_ns.get(),
        memory_total: kilobytes(&memory, "MemTotal").unwrap_or(0) * 1024,
        memory_available: kilobytes(&memory, "MemAvailable").unwrap_or(0) * 1024,
        load_milli: thousandths(load.split_whitespace().next().unwrap_or("0")),
        agent_rss: kilobytes(&own, "VmRSS").unwrap_or(0) * 1024,
        agent_fds: fs::read_dir("/proc/self/fd")
            .map_or(0, |fds| fds.count().saturating_sub(1) as u64),
        // Shells that were started ahead are there on purpose, and this request itself is not counted.
        agent_tracked: (agent.tracked.get() - 1)
            + agent.reaper.count().saturating_sub(agent.shells.started()),
        agent_shells: agent.shells.count(),
        clock_ns: now_ns(ClockId::CLOCK_REALTIME),
    }
}

/// `0.25` as 250.
fn thousandths(text: &str) -> u64 {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let part = format!("{part:0<3}");
    whole.parse::<u64>().unwrap_or(0) * 1000
        + part
            .get(..3)
            .and_then(|part| part.parse().ok())
            .unwrap_or(0)
}

mod ioctls {
    #![expect(unsafe_code, reason = "four ioctls")]

    use std::fs::File;
    use std::io;
    use std::os::fd::AsRawFd;

    /// `struct rand_pool_info` of linux/random.h, with room for what the host sends at once.
    #[repr(C)]
    struct Pool {
        bits: i32,
        size: i32,
        bytes: [u8; POOL],
    }

    /// Bytes given to the pool in one call.
    const POOL: usize = 512;

    // From linux/random.h: `RNDADDENTROPY` is `_IOW('R', 0x03, int[2])`, `RNDRESEEDCRNG` is
    // `_IO('R', 0x07)`; from linux/fs.h: `FIFREEZE` and `FITHAW` are `_IOWR('X', 119 | 120, int)`.
    nix::ioctl_write_ptr_bad!(add, nix::request_code_write!(b'R', 0x03, 8), Pool);
    nix::ioctl_none_bad!(reseed, nix::request_code_none!(b'R', 0x07));
    nix::ioctl_write_int_bad!(fifreeze, nix::request_code_readwrite!(b'X', 119, 4));
    nix::ioctl_write_int_bad!(fithaw, nix::request_code_readwrite!(b'X', 120, 4));

    pub(super) fn add_entropy(device: &File, entropy: &[u8]) -> io::Result<()> {
        for chunk in entropy.chunks(POOL) {
            let size = i32::try_from(chunk.len()).expect("at most POOL");
            let mut pool = Pool {
                bits: size * 8,
                size,
                bytes: [0; POOL],
            };
            pool.bytes[..chunk.len()].copy_from_slice(chunk);
            // SAFETY: the kernel reads `size` bytes after the two numbers, which are there.
            unsafe { add(device.as_raw_fd(), &raw const pool) }?;
        }
        // SAFETY: the request takes no argument. Kernels before 5.18 may not know it.
        let _ = unsafe { reseed(device.as_raw_fd()) };
        Ok(())
    }

    pub(super) fn freeze(file: &File) -> io::Result<()> {
        // SAFETY: the argument is ignored by the kernel.
        unsafe { fifreeze(file.as_raw_fd(), 0) }?;
        Ok(())
    }

    pub(super) fn thaw(file: &File) -> io::Result<()> {
        // SAFETY: the argument is ignored by the kernel.
        unsafe { fithaw(file.as_raw_fd(), 0) }?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_are_read() {
        assert_eq!(thousandths("0.25"), 250);
        assert_eq!(thousandths("12.00"), 12_000);
        assert_eq!(thousandths("nonsense"), 0);
    }
}

//! The lab's namespaces, and PID 1 in them.
#![expect(unsafe_code, reason = "fork(2) and close_range(2)")]

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::ExitCode;

use nix::errno::Errno;
use nix::libc;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};

use super::{nspawn, serve};
use crate::probe;
use crate::wire::Failure;
use crate::words::Words;

/// What QEMU opens for the host's processor.
const KVM: &str = "/dev/kvm";

/// The two processes of a lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Outside of the new process namespace.
    Outer,
    /// Its PID 1.
    Inner,
}

/// Does not return before the lab is over; twice, once in each stage.
pub(super) fn enter(
    control: OwnedFd,
    words: &Words,
) -> Result<(Stage, ExitCode), (OwnedFd, Failure)> {
    let host = host_network(words);
    let made = namespaces(words);
    let alive = match made.and_then(|()| pipe().map_err(|e| Failure::new("make a pipe", e))) {
        Ok(pipe) => pipe,
        Err(failure) => return Err((control, failure)),
    };
    // SAFETY: this process has one thread (no runtime was started), so the child may go on
    // with everything.
    match unsafe { fork() } {
        Err(errno) => Err((control, Failure::new("fork its PID 1", errno))),
        Ok(ForkResult::Parent { child }) => {
            // The driver sees the end of the socket as soon as PID 1 ends.
            drop(control);
            let status = hand_on(child);
            drop(alive);
            Ok((Stage::Outer, status))
        }
        Ok(ForkResult::Child) => {
            let (watch, alive) = alive;
            drop(alive);
            match bind_to_parent(&watch).and_then(|()| furnish(words, host.as_ref())) {
                Ok(()) => Ok((Stage::Inner, serve::run(control, words))),
                Err(failure) => Err((control, failure)),
            }
        }
    }
}

/// Nothing that the driver inherited and left open at exec goes on into programs of the lab: a
/// pipe's end there would keep its reader waiting.
pub(super) fn keep_descriptors() {
    // SAFETY: with CLOSE_RANGE_CLOEXEC the call closes nothing now, it only sets flags. Where
    // the kernel (before 5.11) does not know it, nothing happens.
    unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        );
    }
}

fn pipe() -> Result<(OwnedFd, OwnedFd), Errno> {
    pipe_with(PipeFlags::CLOEXEC).map_err(|errno| Errno::from_raw(errno.raw_os_error()))
}

/// The host's network, as long as it is ours; only labs whose programs go back to it need it.
fn host_network(words: &Words) -> Option<File> {
    words
        .has_containers_of_scripts()
        .then(|| File::open("/proc/self/ns/net").ok())
        .flatten()
}

fn namespaces(words: &Words) -> Result<(), Failure> {
    let mut flags = CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS;
    if !words.shares_host {
        flags |= CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS;
    }
    if words.has_own_network() {
        flags |= CloneFlags::CLONE_NEWNET;
    }
    let (user, group) = (nix::unistd::geteuid(), nix::unistd::getegid());
    if user.is_root() {
        match unshare(flags) {
            Ok(()) => return Ok(()),
            // A root without CAP_SYS_ADMIN, as in a container: on as anybody else.
            Err(Errno::EPERM) => {}
            Err(errno) => return Err(refused(errno)),
        }
    }
    unshare(flags | CloneFlags::CLONE_NEWUSER).map_err(refused)?;
    // Without this an unprivileged process may not map groups (user_namespaces(7)).
    write("/proc/self/setgroups", "deny")?;
    // Start scripts are run as who started them, and may ask who that is.
    let (as_user, as_group) = if words.shares_host {
        (user.as_raw(), group.as_raw())
    } else {
        (0, 0)
    };
    write("/proc/self/uid_map", &format!("{as_user} {user} 1"))?;
    write("/proc/self/gid_map", &format!("{as_group} {group} 1"))
}

fn refused(errno: Errno) -> Failure {
    let what = "make its namespaces; without root, unprivileged user namespaces must be allowed (sysctl \
                user.max_user_namespaces, kernel.unprivileged_userns_clone, \
                kernel.apparmor_restrict_unprivileged_userns); in a container, its seccomp profile must allow unshare";
    Failure::new(what, errno)
}

fn write(path: &str, content: &str) -> Result<(), Failure> {
    fs::write(path, content).map_err(|error| {
        let errno = error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
        Failure::new(format!("write {path}"), errno)
    })
}

/// Wait for PID 1 and give its status as a shell would.
fn hand_on(child: Pid) -> ExitCode {
    loop {
        match waitpid(child, None) {
            Ok(WaitStatus::Exited(_, code)) => {
                return ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX));
            }
            Ok(WaitStatus::Signaled(_, signal, _)) => {
                return ExitCode::from(128 + u8::try_from(signal as i32).unwrap_or(127));
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return ExitCode::FAILURE,
        }
    }
}

/// Die with stage 1, however it dies.
fn bind_to_parent(alive: &OwnedFd) -> Result<(), Failure> {
    let failed = |errno| Failure::new("bind itself to its parent", errno);
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).map_err(failed)?;
    // It may have died before that. Its process number says nothing (it is 0 in here), but only
    // stage 1 holds the other end of this pipe.
    let mut fds = [PollFd::new(alive, PollFlags::IN)];
    match poll(&mut fds, Some(&Timespec::default())) {
        Ok(0) => Ok(()),
        Ok(_) => Err(failed(Errno::ESRCH)),
        Err(errno) => Err(failed(Errno::from_raw(errno.raw_os_error()))),
    }
}

/// What is mounted in here is seen nowhere else.
fn private() -> Result<(), Errno> {
    const NONE: Option<&str> = None;
    let make =
        |path: &str, more| mount(NONE, path, NONE, MsFlags::MS_PRIVATE | more, NONE).map(drop);
    match make("/", MsFlags::MS_REC) {
        // In a chroot, as `nix run` makes one where the host has no store, `/` is no mount. A user namespace gives nothing
        // back to that which it had its mounts from (mount_namespaces(7)): those that it made itself are left.
        Err(Errno::EINVAL) if probe::is_in_user_namespace() => {
            let all = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
            for point in all.lines().filter_map(|line| line.split(' ').nth(4)) {
                // One below another that is hidden is out of reach.
                let _ = make(point, MsFlags::empty());
            }
            Ok(())
        }
        done => done,
    }
}

/// What needs no network: mounts, host name.
fn furnish(words: &Words, host: Option<&File>) -> Result<(), Failure> {
    let _ = nix::sys::prctl::set_name(c"attest-lab-init");
    let none: Option<&str> = None;
    private().map_err(|errno| Failure::new("make its mounts private", errno))?;
    let safe = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    // Where a container hides parts of /proc the kernel refuses a fresh one. The old one does
    // for what runs in here: /proc/self is right, the numbers are the host's.
    let _ = mount(Some("proc"), "/proc", Some("proc"), safe, none);
    if words.without_kvm && Path::new(KVM).exists() {
        // It opens, and says that it is none.
        mount(Some("/dev/null"), KVM, none, MsFlags::MS_BIND, none)
            .map_err(|errno| Failure::new("hide /dev/kvm", errno))?;
    }
    if let Some(host) = host {
        nspawn::prepare(host)?;
    }
    if !words.shares_host {
        let _ = nix::unistd::sethostname("lab");
    }
    Ok(())
}

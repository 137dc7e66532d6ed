//! Into a container that runs already: from the host, into its namespaces, and there through a login
//! shell's environment, as a user of the container would find it.

use std::fs::{self, File};
use std::io::{self, BufRead, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::process::{Command, ExitStatus, Stdio};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns};

/// The first argument of the agent in the container; its own program and its stream follow, as
/// numbers of descriptors.
pub const ENTERED: &str = "--entered";

/// What the container's shell is asked to do before it becomes the agent.
const LOGIN: &str = r#"HOME=/root USER=root LOGNAME=root
export HOME USER LOGNAME
if [ -r /etc/profile ]; then . /etc/profile; fi
export PATH="${PATH:-@PATH@}"
exec "$@""#;

/// Bytes of the longest line with a process number.
const LINE: u64 = 32;

/// Wait until stdin says which process is the container's monitor (one line, a number as in the
/// namespace of processes that we are in), enter its child, and run the agent there; returns when that
/// has ended. When stdin ends before, the container is killed: its monitor would leave it alone.
///
/// # Errors
/// There is no such process, it may not be entered, or nothing can be run there.
pub fn enter(stream: &OwnedFd) -> io::Result<ExitStatus> {
    let mut line = String::new();
    io::stdin().lock().take(LINE).read_line(&mut line)?;
    let Ok(monitor) = line.trim().parse::<u32>() else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "nobody said which container to enter",
        ));
    };
    let own = File::open("/proc/self/exe")?;
    let leader = leader(monitor)?;
    let container = process::open(leader)?;
    join(leader)?;
    pass_on(own.as_fd())?;
    pass_on(stream.as_fd())?;
    // A process that is started now is in the container's namespace of processes, too.
    let mut agent = login(&own, stream).spawn()?;
    if !ends_first(&process::open(agent.id())?) {
        process::kill(&container);
    }
    agent.wait()
}

/// Whether the agent ends before stdin does. There can be no thread that waits for one of them: its
/// namespace of processes would be another than that of its siblings.
fn ends_first(agent: &OwnedFd) -> bool {
    let input = io::stdin();
    let mut both = [
        PollFd::new(agent.as_fd(), PollFlags::POLLIN),
        PollFd::new(input.as_fd(), PollFlags::POLLIN),
    ];
    while poll(&mut both, PollTimeout::NONE) == Err(Errno::EINTR) {}
    // Nothing more is said on stdin: what can be read there is its end.
    both[0].any() == Some(true)
}

/// The shell that becomes the agent.
fn login(own: &File, stream: &OwnedFd) -> Command {
    let program = format!("/proc/self/fd/{}", own.as_raw_fd());
    let numbers = [own.as_raw_fd(), stream.as_raw_fd()].map(|number: RawFd| number.to_string());
    let login = LOGIN.replace("@PATH@", crate::DEFAULT_PATH);
    let mut shell = Command::new("/bin/sh");
    shell
        .args(["-c", &login, "sh", &program, ENTERED])
        .args(numbers)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    shell
}

/// The container's first process: the only child of its monitor.
fn leader(monitor: u32) -> io::Result<u32> {
    let children = fs::read_to_string(format!("/proc/{monitor}/task/{monitor}/children"))?;
    let children: Vec<&str> = children.split_whitespace().collect();
    match children.as_slice() {
        [leader] => leader.parse().map_err(io::Error::other),
        _ => Err(io::Error::other(format!(
            "systemd-nspawn has {} children, and not the container alone",
            children.len()
        ))),
    }
}

/// Be in all its namespaces but that of users, which such containers share with the host.
fn join(leader: u32) -> io::Result<()> {
    // The first opens files in /proc, which is another one after it.
    const NAMESPACES: [(&str, CloneFlags); 6] = [
        ("cgroup", CloneFlags::CLONE_NEWCGROUP),
        ("ipc", CloneFlags::CLONE_NEWIPC),
        ("uts", CloneFlags::CLONE_NEWUTS),
        ("net", CloneFlags::CLONE_NEWNET),
        ("pid", CloneFlags::CLONE_NEWPID),
        ("mnt", CloneFlags::CLONE_NEWNS),
    ];
    let open = |name| File::open(format!("/proc/{leader}/ns/{name}"));
    let opened = NAMESPACES
        .iter()
        .map(|(name, kind)| Ok((open(name)?, *kind)))
        .collect::<io::Result<Vec<_>>>()?;
    for (namespace, kind) in opened {
        setns(namespace, kind)?;
    }
    Ok(())
}

/// Let a descriptor not stay open in programs that are started.
///
/// # Errors
/// The kernel's; there is none for a descriptor that is open.
pub fn keep(descriptor: &OwnedFd) -> io::Result<()> {
    fcntl(descriptor, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    Ok(())
}

/// Let it stay open in programs that are started.
fn pass_on(descriptor: BorrowedFd<'_>) -> io::Result<()> {
    fcntl(descriptor, FcntlArg::F_SETFD(FdFlag::empty()))?;
    Ok(())
}

mod process {
    #![expect(unsafe_code, reason = "pidfd_open(2) and pidfd_send_signal(2)")]

    use std::io;
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

    use nix::errno::Errno;
    use nix::libc;

    /// A process by its number, which may be another's later.
    pub(super) fn open(number: u32) -> io::Result<OwnedFd> {
        // SAFETY: it takes two numbers and touches no memory of ours.
        let opened = unsafe { libc::syscall(libc::SYS_pidfd_open, number, 0) };
        let opened = Errno::result(opened)?;
        let descriptor = RawFd::try_from(opened).map_err(io::Error::other)?;
        // SAFETY: the kernel has just given us this descriptor, and nobody else knows it.
        Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
    }

    /// End it, if it has not ended.
    pub(super) fn kill(process: &OwnedFd) {
        // SAFETY: the descriptor is open for the call, and without details nothing is read of ours.
        unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                process.as_raw_fd(),
                libc::SIGKILL,
                std::ptr::null::<libc::siginfo_t>(),
                0,
            );
        }
    }
}

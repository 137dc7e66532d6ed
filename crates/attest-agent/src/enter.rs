//! Into a container that runs already: from the host, into its namespaces, and there through a login
//! shell's environment, as a user of the container would find it.

use std::fs::{self, File};
use std::io::{self, BufRead, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::process::{Command, ExitStatus, Stdio};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
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
/// has ended.
///
/// # Errors
/// There is no such process, it may not be entered, or nothing can be run there.
pub fn enter(stream: &OwnedFd) -> io::Result<ExitStatus> {
    let mut line = String::new();
    io::BufReader::new(io::stdin().take(LINE)).read_line(&mut line)?;
    let Ok(monitor) = line.trim().parse::<u32>() else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "nobody said which container to enter",
        ));
    };
    let own = File::open("/proc/self/exe")?;
    let leader = leader(monitor)?;
    join(leader)?;
    pass_on(own.as_fd())?;
    pass_on(stream.as_fd())?;
    let program = format!("/proc/self/fd/{}", own.as_raw_fd());
    let login = LOGIN.replace("@PATH@", crate::DEFAULT_PATH);
    let numbers = [own.as_raw_fd(), stream.as_raw_fd()].map(|number: RawFd| number.to_string());
    let mut shell = Command::new("/bin/sh");
    shell
        .args(["-c", &login, "sh", &program, ENTERED])
        .args(numbers);
    shell
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        // A process that is started now is in the container's namespace of processes, too.
        .status()
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

/// Let it stay open in programs that are started.
fn pass_on(descriptor: BorrowedFd<'_>) -> io::Result<()> {
    fcntl(descriptor, FcntlArg::F_SETFD(FdFlag::empty()))?;
    Ok(())
}

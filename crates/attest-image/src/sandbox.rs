//! Programs of the host that make parts of images. They end with attest, however it ends; and
//! where attest is root they live in mount and process namespaces of their own, so that they
//! leave no process and no mount either.
#![expect(unsafe_code, reason = "what a child does between fork(2) and exec(2)")]

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{PidfdFlags, Signal, getpid, pidfd_open, set_parent_process_death_signal};

/// What a child does when its namespaces are there, just before its program begins. It may only
/// make system calls: no memory is allocated there, for another thread may have held the lock.
pub(crate) type Furnish = Box<dyn FnMut() -> io::Result<()> + Send + Sync>;

/// A program that is killed, with all that it started, when this is dropped.
#[derive(Debug)]
pub(crate) struct Sandboxed {
    pub(crate) child: Child,
    /// The thread that started it, which the kernel watches in our stead. It ends with this.
    keeper: Option<(mpsc::Sender<()>, JoinHandle<()>)>,
}

impl Sandboxed {
    /// Start a program. `furnish` is called as root only.
    ///
    /// # Errors
    /// The program is missing, or the kernel refuses the namespaces.
    pub(crate) fn start(mut command: Command, furnish: Option<Furnish>) -> io::Result<Self> {
        let root = is_root();
        prepare(&mut command, root, furnish)?;
        let (started, start) = mpsc::channel();
        let (sender, ended) = mpsc::channel::<()>();
        let keeper = thread::Builder::new().name("sandbox".to_owned());
        let keeper = keeper.spawn(move || {
            // Only children of this thread are in the new namespace.
            let ready = if root {
                unshare(CloneFlags::CLONE_NEWPID).map_err(io::Error::from)
            } else {
                Ok(())
            };
            let child = ready.and_then(|()| command.spawn());
            let running = child.is_ok();
            // Pipes that the command held are closed, or their readers would wait for ever.
            drop(command);
            if started.send(child).is_ok() && running {
                // Nothing is ever sent: this waits for the sender to go.
                let _ = ended.recv();
            }
        })?;
        let child = start
            .recv()
            .unwrap_or_else(|_| Err(io::Error::other("the thread that starts it ended")))?;
        Ok(Self {
            child,
            keeper: Some((sender, keeper)),
        })
    }

    /// Wait for its end.
    pub(crate) fn wait(mut self) -> io::Result<ExitStatus> {
        self.child.wait()
    }
}

impl Drop for Sandboxed {
    fn drop(&mut self) {
        // It may have ended and been waited for; then nothing is killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some((sender, keeper)) = self.keeper.take() {
            drop(sender);
            let _ = keeper.join();
        }
    }
}

/// Whether this process may make namespaces, and files of any owner.
pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

fn prepare(command: &mut Command, root: bool, mut furnish: Option<Furnish>) -> io::Result<()> {
    // Readable when attest has ended.
    let parent = pidfd_open(getpid(), PidfdFlags::empty())?;
    let before = move || {
        die_with(&parent)?;
        if root {
            mounts_of_its_own()?;
            if let Some(furnish) = &mut furnish {
                furnish()?;
            }
        }
        Ok(())
    };
    // SAFETY: the closure only makes system calls, on what was allocated before the fork.
    unsafe { command.pre_exec(before) };
    Ok(())
}

fn die_with(parent: &OwnedFd) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // It may have died before that was said.
    let mut watched = [PollFd::from_borrowed_fd(parent.as_fd(), PollFlags::IN)];
    match poll(&mut watched, Some(&Timespec::default()))? {
        0 => Ok(()),
        _ => Err(io::ErrorKind::BrokenPipe.into()),
    }
}

fn mounts_of_its_own() -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    // The host's shows the processes of another namespace.
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), flags, none)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::process::Stdio;

    use super::*;

    fn shell(text: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", text]).stdout(Stdio::piped());
        command
    }

    #[test]
    fn what_is_dropped_is_gone_with_what_it_started() {
        let text = "while :; do read line < /dev/zero; done & echo begun; wait";
        let mut running = Sandboxed::start(shell(text), None).unwrap();
        let mut output = running.child.stdout.take().unwrap();
        let mut begun = [0; 6];
        output.read_exact(&mut begun).unwrap();
        if !is_root() {
            eprintln!("not looked into: without root what it started may stay");
            return;
        }
        drop(running);
        // The last that could write is gone.
        assert_eq!(output.read(&mut begun).unwrap(), 0);
    }

    #[test]
    fn its_processes_and_mounts_are_its_own() {
        if !is_root() {
            eprintln!("skipped: this needs root");
            return;
        }
        let own =
            "echo $$; test /proc/self -ef /proc/1 || echo other; exec 2>&1; mount -t tmpfs x /mnt";
        let mut running = Sandboxed::start(shell(own), None).unwrap();
        let mut output = String::new();
        let mut stdout = running.child.stdout.take().unwrap();
        stdout.read_to_string(&mut output).unwrap();
        assert!(running.wait().unwrap().success(), "{output}");
        assert!(output.starts_with("1\n"), "{output}");
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        assert!(!mounts.lines().any(|line| line.starts_with("x /mnt ")));
    }

    #[test]
    fn a_program_that_is_missing_is_an_error_and_no_thread_stays() {
        let error = Sandboxed::start(Command::new("no-such-program"), None).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}

//! Starting the program from memory, and seeing it end.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::sync::watch;

use crate::cgroup::Group;
use crate::words::Words;
use crate::{LabContent, LabError};

/// How much of the lab's stderr is kept, bytes: the end, where a panic is.
const LAST_WORDS: u64 = 4096;

/// The outer process of a lab, just started.
#[derive(Debug)]
pub(crate) struct Launched {
    pub(crate) pid: u32,
    pub(crate) init: Arc<Init>,
    pub(crate) control: OwnedFd,
    pub(crate) ended: watch::Receiver<Option<Gone>>,
}

/// The outer process has been waited for.
#[derive(Debug, Clone)]
pub(crate) struct Gone {
    pub(crate) status: Option<ExitStatus>,
    pub(crate) last_words: String,
}

/// Run the bytes of the static `attest-lab`.
pub(crate) fn launch(program: &'static [u8], content: LabContent) -> Result<Launched, LabError> {
    let step = |what| {
        move |errno: Errno| LabError::Start {
            what,
            source: errno.into(),
        }
    };
    let (control, inner) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(step("socketpair"))?;
    // So the kernel translates the process numbers of the lab to ours.
    rustix::net::sockopt::set_socket_passcred(&control, true).map_err(step("SO_PASSCRED"))?;
    // A file, not a pipe: nobody has to read it, and writing to it never blocks.
    let stderr = rustix::fs::memfd_create("attest-lab-stderr", MemfdFlags::CLOEXEC)
        .map_err(step("memfd_create"))?;
    let init = Arc::new(Init::default());
    let has_containers = match content {
        LabContent::Programs => false,
        LabContent::Containers => true,
        LabContent::Scripts(scripts) => scripts.containers,
    };
    let group = has_containers.then(group_name);
    let words = Words::of(content, group.clone()).line();
    let child = start(program, &words, &inner, &stderr)?;
    let pid = child.id();
    let (sender, ended) = watch::channel(None);
    // A thread of its own reaps it, whatever becomes of the runtime, so that no zombie is left.
    std::thread::Builder::new()
        .name("attest-lab-wait".into())
        .stack_size(64 * 1024)
        .spawn({
            let init = Arc::clone(&init);
            move || reap(child, group.as_deref(), &init, stderr.into(), &sender)
        })
        .map_err(|source| LabError::Start {
            what: "starting a thread",
            source,
        })?;
    Ok(Launched {
        pid,
        init,
        control,
        ended,
    })
}

/// A name for the control group of one more lab.
fn group_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    Group::name(COUNT.fetch_add(1, Ordering::Relaxed))
}

/// PID 1 of the lab, as soon as it is known.
#[derive(Debug, Default)]
pub(crate) struct Init(OnceLock<OwnedFd>);

impl Init {
    /// This is its number on the host; it runs.
    pub(crate) fn is(&self, pid: u32) {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let opened = pid.map(|pid| pidfd_open(pid, PidfdFlags::empty()));
        if let Some(Ok(pidfd)) = opened {
            let _ = self.0.set(pidfd);
        }
    }

    /// Wait for its end, and so for that of every process of the lab. One that nobody knows has
    /// started nothing.
    fn ended(&self) {
        let Some(pidfd) = self.0.get() else { return };
        let mut waits = [PollFd::new(pidfd, PollFlags::IN)];
        while poll(&mut waits, None) == Err(Errno::INTR) {}
    }
}

fn reap(
    mut child: Child,
    group: Option<&str>,
    init: &Init,
    mut stderr: File,
    ended: &watch::Sender<Option<Gone>>,
) {
    let status = child.wait().ok();
    // It removes its group itself, unless it was killed.
    if let Some(group) = group.and_then(|name| Group::named(name).ok()) {
        init.ended();
        group.remove();
    }
    let mut words = Vec::new();
    let length = stderr.seek(SeekFrom::End(0)).unwrap_or(0);
    let start = SeekFrom::Start(length.saturating_sub(LAST_WORDS));
    if stderr.seek(start).is_ok() {
        // Last words are a courtesy: what cannot be read is left out.
        let _ = stderr.take(LAST_WORDS).read_to_end(&mut words);
    }
    let last_words = String::from_utf8_lossy(&words).into_owned();
    let _ = ended.send(Some(Gone { status, last_words }));
}

fn start(
    program: &'static [u8],
    words: &[String],
    control: &OwnedFd,
    stderr: &OwnedFd,
) -> Result<Child, LabError> {
    let from_memory =
        kept_in_memory(program).and_then(|file| execute(&file, words, control, stderr));
    match from_memory {
        // vm.memfd_noexec=2 or a security module forbids it.
        Err(refused) if refused.kind() == io::ErrorKind::PermissionDenied => {
            let file = in_temporary_file(program).map_err(LabError::Exec)?;
            execute(&file, words, control, stderr).map_err(LabError::Exec)
        }
        other => other.map_err(LabError::Exec),
    }
}

fn execute(
    program: &OwnedFd,
    words: &[String],
    control: &OwnedFd,
    stderr: &OwnedFd,
) -> io::Result<Child> {
    Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()))
        .arg0("attest-lab")
        .args(words)
        .env_clear()
        .current_dir("/")
        // Ctrl-C in a terminal reaches the foreground process group: only the driver shall
        // see it.
        .process_group(0)
        .stdin(control.as_fd().try_clone_to_owned()?)
        .stdout(Stdio::null())
        .stderr(stderr.as_fd().try_clone_to_owned()?)
        .spawn()
}

/// The same sealed file for all labs of this process: to write it takes as long as to start it.
fn kept_in_memory(program: &'static [u8]) -> io::Result<Arc<OwnedFd>> {
    static KEPT: Mutex<Option<(&[u8], Arc<OwnedFd>)>> = Mutex::new(None);
    let mut kept = KEPT.lock().expect("nobody panics with it");
    if let Some((of, file)) = &*kept
        && std::ptr::eq(*of, program)
    {
        return Ok(Arc::clone(file));
    }
    let file = Arc::new(in_memory(program)?);
    *kept = Some((program, Arc::clone(&file)));
    Ok(file)
}

/// A sealed file in memory.
fn in_memory(program: &[u8]) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let memfd = match rustix::fs::memfd_create("attest-lab", flags | MemfdFlags::EXEC) {
        // Kernels before 6.3 do not know the flag, and make every memfd executable.
        Err(Errno::INVAL) => rustix::fs::memfd_create("attest-lab", flags),
        other => other,
    }?;
    let mut file = File::from(memfd);
    file.write_all(program)?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&file, seals)?;
    Ok(file.into())
}

/// A file without a name in the temporary directory, only for this user.
fn in_temporary_file(program: &[u8]) -> io::Result<OwnedFd> {
    let mut file = tempfile::tempfile()?;
    file.write_all(program)?;
    rustix::fs::fchmod(&file, rustix::fs::Mode::RWXU)?;
    // A file that is open for writing cannot be executed.
    let read_only = File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    Ok(read_only.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Something static enough to run on every host that runs tests.
    fn shell() -> Vec<u8> {
        std::fs::read("/bin/sh").expect("a shell")
    }

    fn runs(program: io::Result<OwnedFd>) {
        let null: OwnedFd = File::options()
            .read(true)
            .write(true)
            .open("/dev/null")
            .unwrap()
            .into();
        let mut child = execute(&program.unwrap(), &[], &null, &null).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }

    #[test]
    fn runs_from_memory() {
        runs(in_memory(&shell()));
    }

    #[test]
    fn runs_from_a_file_without_a_name() {
        runs(in_temporary_file(&shell()));
    }

    #[test]
    fn what_runs_cannot_be_changed() {
        let mut file = File::from(in_memory(b"program").unwrap());
        let refused = file.write_all(b"other").unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn bytes_that_are_no_program_are_refused() {
        assert!(matches!(
            launch(b"no program", LabContent::Programs),
            Err(LabError::Exec(_))
        ));
    }
}

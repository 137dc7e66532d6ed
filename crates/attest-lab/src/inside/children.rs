//! Programs of the lab: started, and reaped.

use std::collections::HashMap;
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::signal::SigSet;
use nix::unistd::Pid;
use rustix::process::{WaitOptions, wait};

use super::{listener, nspawn, wrapped};
use crate::wire::{Ended, Failure, Program};
use crate::words::Words;

/// The number of the first passed descriptor.
const FIRST: RawFd = 3;

/// The programs that run, with the requests that started them.
#[derive(Debug, Default)]
pub(super) struct Children {
    requests: HashMap<Pid, u32>,
    /// Whether the host's network is another than ours.
    has_way_out: bool,
    /// The name of the lab's control group, if it has one.
    group: Option<String>,
}

impl Children {
    pub(super) fn new(words: &Words) -> Self {
        Self {
            has_way_out: words.has_containers_of_scripts(),
            group: words.group.clone(),
            ..Self::default()
        }
    }

    /// Start a program. `fds`: its output if it has one, then those to pass.
    pub(super) fn spawn(
        &mut self,
        id: u32,
        program: &Program,
        fds: Vec<OwnedFd>,
    ) -> Result<Pid, Failure> {
        let (path, args) = self.command(id, program, fds.len())?;
        let environment = program
            .environment
            .iter()
            .map(|pair| text(pair))
            .collect::<Result<Vec<_>, _>>()?;
        let (actions, kept) = descriptors(program, fds)?;
        let attributes = attributes().map_err(|errno| Failure::new("set its attributes", errno))?;

        let directory = OsStr::from_bytes(&program.directory);
        // No other thread has to do with paths, and this one does nothing else meanwhile.
        std::env::set_current_dir(directory).map_err(|error| Failure {
            what: format!("its directory `{}` cannot be entered", directory.display()),
            errno: error.raw_os_error().unwrap_or(0),
        })?;
        let started = posix_spawn(path.as_c_str(), &actions, &attributes, &args, &environment);
        let back = std::env::set_current_dir("/");
        drop(kept);
        let pid =
            started.map_err(|errno| Failure::new("the kernel refused to execute it", errno))?;
        back.map_err(|error| Failure::from_error(&error))?;
        self.requests.insert(pid, id);
        Ok(pid)
    }

    /// The path and the arguments, name included. Some programs are started by way of ourselves.
    fn command(
        &self,
        id: u32,
        program: &Program,
        fds: usize,
    ) -> Result<(CString, Vec<CString>), Failure> {
        let mut words = Vec::new();
        if let Some(group) = self.group.as_ref().filter(|_| program.own_group) {
            words.extend([
                wrapped::IN_GROUP.to_owned(),
                format!("{group}/program-{id}"),
            ]);
        }
        if program.listens {
            let passed = fds.saturating_sub(own_descriptors(program));
            words.extend([listener::AS_LISTENER.to_owned(), passed.to_string()]);
        }
        if program.on_host_network && self.has_way_out {
            words.push(nspawn::ON_HOST_NETWORK.to_owned());
        }
        let path = text(&program.path)?;
        let args = program.args.iter().map(|arg| text(arg));
        if words.is_empty() {
            return Ok((path, args.collect::<Result<_, _>>()?));
        }
        let words = words.iter().map(|word| text(word.as_bytes()));
        let all = std::iter::once(text(b"attest-lab"))
            .chain(words)
            .chain(std::iter::once(Ok(path)))
            .chain(args);
        Ok((
            text(wrapped::SELF.as_bytes())?,
            all.collect::<Result<_, _>>()?,
        ))
    }

    /// A program that has ended, and the request that started it; `None` when there is none
    /// now. Orphans that fell to us are reaped on the way.
    pub(super) fn reap(&mut self) -> Option<(u32, Ended)> {
        loop {
            let (pid, status) = match wait(WaitOptions::NOHANG) {
                Ok(child) => child?,
                Err(rustix::io::Errno::INTR) => continue,
                // There are no children.
                Err(_) => return None,
            };
            let ended = match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => Ended::Code(code),
                (None, signal) => Ended::Signal(signal.unwrap_or_default()),
            };
            if let Some(id) = self
                .requests
                .remove(&Pid::from_raw(pid.as_raw_nonzero().get()))
            {
                return Some((id, ended));
            }
        }
    }
}

/// Whether it has a stdin, a stdout, a stderr of its own.
fn standard(program: &Program) -> [bool; 3] {
    [program.has_input, program.has_output, program.has_errors]
}

fn own_descriptors(program: &Program) -> usize {
    standard(program).into_iter().filter(|has| *has).count()
}

fn text(bytes: &[u8]) -> Result<CString, Failure> {
    CString::new(bytes).map_err(|_| {
        Failure::new(
            "path, arguments and environment must not hold a zero byte",
            Errno::EINVAL,
        )
    })
}

/// stdin, stdout and stderr as far as the program has them, else `/dev/null`, the others in order
/// from 3. Everything else of ours is closed by exec. The returned descriptors must stay open
/// until then.
fn descriptors(
    program: &Program,
    fds: Vec<OwnedFd>,
) -> Result<(PosixSpawnFileActions, Vec<OwnedFd>), Failure> {
    let failed = |errno| Failure::new("place its descriptors", errno);
    let null = File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .map_err(|error| Failure {
            what: "open /dev/null".into(),
            errno: error.raw_os_error().unwrap_or(0),
        })?;
    let own = own_descriptors(program);
    if own > fds.len() {
        return Err(failed(Errno::EBADF));
    }
    // Out of the way first: a source must not lie where another goes.
    let count = RawFd::try_from(fds.len()).map_err(|_| failed(Errno::EMFILE))?;
    let above = |fd: &dyn AsFd| {
        rustix::io::fcntl_dupfd_cloexec(fd.as_fd(), FIRST + count)
            .map_err(|errno| failed(Errno::from_raw(errno.raw_os_error())))
    };
    let null = above(&null)?;
    let mut kept = fds
        .iter()
        .map(|fd| above(fd))
        .collect::<Result<Vec<_>, _>>()?;
    drop(fds);

    let mut actions = PosixSpawnFileActions::init().map_err(failed)?;
    let (mut given, passed) = (kept[..own].iter(), &kept[own..]);
    let [input, output, errors] = standard(program).map(|has| has.then(|| given.next()).flatten());
    let output = output.unwrap_or(&null);
    let mut place = |fd: &OwnedFd, number| actions.add_dup2(fd.as_raw_fd(), number).map_err(failed);
    place(input.unwrap_or(&null), 0)?;
    place(output, 1)?;
    place(errors.unwrap_or(output), 2)?;
    for (fd, number) in passed.iter().zip(FIRST..) {
        place(fd, number)?;
    }
    kept.push(null);
    Ok((actions, kept))
}

/// Its own process group; no signal blocked or ignored.
fn attributes() -> Result<PosixSpawnAttr, Errno> {
    let mut attributes = PosixSpawnAttr::init()?;
    attributes.set_flags(
        PosixSpawnFlags::POSIX_SPAWN_SETPGROUP
            | PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF
            | PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK,
    )?;
    attributes.set_pgroup(Pid::from_raw(0))?;
    attributes.set_sigdefault(&SigSet::all())?;
    attributes.set_sigmask(&SigSet::empty())?;
    Ok(attributes)
}

//! Starting programs: by `posix_spawn` where nothing else is asked for, which does not copy the
//! agent's page tables.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use attest_protocol::message::{Exec, Failure, FailureCode, Program, TerminalSize};
use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::unistd::AccessFlags;

use crate::failure::{failure, os};
use crate::pipes::{self, PipeReader, PipeWriter};
use crate::session::Agent;
use crate::simple;
use crate::users::{self, User};

/// Where programs are searched when no environment says otherwise: what Debian, Fedora and
/// NixOS guests have.
pub const DEFAULT_PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/run/current-system/sw/bin";

/// A program that was started.
#[derive(Debug)]
pub(crate) struct Spawned {
    pub(crate) pid: u32,
    pub(crate) stdin: Option<Input>,
    pub(crate) stdout: Option<PipeReader>,
    pub(crate) stderr: Option<PipeReader>,
    /// The host's end of its pseudo-terminal.
    pub(crate) terminal: Option<OwnedFd>,
}

/// What feeds a program.
pub(crate) type Input = PipeWriter;

/// The shell for shell programs: bash where the guest has one.
pub(crate) fn shell(agent: &Agent) -> &str {
    let inherited = agent.role.inherited();
    if let Some(shell) = inherited.and_then(|inherited| inherited.shell.as_deref()) {
        return shell;
    }
    let shells = [
        "/bin/bash",
        "/usr/bin/bash",
        "/run/current-system/sw/bin/bash",
    ];
    shells
        .into_iter()
        .find(|path| std::path::Path::new(path).exists())
        .unwrap_or("/bin/sh")
}

/// What a shell program is prefixed with.
pub(crate) const STRICT: &str = "set -euo pipefail; ";

/// The environment of a program: the defaults, then the user's, then its own.
pub(crate) fn environment(
    agent: &Agent,
    user: Option<&User>,
    exec: &Exec,
) -> Vec<(OsString, OsString)> {
    let mut environment = default_environment(agent, user);
    for (name, value) in &exec.environment {
        set(
            &mut environment,
            OsStr::from_bytes(name),
            OsStr::from_bytes(value),
        );
    }
    environment
}

pub(crate) fn default_environment(agent: &Agent, user: Option<&User>) -> Vec<(OsString, OsString)> {
    let inherited = agent.role.inherited();
    let mut environment =
        inherited.map_or_else(Vec::new, |inherited| inherited.environment.clone());
    let (name, home, shell) = match user {
        Some(user) => (user.name.as_str(), user.home.as_str(), user.shell.as_str()),
        None => ("root", "/root", "/bin/sh"),
    };
    if inherited.is_none() {
        set(
            &mut environment,
            OsStr::new("PATH"),
            OsStr::new(DEFAULT_PATH),
        );
    }
    if inherited.is_none() || user.is_some() {
        for (key, value) in [
            ("HOME", home),
            ("USER", name),
            ("LOGNAME", name),
            ("SHELL", shell),
        ] {
            set(&mut environment, OsStr::new(key), OsStr::new(value));
        }
    }
    for (key, value) in &*agent.environment.borrow() {
        set(&mut environment, OsStr::new(key), OsStr::new(value));
    }
    environment
}

fn set(environment: &mut Vec<(OsString, OsString)>, name: &OsStr, value: &OsStr) {
    environment.retain(|(known, _)| known != name);
    environment.push((name.to_owned(), value.to_owned()));
}

/// Where a program runs when it does not say.
pub(crate) fn default_directory<'a>(agent: &'a Agent, user: Option<&'a User>) -> &'a Path {
    if let (Some(inherited), None) = (agent.role.inherited(), user) {
        return &inherited.directory;
    }
    let home = user.map_or("/root", |user| user.home.as_str());
    let home = Path::new(home);
    if home.is_dir() { home } else { Path::new("/") }
}

pub(crate) fn spawn(agent: &Agent, exec: &Exec) -> Result<Spawned, Failure> {
    let user = exec.user.as_deref().map(users::find).transpose()?;
    let argv = argv(agent, exec)?;
    let environment = environment(agent, user.as_ref(), exec);
    let program = match user {
        // The search is that user's, after the fork that this takes anyway.
        Some(_) => argv[0].clone(),
        None => found(&argv[0], &environment),
    };
    let mut command = Command::new(program);
    command
        .arg0(&argv[0])
        .args(&argv[1..])
        .env_clear()
        .envs(environment);
    match &exec.directory {
        Some(directory) => command.current_dir(OsStr::from_bytes(directory)),
        None => command.current_dir(default_directory(agent, user.as_ref())),
    };
    if let Some(user) = user {
        unsafe_parts::become_user(&mut command, user);
    }
    let started = match exec.pty {
        Some(size) => on_terminal(command, size),
        None => on_pipes(command, exec.stdin),
    };
    started.map_err(|error| cannot_start(&argv[0], exec, &error))
}

/// The program's path, searched as `execvp` does. By name alone, and with a `PATH` of its own, it
/// would be searched after a fork, which copies the agent's page tables: most of what a small
/// program costs under TCG.
pub(crate) fn found(name: &OsStr, environment: &[(OsString, OsString)]) -> OsString {
    if name.as_bytes().contains(&b'/') {
        return name.to_owned();
    }
    let path = environment.iter().find(|(known, _)| known == "PATH");
    let directories = path.map_or(OsStr::new(DEFAULT_PATH), |(_, path)| path);
    let fits =
        |path: &PathBuf| nix::unistd::access(path, AccessFlags::X_OK).is_ok() && path.is_file();
    let found = std::env::split_paths(directories)
        // What is relative begins where the program will be, and we are not.
        .take_while(|directory| directory.is_absolute())
        .map(|directory| directory.join(name))
        .find(fits);
    // What is nowhere is for the kernel to refuse.
    found.map_or_else(|| name.to_owned(), PathBuf::into_os_string)
}

/// Start a shell command that needs no shell; `None` where it takes one, also to say why it cannot be started.
pub(crate) fn without_shell(agent: &Agent, exec: &Exec) -> Option<Spawned> {
    let Program::Shell(text) = &exec.program else {
        return None;
    };
    if exec.user.is_some() || exec.pty.is_some() {
        return None;
    }
    let words = simple::words(text)?;
    let mut environment = environment(agent, None, exec);
    let program = simple::program(&words, &environment, |name| found(name, &environment))?;
    let directory = match &exec.directory {
        Some(directory) => Path::new(OsStr::from_bytes(directory)),
        None => default_directory(agent, None),
    };
    // As a shell has it that became its last program.
    let has = |name: &str| environment.iter().any(|(known, _)| known == name);
    if !has("SHLVL") {
        set(&mut environment, OsStr::new("SHLVL"), OsStr::new("0"));
    }
    set(&mut environment, OsStr::new("PWD"), directory.as_os_str());
    set(&mut environment, OsStr::new("_"), &program);
    let mut command = Command::new(program);
    command
        .arg0(&words[0])
        .args(&words[1..])
        .env_clear()
        .envs(environment)
        .current_dir(directory);
    on_pipes(command, exec.stdin).ok()
}

fn cannot_start(program: &OsStr, exec: &Exec, error: &io::Error) -> Failure {
    let program = program.to_string_lossy();
    let directory = exec
        .directory
        .as_deref()
        .map(|path| OsStr::from_bytes(path).to_string_lossy().into_owned());
    match directory {
        Some(directory) if !std::path::Path::new(&directory).is_dir() => failure(
            FailureCode::NotFound,
            format!("the working directory {directory} does not exist"),
        ),
        _ => os(format!("`{program}` cannot be started"), error),
    }
}

fn argv(agent: &Agent, exec: &Exec) -> Result<Vec<OsString>, Failure> {
    let words: Vec<OsString> = match &exec.program {
        Program::Argv(argv) => argv
            .iter()
            .map(|word| OsStr::from_bytes(word).to_owned())
            .collect(),
        Program::Shell(command) => {
            let mut text = OsString::from(STRICT);
            text.push(OsStr::from_bytes(command));
            vec![shell(agent).into(), "-c".into(), text]
        }
    };
    match words.first() {
        None => Err(failure(FailureCode::Invalid, "a program needs a name")),
        Some(_) if words.iter().any(|word| word.as_bytes().contains(&0)) => Err(failure(
            FailureCode::Invalid,
            "an argument with a NUL byte cannot be given to a program",
        )),
        Some(_) => Ok(words),
    }
}

fn on_pipes(mut command: Command, with_stdin: bool) -> io::Result<Spawned> {
    // Its own process group, so that a time-out or signal reaches all of it.
    command.process_group(0);
    let stdin = if with_stdin {
        let (reader, writer) = pipes::to_program()?;
        command.stdin(Stdio::from(reader));
        Some(writer)
    } else {
        command.stdin(Stdio::null());
        None
    };
    let (stdout, stdout_end) = pipes::from_program()?;
    let (stderr, stderr_end) = pipes::from_program()?;
    command
        .stdout(Stdio::from(stdout_end))
        .stderr(Stdio::from(stderr_end));
    let child = command.spawn()?;
    Ok(Spawned {
        pid: child.id(),
        stdin,
        stdout: Some(stdout),
        stderr: Some(stderr),
        terminal: None,
    })
}

fn on_terminal(mut command: Command, size: TerminalSize) -> io::Result<Spawned> {
    let OpenptyResult { master, slave } = openpty(&winsize(size), None)?;
    command
        .stdin(slave.try_clone()?)
        .stdout(slave.try_clone()?)
        .stderr(slave);
    unsafe_parts::lead_terminal(&mut command);
    let child = command.spawn()?;
    drop(command);
    let reader = PipeReader::new(master.try_clone()?)?;
    let writer = PipeWriter::new(master.try_clone()?)?;
    Ok(Spawned {
        pid: child.id(),
        stdin: Some(writer),
        stdout: Some(reader),
        stderr: None,
        terminal: Some(master),
    })
}

fn winsize(size: TerminalSize) -> Winsize {
    Winsize {
        ws_row: size.rows,
        ws_col: size.columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

/// Tell a pseudo-terminal its new size; its foreground processes get SIGWINCH.
pub(crate) fn resize(terminal: &impl AsFd, size: TerminalSize) {
    let terminal: BorrowedFd<'_> = terminal.as_fd();
    unsafe_parts::set_size(terminal.as_raw_fd(), winsize(size));
}

mod unsafe_parts {
    #![expect(
        unsafe_code,
        reason = "what happens between fork and exec, and one ioctl"
    )]

    use std::io;
    use std::os::fd::RawFd;
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    use nix::pty::Winsize;
    use nix::unistd::{setgid, setgroups, setsid, setuid};

    use crate::users::User;

    nix::ioctl_write_int_bad!(set_controlling_terminal, nix::libc::TIOCSCTTY);
    nix::ioctl_write_ptr_bad!(set_window_size, nix::libc::TIOCSWINSZ, Winsize);

    pub(super) fn become_user(command: &mut Command, user: User) {
        let become_it = move || -> io::Result<()> {
            setgroups(&user.groups)?;
            setgid(user.gid)?;
            setuid(user.uid)?;
            Ok(())
        };
        // SAFETY: the closure only makes three system calls on memory that was allocated before
        // the fork: it is safe after a fork of a program with threads.
        unsafe { command.pre_exec(become_it) };
    }

    pub(super) fn lead_terminal(command: &mut Command) {
        let lead = || -> io::Result<()> {
            setsid()?;
            // SAFETY: descriptor 0 is the terminal's; the argument is a number.
            unsafe { set_controlling_terminal(0, 0) }?;
            Ok(())
        };
        // SAFETY: the closure only makes two system calls.
        unsafe { command.pre_exec(lead) };
    }

    pub(super) fn set_size(terminal: RawFd, size: Winsize) {
        // SAFETY: the descriptor is open for the call, and the kernel only reads the structure.
        // A terminal whose program is gone needs no size.
        let _ = unsafe { set_window_size(terminal, &raw const size) };
    }
}

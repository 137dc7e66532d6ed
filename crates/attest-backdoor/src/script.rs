//! Requests as lines for a shell.

use std::time::Duration;

use attest_protocol::message::{Exec, Failure, FailureCode, Program};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use crate::answer::PIECE;
use crate::failure::{failure, unsupported};
use crate::quote::quote;
use crate::shell::Line;

/// What the shell may take beyond a command's own time-out, before it is said to be stuck: under
/// TCG on a busy host, `timeout` has been seen to come late by seconds.
const GRACE: Duration = Duration::from_secs(10);
/// Between SIGTERM and SIGKILL when the time is out, in seconds, as an agent has it.
const KILL_AFTER: u32 = 1;
/// Longest program for a command line: Linux takes 128 KiB in one argument (`MAX_ARG_STRLEN`), and
/// a shell reads its lines byte by byte from a terminal.
const LONGEST: usize = 16 * 1024;
/// Reads a program that is too long for an argument.
const LONG: &[u8] = b"eval \"$(cat <&3)\" 3<&-";

/// What the guest has, as far as lines depend on it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tools {
    /// `timeout` takes parts of seconds.
    pub(crate) fractions: bool,
    /// `timeout` takes `-k`.
    pub(crate) kills: bool,
}

/// Environment of commands, beside the shell's own.
pub(crate) type Environment = Vec<(String, String)>;

/// What a command reads from a file, which goes away when it begins.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Feed<'a> {
    Nothing,
    /// Its stdin.
    Stdin(&'a [u8]),
    /// Itself.
    Program(&'a [u8]),
}

/// The program of a command, with its user, directory and environment.
pub(crate) struct Command<'a> {
    exec: &'a Exec,
    program: Vec<u8>,
}

impl<'a> Command<'a> {
    pub(crate) fn new(exec: &'a Exec, environment: &Environment) -> Result<Self, Failure> {
        if exec.pty.is_some() {
            return Err(unsupported("a command on a pseudo-terminal"));
        }
        let program = program(exec, environment)?;
        if program.contains(&0) {
            return Err(failure(
                FailureCode::Invalid,
                "a command with a NUL byte cannot be given to a shell",
            ));
        }
        Ok(Self { exec, program })
    }

    /// The program, when it is too long for a line.
    pub(crate) fn long(&self) -> Option<&[u8]> {
        Some(&*self.program).filter(|program| program.len() > LONGEST)
    }

    /// The line that runs it.
    pub(crate) fn line(&self, feed: Feed<'_>, tools: Tools) -> Line {
        let limit = self.exec.timeout_ms.map(Duration::from_millis);
        let mut command = limit.map_or_else(Vec::new, |limit| timeout(limit, tools).into_bytes());
        command.extend_from_slice(b"bash -c ");
        command.extend_from_slice(&match feed {
            Feed::Program(_) => quote(LONG),
            Feed::Nothing | Feed::Stdin(_) => quote(&self.program),
        });
        let opened = match feed {
            Feed::Nothing => None,
            Feed::Stdin(file) => Some((file, b" <&9 9<&-".as_slice())),
            Feed::Program(file) => Some((file, b" 3<&9 9<&- </dev/null".as_slice())),
        };
        let text = match opened {
            None => answered(&command),
            Some((file, words)) => {
                let file = quote(file);
                let parts = [
                    b"exec 9<".as_slice(),
                    &file,
                    b"; rm -f -- ",
                    &file,
                    b"; exec ",
                    &command,
                    words,
                ];
                answered(&[b"eval ".as_slice(), &quote(&parts.concat())].concat())
            }
        };
        Line {
            text,
            input: Bytes::new(),
            name: self.exec.program.text(),
            limit: limit.map(|limit| limit + Duration::from_secs(KILL_AFTER.into()) + GRACE),
        }
    }
}

/// A line of attest's own, run by a fork of the shell itself, within a limit of the shell's: starting
/// another bash is most of what a small script costs.
pub(crate) fn own(script: &[u8], name: impl Into<String>, limit: Duration) -> Line {
    Line {
        text: answered(&[b"eval ".as_slice(), &quote(script)].concat()),
        input: Bytes::new(),
        name: name.into(),
        limit: Some(limit + GRACE),
    }
}

/// As [`own`], with a stdin, and for a script that prints little. What it reads follows the line, as
/// base64, for a terminal may take other bytes for orders. All of it is taken from the shell's stdin,
/// also where the script does not want it.
pub(crate) fn fed(script: &[u8], stdin: &[u8], name: impl Into<String>, limit: Duration) -> Line {
    let input = STANDARD.encode(stdin);
    let text = [
        format!("head -c {} | base64 -d | ( (", input.len()).as_bytes(),
        script,
        b"); s=$?; cat >/dev/null; exit $s) | base64 -w 0; printf '\\n%s\\n' ${PIPESTATUS[2]}",
    ]
    .concat();
    Line {
        text,
        input: Bytes::from(input),
        name: name.into(),
        limit: Some(limit + GRACE),
    }
}

/// Runs the command in its words, whose stdin is empty, and answers: base64 of what it prints, in one
/// line, then its exit status. In one round trip, but for what is longer than a piece: after each whole
/// one the shell waits for a line of ours. QEMU drops what a guest writes to its console while nobody
/// takes it, and a piece has room in the socket between, whatever the host does.
///
/// It is a function of the shell's, so that lines are short: the shell reads them byte by byte, which
/// under TCG is a good part of what a small command costs.
pub(crate) fn function() -> String {
    format!(
        "{FUNCTION}() {{ {{ \"$@\" </dev/null 8<&- | base64 -w 0 | (while read -r -N {PIECE} l; do \
         printf %s \"$l\"; read -r a <&8; done; printf %s \"$l\"); \
         printf '\\n%s\\n' ${{PIPESTATUS[0]}}; }} 8<&0; }}"
    )
}

/// What it is called: nothing that a guest has.
const FUNCTION: &str = "_at";

/// A command with its answer.
fn answered(command: &[u8]) -> Vec<u8> {
    [FUNCTION.as_bytes(), b" ", command].concat()
}

fn timeout(limit: Duration, tools: Tools) -> String {
    let seconds = if tools.fractions && limit.subsec_millis() > 0 {
        format!("{}.{:03}", limit.as_secs(), limit.subsec_millis())
    } else {
        // 0 is no limit at all.
        let whole = limit.as_secs() + u64::from(limit.subsec_nanos() > 0);
        whole.max(1).to_string()
    };
    if tools.kills {
        format!("timeout -k {KILL_AFTER} {seconds} ")
    } else {
        format!("timeout {seconds} ")
    }
}

/// The program that bash runs, with its user, directory and environment.
fn program(exec: &Exec, environment: &Environment) -> Result<Vec<u8>, Failure> {
    let mut inner = Vec::new();
    for (name, value) in environment {
        export(&mut inner, name.as_bytes(), value.as_bytes())?;
    }
    for (name, value) in &exec.environment {
        export(&mut inner, name, value)?;
    }
    if let Some(directory) = &exec.directory {
        inner.extend_from_slice(b"cd -- ");
        inner.extend_from_slice(&quote(directory));
        inner.extend_from_slice(b" || exit 126; ");
    }
    match &exec.program {
        Program::Shell(command) => {
            inner.extend_from_slice(b"set -euo pipefail; ");
            inner.extend_from_slice(command);
        }
        Program::Argv(argv) => {
            if argv.is_empty() {
                return Err(failure(FailureCode::Invalid, "a program needs a name"));
            }
            inner.extend_from_slice(b"exec --");
            for word in argv {
                inner.push(b' ');
                inner.extend_from_slice(&quote(word));
            }
        }
    }
    let Some(user) = &exec.user else {
        return Ok(inner);
    };
    Ok(as_user(user, &inner))
}

/// By whatever changes users in the guest. In the user's home, unless the program says otherwise.
fn as_user(user: &str, program: &[u8]) -> Vec<u8> {
    let user = quote(user.as_bytes());
    let mut inner = b"cd 2>/dev/null || cd /; ".to_vec();
    inner.extend_from_slice(program);
    let program = quote(&inner);
    let mut text = b"if command -v runuser >/dev/null; then exec runuser -u ".to_vec();
    text.extend_from_slice(&user);
    text.extend_from_slice(b" -- env HOME=\"$(getent passwd ");
    text.extend_from_slice(&user);
    text.extend_from_slice(b" | cut -d: -f6)\" USER=");
    text.extend_from_slice(&user);
    text.extend_from_slice(b" LOGNAME=");
    text.extend_from_slice(&user);
    text.extend_from_slice(b" bash -c ");
    text.extend_from_slice(&program);
    text.extend_from_slice(b"; else exec su -s \"$(command -v bash)\" ");
    text.extend_from_slice(&user);
    text.extend_from_slice(b" -c ");
    text.extend_from_slice(&program);
    text.extend_from_slice(b"; fi");
    text
}

fn export(text: &mut Vec<u8>, name: &[u8], value: &[u8]) -> Result<(), Failure> {
    let valid = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let starts_well = name.first().is_some_and(|byte| !byte.is_ascii_digit());
    if !starts_well || !name.iter().all(valid) {
        return Err(failure(
            FailureCode::Unsupported,
            format!(
                "a shell cannot set the variable `{}`",
                String::from_utf8_lossy(name)
            ),
        ));
    }
    text.extend_from_slice(b"export ");
    text.extend_from_slice(name);
    text.push(b'=');
    text.extend_from_slice(&quote(value));
    text.extend_from_slice(b"; ");
    Ok(())
}

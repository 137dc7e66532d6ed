//! Requests as lines for a shell.

use std::time::Duration;

use attest_protocol::message::{Exec, Failure, FailureCode, Program};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

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
/// Reads a program that is too long for an argument, from its stdin.
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

/// A line that runs a command. `stdin` is what the command reads.
pub(crate) fn line(
    exec: &Exec,
    environment: &Environment,
    stdin: Option<&[u8]>,
    tools: Tools,
) -> Result<Line, Failure> {
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
    let limit = exec.timeout_ms.map(Duration::from_millis);
    let name = exec.program.text();
    let is_long = program.len() > LONGEST;
    if is_long && stdin.is_some() {
        return Err(failure(
            FailureCode::Unsupported,
            format!(
                "`{name}` has more than {LONGEST} bytes and a stdin, which is too much for a root shell: put it into a file"
            ),
        ));
    }
    let mut text = Vec::new();
    let command = match limit {
        Some(limit) => format!("{}bash -c ", timeout(limit, tools)),
        None => "bash -c ".to_owned(),
    };
    let (input, status) = if is_long {
        feed(&mut text, &program, |text| {
            text.extend_from_slice(command.as_bytes());
            text.extend_from_slice(&quote(LONG));
            text.extend_from_slice(b" 3<&0 </dev/null");
        })
    } else if let Some(stdin) = stdin {
        feed(&mut text, stdin, |text| {
            text.extend_from_slice(command.as_bytes());
            text.extend_from_slice(&quote(&program));
        })
    } else {
        text.extend_from_slice(command.as_bytes());
        text.extend_from_slice(&quote(&program));
        text.extend_from_slice(b" </dev/null");
        (Bytes::new(), 0)
    };
    answer(&mut text, status);
    Ok(Line {
        text,
        input,
        name,
        limit: limit.map(|limit| limit + Duration::from_secs(KILL_AFTER.into()) + GRACE),
    })
}

/// A line of attest's own, run by a fork of the shell itself, within a limit of the shell's: starting
/// another bash is most of what a small script costs.
pub(crate) fn own(script: &[u8], name: impl Into<String>, limit: Duration) -> Line {
    let mut text = Vec::new();
    subshell(&mut text, script);
    text.extend_from_slice(b" </dev/null");
    answer(&mut text, 0);
    Line {
        text,
        input: Bytes::new(),
        name: name.into(),
        limit: Some(limit + GRACE),
    }
}

/// As [`own`], with a stdin.
pub(crate) fn fed(script: &[u8], stdin: &[u8], name: impl Into<String>, limit: Duration) -> Line {
    let mut text = Vec::new();
    let (input, status) = feed(&mut text, stdin, |text| subshell(text, script));
    answer(&mut text, status);
    Line {
        text,
        input,
        name: name.into(),
        limit: Some(limit + GRACE),
    }
}

/// The space is for a parenthesis before, which would else begin arithmetic.
fn subshell(text: &mut Vec<u8>, script: &[u8]) {
    text.extend_from_slice(b" (");
    text.extend_from_slice(script);
    text.push(b')');
}

/// How the answer is asked for: base64 of what is printed, in one line, then the status of this
/// part of the pipeline. In one round trip, and with no program but `base64`.
fn answer(text: &mut Vec<u8>, part: u8) {
    text.extend_from_slice(b" | base64 -w 0; printf '\\n%s\\n' ${PIPESTATUS[");
    text.extend_from_slice(part.to_string().as_bytes());
    text.extend_from_slice(b"]}");
}

/// Feed bytes to a command. They follow the line, as base64, for a terminal may take other bytes
/// for orders. All are taken from the shell's stdin, also where the command does not want them.
fn feed(text: &mut Vec<u8>, bytes: &[u8], command: impl FnOnce(&mut Vec<u8>)) -> (Bytes, u8) {
    let input = STANDARD.encode(bytes);
    text.extend_from_slice(format!("head -c {} | base64 -d | (", input.len()).as_bytes());
    command(text);
    text.extend_from_slice(b"; s=$?; cat >/dev/null; exit $s)");
    (Bytes::from(input), 2)
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

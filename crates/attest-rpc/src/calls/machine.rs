//! Machines: their life, commands, waits, copies, consoles.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use attest::events::MachineEnding;
use attest::{Command, Error, ExitStatus, Machine};
use bytes::Bytes;

use crate::calls::unit_by_shell;
use crate::error::{ErrorKind, RpcError};
use crate::session::Session;
use crate::table::Reply;
use crate::types::{
    Connect, Connected, Console, ConsolePart, Copied, Copy, Ended, Exec, Executed, MachineState,
    Met, Nothing, Start, StartedInfo, StderrUse, Target, Unit, UnitInfo, Wait, WaitEnded, WaitUnit,
    limit,
};

/// The most of a command's stdout, or stderr, that is kept, bytes.
const MOST_OUTPUT: usize = 1024 * 1024 * 1024;
/// What `timeout` of coreutils ends with when it had to end its command.
const TIMED_OUT: i32 = 124;
/// What a shell adds to the number of a signal.
const SIGNALLED: i32 = 128;

type Input = Vec<Bytes>;

pub(crate) async fn start(
    _: Arc<Session>,
    machine: Machine,
    start: Start,
    _: Input,
) -> Result<StartedInfo, RpcError> {
    let started = machine.start_with(start.allow_reboot).await?;
    let pid = machine.vmm_pid().await;
    Ok(StartedInfo { pid, started })
}

pub(crate) async fn connect(
    _: Arc<Session>,
    machine: Machine,
    Connect { after }: Connect,
    _: Input,
) -> Result<Connected, RpcError> {
    let after = after.as_deref().map(token).transpose()?;
    let session = machine.connect(after).await?;
    Ok(Connected {
        token: written(session.token),
        agent: session.is_agent,
    })
}

/// Sixteen hexadecimal digits: JSON's numbers have 53 bits in many languages.
fn written(token: u64) -> String {
    format!("{token:016x}")
}

fn token(written: &str) -> Result<u64, RpcError> {
    u64::from_str_radix(written, 16)
        .map_err(|_| RpcError::usage(format!("`{written}` is no token of a session")))
}

pub(crate) async fn state(
    _: Arc<Session>,
    machine: Machine,
    _: Nothing,
    _: Input,
) -> Result<MachineState, RpcError> {
    let booted = machine.is_running();
    let pid = if booted {
        machine.vmm_pid().await
    } else {
        None
    };
    let session = machine.connection();
    Ok(MachineState {
        booted,
        pid,
        ready: session.is_some(),
        token: session.map(|session| written(session.token)),
    })
}

pub(crate) async fn exec(
    session: Arc<Session>,
    machine: Machine,
    exec: Exec,
    input: Input,
) -> Result<Reply<Executed>, RpcError> {
    let detach = exec.detach;
    let command = command(&machine, exec, input)?;
    if detach {
        // Whatever becomes of it: nobody asks.
        session.detach(async move { drop(command.await) });
        return Ok(Reply::from(executed(
            ExitStatus::Code(0),
            false,
            Duration::ZERO,
        )));
    }
    match command.await {
        Ok(output) => Ok(Reply {
            result: executed(output.status, false, output.duration),
            attachments: vec![output.stdout.into(), output.stderr.into()],
        }),
        Err(Error::Command(failure)) if failure.timed_out.is_some() => Ok(Reply {
            result: executed(failure.status, true, failure.timed_out.unwrap_or_default()),
            attachments: vec![failure.stdout.into(), failure.stderr.into()],
        }),
        Err(error) => Err(error.into()),
    }
}

fn executed(status: ExitStatus, timed_out: bool, took: Duration) -> Executed {
    let signal = match status {
        ExitStatus::Signal(signal) => Some(signal),
        ExitStatus::Code(_) => None,
    };
    Executed {
        code: match status {
            _ if timed_out => TIMED_OUT,
            ExitStatus::Code(code) => code,
            ExitStatus::Signal(signal) => SIGNALLED + signal,
        },
        signal,
        timed_out,
        seconds: took.into(),
    }
}

fn command(machine: &Machine, exec: Exec, input: Input) -> Result<Command, RpcError> {
    let mut command = match (exec.command, exec.argv) {
        (Some(line), None) => {
            without_nul(machine, &line)?;
            machine.shell(line)
        }
        (None, Some(argv)) if !argv.is_empty() => {
            for word in &argv {
                without_nul(machine, word)?;
            }
            machine.exec(argv)
        }
        _ => {
            return Err(RpcError::Params(
                "machine.exec: give `command`, or an `argv` with a program".to_owned(),
            ));
        }
    };
    command = match exec.timeout {
        Some(_) => command.timeout(limit(exec.timeout)),
        None => command.without_timeout(),
    };
    command = command.output_limit(MOST_OUTPUT).ignore_status();
    for (name, value) in exec.environment {
        command = command.env(name, value);
    }
    if let Some(directory) = exec.directory {
        command = command.directory(directory);
    }
    if let Some(user) = exec.user {
        command = command.user(user);
    }
    if exec.stderr == StderrUse::Console {
        command = command.errors_on_console();
    }
    match (exec.stdin, input.into_iter().next()) {
        (true, Some(bytes)) => Ok(command.stdin(bytes)),
        (false, None) => Ok(command),
        _ => Err(RpcError::Params(
            "machine.exec: `stdin` goes with one attachment".to_owned(),
        )),
    }
}

fn without_nul(machine: &Machine, text: &str) -> Result<(), RpcError> {
    match text.find('\0') {
        None => Ok(()),
        Some(at) => Err(RpcError::usage(format!(
            "{}: a command has a NUL at byte {at}, and no program can be given one: `{}`",
            machine.name(),
            text.replace('\0', "\\0")
        ))
        .of(machine.name())),
    }
}

pub(crate) async fn wait(
    _: Arc<Session>,
    machine: Machine,
    Wait { target, timeout }: Wait,
    _: Input,
) -> Result<Reply<Met>, RpcError> {
    let met = target.on(&machine)?.timeout(limit(timeout)).await?;
    Ok(Reply {
        result: Met {
            seconds: met.elapsed.into(),
            matched: met.matched,
        },
        attachments: met.output.map(Bytes::from).into_iter().collect(),
    })
}

impl Target {
    fn on(self, machine: &Machine) -> Result<attest::Wait, RpcError> {
        let host = self.host.unwrap_or_else(|| "localhost".to_owned());
        let waits = [
            self.port
                .map(|port| machine.wait_for_port(port).host(&host)),
            self.closed_port
                .map(|port| machine.wait_for_closed_port(port).host(&host)),
            self.file.map(|path| machine.wait_for_file(path)),
            self.no_file.map(|path| machine.wait_for_no_file(path)),
            self.text_in_file
                .map(|path| machine.wait_for_text_in_file(path, self.pattern.unwrap_or_default())),
            self.unix_socket.map(|path| {
                if self.datagram {
                    machine.wait_until_succeeds(datagram_probe(&path))
                } else {
                    machine.wait_for_unix_socket(path)
                }
            }),
            self.succeeds.map(|line| machine.wait_until_succeeds(line)),
            self.fails.map(|line| machine.wait_until_fails(line)),
            self.process
                .map(|pattern| machine.wait_for_process(pattern)),
            self.no_process
                .map(|pattern| machine.wait_for_no_process(pattern)),
            self.console
                .map(|pattern| machine.wait_for_console_text(pattern)),
        ];
        let mut waits: Vec<_> = waits.into_iter().flatten().collect();
        match (waits.pop(), waits.is_empty()) {
            (Some(wait), true) => Ok(wait),
            _ => Err(RpcError::Params(
                "machine.wait: `for` has to name one thing".to_owned(),
            )),
        }
    }
}

/// The kernel lists the sockets that are bound: type 2 is `SOCK_DGRAM` (unix(7), /proc/net/unix).
fn datagram_probe(path: &str) -> String {
    let path = path.replace('\'', "'\\''");
    format!(
        "while read -r _ _ _ _ type _ _ name; do \
         if [ \"$type\" = 0002 ] && [ \"$name\" = '{path}' ]; then exit 0; fi; \
         done < /proc/net/unix; exit 1"
    )
}

pub(crate) async fn wait_unit(
    _: Arc<Session>,
    machine: Machine,
    wait: WaitUnit,
    _: Input,
) -> Result<Met, RpcError> {
    let began = Instant::now();
    let timeout = limit(wait.timeout);
    if machine.connect(None).await?.is_agent {
        let unit = match &wait.user {
            Some(user) => machine.user_unit(user, &wait.unit),
            None => machine.unit(&wait.unit),
        };
        unit.wait().timeout(timeout).await?;
    } else {
        unit_by_shell::wait(&machine, &wait.unit, wait.user.as_deref(), timeout).await?;
    }
    Ok(Met {
        seconds: began.elapsed().into(),
        matched: None,
    })
}

pub(crate) async fn unit(
    _: Arc<Session>,
    machine: Machine,
    Unit { unit, user }: Unit,
    _: Input,
) -> Result<UnitInfo, RpcError> {
    let unit = match user {
        Some(user) => machine.user_unit(user, unit),
        None => machine.unit(unit),
    };
    let properties = unit.properties().await?;
    Ok(UnitInfo {
        properties: properties
            .iter()
            .filter_map(|(name, _)| Some((name.to_owned(), properties.text(name).ok()?)))
            .collect(),
    })
}

pub(crate) async fn wait_ended(
    _: Arc<Session>,
    machine: Machine,
    WaitEnded { timeout }: WaitEnded,
    _: Input,
) -> Result<Ended, RpcError> {
    let limit = limit(timeout);
    match tokio::time::timeout(limit, machine.wait_ended()).await {
        Ok(how) => Ok(Ended {
            how: how.map_or("stopped", MachineEnding::name).replace(' ', "-"),
        }),
        Err(_) => Err(RpcError::failed(
            ErrorKind::TimedOut,
            format!("{}: it was not off within {limit:?}", machine.name()),
        )
        .of(machine.name())),
    }
}

pub(crate) async fn power_off(
    _: Arc<Session>,
    machine: Machine,
    _: Nothing,
    _: Input,
) -> Result<Nothing, RpcError> {
    machine.power_off().await?;
    Ok(Nothing {})
}

pub(crate) async fn kill(
    _: Arc<Session>,
    machine: Machine,
    _: Nothing,
    _: Input,
) -> Result<Nothing, RpcError> {
    machine.kill().await;
    Ok(Nothing {})
}

pub(crate) async fn reboot(
    _: Arc<Session>,
    machine: Machine,
    _: Nothing,
    _: Input,
) -> Result<Nothing, RpcError> {
    machine.reboot().await?;
    Ok(Nothing {})
}

pub(crate) async fn pause(
    _: Arc<Session>,
    machine: Machine,
    _: Nothing,
    _: Input,
) -> Result<Nothing, RpcError> {
    machine.pause().await?;
    Ok(Nothing {})
}

pub(crate) async fn resume(
    _: Arc<Session>,
    machine: Machine,
    _: Nothing,
    _: Input,
) -> Result<Nothing, RpcError> {
    machine.resume().await?;
    Ok(Nothing {})
}

pub(crate) async fn sync(
    _: Arc<Session>,
    machine: Machine,
    _: Nothing,
    _: Input,
) -> Result<Nothing, RpcError> {
    machine.sync().await?;
    Ok(Nothing {})
}

pub(crate) async fn upload(
    _: Arc<Session>,
    machine: Machine,
    Copy { from, to }: Copy,
    _: Input,
) -> Result<Copied, RpcError> {
    let bytes = machine.upload(absolute(&machine, &from)?, to).await?;
    Ok(Copied { bytes })
}

pub(crate) async fn download(
    _: Arc<Session>,
    machine: Machine,
    Copy { from, to }: Copy,
    _: Input,
) -> Result<Copied, RpcError> {
    let bytes = machine.download(from, absolute(&machine, &to)?).await?;
    Ok(Copied { bytes })
}

/// A path of the host: the server's working directory need not be the client's.
pub(crate) fn absolute<'a>(machine: &Machine, path: &'a str) -> Result<&'a Path, RpcError> {
    let path = Path::new(path);
    if path.is_absolute() {
        return Ok(path);
    }
    Err(RpcError::usage(format!(
        "{}: the host's path `{}` has to be absolute",
        machine.name(),
        path.display()
    ))
    .of(machine.name()))
}

pub(crate) async fn console(
    _: Arc<Session>,
    machine: Machine,
    asked: Console,
    _: Input,
) -> Result<Reply<ConsolePart>, RpcError> {
    let part = if asked.wait {
        let next = machine.next_console_lines(asked.from);
        // In time or not, what there is is the answer.
        tokio::time::timeout(limit(asked.timeout), next)
            .await
            .unwrap_or_else(|_| machine.console_lines(asked.from))
    } else {
        machine.console_lines(asked.from)
    };
    Ok(Reply {
        result: ConsolePart {
            position: part.position,
            ended: part.ended,
        },
        attachments: vec![part.text.into()],
    })
}

pub(crate) async fn console_text(
    _: Arc<Session>,
    machine: Machine,
    _: Nothing,
    _: Input,
) -> Result<Reply<Nothing>, RpcError> {
    let mut text = Vec::new();
    let mut from = 0;
    loop {
        let part = machine.console_lines(from);
        if part.text.is_empty() {
            break;
        }
        text.extend_from_slice(&part.text);
        from = part.position;
    }
    Ok(Reply {
        result: Nothing {},
        attachments: vec![text.into()],
    })
}

pub(crate) async fn send_console(
    _: Arc<Session>,
    machine: Machine,
    _: Nothing,
    input: Input,
) -> Result<Nothing, RpcError> {
    let bytes = input.into_iter().next().unwrap_or_default();
    machine.send_console(bytes).await?;
    Ok(Nothing {})
}

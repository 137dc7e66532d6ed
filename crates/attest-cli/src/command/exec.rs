//! `attest exec`: boot a lab, run one command, give its output and exit code.

use std::io::{IsTerminal, Write};

use attest::{ChildEvent, ExitStatus, Machine};
use tokio::io::AsyncReadExt;

use super::CommandResult;
use crate::arguments::{Exec, Verbosity};
use crate::failure::Failure;
use crate::interrupt;
use crate::output::LabSession;

/// Bytes of stdin passed on at once.
const CHUNK: usize = 32 * 1024;

pub(crate) fn run(arguments: &Exec, verbosity: &Verbosity) -> CommandResult {
    super::runtime()?.block_on(async {
        let session = LabSession::open(&arguments.place, Some(&arguments.machine), verbosity).await?;
        let mut interrupted = interrupt::watch_signals().map_err(|error| Failure::infrastructure(error.to_string()))?;
        let status = tokio::select! {
            status = talk(&session.machine, arguments) => status,
            _ = interrupted.wait_for(|interrupted| *interrupted) => Err(attest::Error::Interrupted.into()),
        };
        session.end().await;
        status.map(super::exit_code)
    })
}

async fn talk(machine: &Machine, arguments: &Exec) -> Result<ExitStatus, Failure> {
    // As ssh does: what came as one word was quoted for a shell.
    let mut command = match arguments.command.as_slice() {
        [script] => machine.shell(script),
        words => machine.exec(words),
    };
    if let Some(timeout) = arguments.timeout {
        command = command.timeout(timeout);
    }
    let mut child = command.spawn().await?;
    let input = child.input();
    if std::io::stdin().is_terminal() {
        input.close();
    } else {
        tokio::spawn(async move {
            let mut stdin = tokio::io::stdin();
            let mut buffer = vec![0; CHUNK];
            while let Ok(count @ 1..) = stdin.read(&mut buffer).await {
                if !input.write(buffer[..count].to_vec()).await {
                    return;
                }
            }
            input.close();
        });
    }
    loop {
        let written = match child.next().await? {
            ChildEvent::Stdout(bytes) => std::io::stdout()
                .write_all(&bytes)
                .and_then(|()| std::io::stdout().flush()),
            ChildEvent::Stderr(bytes) => std::io::stderr().write_all(&bytes),
            ChildEvent::Started(_) => Ok(()),
            ChildEvent::Exited(status) => return Ok(status),
        };
        written.map_err(|error| {
            Failure::infrastructure(format!("error: the output cannot be written: {error}"))
        })?;
    }
}

//! `attest shell`: boot a lab and open a shell on a pseudo-terminal of one machine.

use std::io::Write;

use attest::{ChildEvent, ExitStatus, Machine};
use tokio::io::AsyncReadExt;
use tokio::signal::unix::{SignalKind, signal};

use super::CommandResult;
use crate::arguments::{Shell, Verbosity};
use crate::failure::Failure;
use crate::output::LabSession;
use crate::terminal::{self, RawMode};

/// A user's shell where there is a better one than plain `sh`.
const LOGIN_SHELL: &str = "if command -v bash >/dev/null; then exec bash -i; else exec sh -i; fi";

pub(crate) fn run(arguments: &Shell, verbosity: &Verbosity) -> CommandResult {
    if !terminal::is_interactive() {
        return Err(Failure::usage(
            "error: `attest shell` needs a terminal on stdin and stdout; use `attest exec MACHINE -- COMMAND`",
        ));
    }
    let runtime = super::runtime()?;
    let code = runtime.block_on(async {
        let session =
            LabSession::open(&arguments.place, arguments.machine.as_deref(), verbosity).await?;
        let status = attach(&session.machine).await;
        session.end().await;
        status.map(super::exit_code)
    });
    // A read of the terminal cannot be cancelled; it must not hold up the end.
    runtime.shutdown_background();
    code
}

async fn attach(machine: &Machine) -> Result<ExitStatus, Failure> {
    let lost =
        |error: std::io::Error| Failure::infrastructure(format!("error: the terminal: {error}"));
    let mut resized = signal(SignalKind::window_change()).map_err(lost)?;
    let term = std::env::var("TERM").unwrap_or_else(|_| "vt100".to_owned());
    let command = machine
        .exec(["sh", "-c", LOGIN_SHELL])
        .env("TERM", term)
        .terminal(terminal::size());
    let mut child = command.timeout(std::time::Duration::MAX).spawn().await?;
    let input = child.input();
    let raw = RawMode::enter().map_err(|error| lost(error.into()))?;
    let typing = input.clone();
    let typed = tokio::spawn(async move {
        let mut stdin = tokio::io::stdin();
        let mut buffer = [0; 1024];
        while let Ok(count @ 1..) = stdin.read(&mut buffer).await {
            if !typing.write(buffer[..count].to_vec()).await {
                return;
            }
        }
        typing.close();
    });
    let ended = loop {
        tokio::select! {
            event = child.next() => match event {
                Ok(ChildEvent::Stdout(bytes) | ChildEvent::Stderr(bytes)) => {
                    let mut out = std::io::stdout();
                    if let Err(error) = out.write_all(&bytes).and_then(|()| out.flush()) {
                        break Err(lost(error));
                    }
                }
                Ok(ChildEvent::Started(_)) => {}
                Ok(ChildEvent::Exited(status)) => break Ok(status),
                Err(error) => break Err(error.into()),
            },
            _ = resized.recv() => input.resize(terminal::size()),
        }
    };
    typed.abort();
    drop(raw);
    ended
}

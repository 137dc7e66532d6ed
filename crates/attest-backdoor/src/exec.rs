//! Commands: one after the other, stdout only, for a shell's terminal has no more.

use std::time::Duration;

use attest_protocol::link::{Channel, Incoming, Receiver, Stream};
use attest_protocol::message::{
    CommandSeen, Exec, ExitStatus, Exited, Failure, FailureCode, MAX_SEEN, Notice, RawBytes,
    Response,
};
use tokio::time::Instant;

use crate::failure::{cancelled, failure};
use crate::guest::Guest;
use crate::script;

/// Bytes of stdin that a command may have.
const MOST_STDIN: usize = 16 * 1024 * 1024;
/// What `timeout` ends with when the time was out.
const TIMED_OUT: i32 = 124;
/// What it ends with when it had to kill: 128 + SIGKILL.
const KILLED: i32 = 137;

pub(crate) async fn serve(
    guest: &Guest,
    exec: &Exec,
    channel: Channel,
) -> Result<Response, Failure> {
    let Channel {
        sender,
        mut receiver,
    } = channel;
    let stdin = if exec.stdin && exec.pty.is_none() {
        // Its length must be known before the command begins.
        Some(stdin(&mut receiver).await?)
    } else {
        None
    };
    let stdin = stdin.filter(|stdin| !stdin.is_empty());
    let line = script::line(exec, &guest.environment(), stdin.as_deref(), guest.tools)?;
    let began = Instant::now();
    let mut asked = guest.shell.ask(line);
    // The shell does not say as which process.
    let _ = sender.notice(&Notice::Started(0));
    let output = async {
        while let Some(bytes) = asked.output().await {
            // A host that is gone has its cancellation on the way.
            let _ = sender.data(Stream::Out, bytes).await;
        }
        asked.end().await
    };
    let status = tokio::select! {
        status = output => status?,
        () = cancellation(&mut receiver) => return Err(cancelled()),
    };
    let duration = began.elapsed();
    Ok(Response::Exited(Exited {
        status: ExitStatus::Code(status),
        timed_out: timed_out(exec, status, duration),
        holders: Vec::new(),
        duration_ns: u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX),
    }))
}

/// A command may itself end with what `timeout` ends with.
fn timed_out(exec: &Exec, status: i32, duration: Duration) -> bool {
    let limit = exec.timeout_ms.map(Duration::from_millis);
    matches!(status, TIMED_OUT | KILLED) && limit.is_some_and(|limit| duration >= limit)
}

/// All of a command's stdin.
async fn stdin(receiver: &mut Receiver) -> Result<Vec<u8>, Failure> {
    let mut stdin = Vec::new();
    loop {
        match receiver.next().await {
            Ok(Incoming::Data(Stream::In, bytes)) => {
                if stdin.len() + bytes.len() > MOST_STDIN {
                    return Err(failure(
                        FailureCode::Unsupported,
                        format!(
                            "a stdin of more than {MOST_STDIN} bytes is too much for a root shell: upload a file"
                        ),
                    ));
                }
                stdin.extend_from_slice(&bytes);
            }
            Ok(Incoming::Eof(Stream::In)) => return Ok(stdin),
            Ok(Incoming::Cancelled) | Err(_) => return Err(cancelled()),
            Ok(_) => {}
        }
    }
}

/// Resolves when the host no longer wants the request.
pub(crate) async fn cancellation(receiver: &mut Receiver) {
    loop {
        match receiver.next().await {
            Ok(Incoming::Cancelled) | Err(_) => return,
            // Signals and sizes: there is no terminal, and the shell is busy with the command.
            Ok(_) => {}
        }
    }
}

/// Run a command to its end, keeping the end of its output.
pub(crate) async fn captured(guest: &Guest, exec: &Exec) -> Result<CommandSeen, Failure> {
    let line = script::line(exec, &guest.environment(), None, guest.tools)?;
    let (status, stdout) = guest.shell.capture(line, MAX_SEEN).await?;
    Ok(CommandSeen {
        status: ExitStatus::Code(status),
        stdout: RawBytes::from(stdout),
        stderr: RawBytes::from(Vec::new()),
        tries: 1,
    })
}

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
use crate::script::{Command, Feed};
use crate::spool::Spool;

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
    let command = Command::new(exec, &guest.environment())?;
    let feed = match command.long() {
        Some(_) if exec.stdin => {
            return Err(failure(
                FailureCode::Unsupported,
                format!(
                    "`{}` is too long for a root shell that has to feed its stdin, too: put it into a file",
                    exec.program.text()
                ),
            ));
        }
        Some(program) => {
            let mut spool = Spool::temporary(guest).await?;
            spool.add(program).await?;
            Some(filled(spool).await?)
        }
        // All of it must be there before the command begins.
        None if exec.stdin => Some(stdin(guest, &mut receiver).await?),
        None => None,
    };
    let feed = match (&feed, exec.stdin) {
        (Some(file), true) => Feed::Stdin(file),
        (Some(file), false) => Feed::Program(file),
        (None, _) => Feed::Nothing,
    };
    let line = command.line(feed, guest.tools);
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

/// All of a command's stdin, in a file.
async fn stdin(guest: &Guest, receiver: &mut Receiver) -> Result<Vec<u8>, Failure> {
    let mut spool = Spool::temporary(guest).await?;
    loop {
        match receiver.next().await {
            Ok(Incoming::Data(Stream::In, bytes)) => {
                if let Err(failure) = spool.add(&bytes).await {
                    spool.remove().await;
                    return Err(failure);
                }
            }
            Ok(Incoming::Eof(Stream::In)) => return filled(spool).await,
            Ok(Incoming::Cancelled) | Err(_) => {
                spool.remove().await;
                return Err(cancelled());
            }
            Ok(_) => {}
        }
    }
}

async fn filled(mut spool: Spool<'_>) -> Result<Vec<u8>, Failure> {
    if let Err(failure) = spool.flush().await {
        spool.remove().await;
        return Err(failure);
    }
    Ok(spool.file)
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
    let command = Command::new(exec, &guest.environment())?;
    let line = match command.long() {
        Some(program) => {
            let mut spool = Spool::temporary(guest).await?;
            spool.add(program).await?;
            command.line(Feed::Program(&filled(spool).await?), guest.tools)
        }
        None => command.line(Feed::Nothing, guest.tools),
    };
    let (status, stdout) = guest.shell.capture(line, MAX_SEEN).await?;
    Ok(CommandSeen {
        status: ExitStatus::Code(status),
        stdout: RawBytes::from(stdout),
        stderr: RawBytes::from(Vec::new()),
        tries: 1,
    })
}

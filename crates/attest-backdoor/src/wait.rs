//! Waits: tries that follow each other closely, with turns for others between them. A root shell
//! has no events.

mod file;
mod net;
mod process;

use std::sync::Mutex;
use std::time::Duration;

use attest_protocol::link::Channel;
use attest_protocol::message::{
    CommandSeen, Condition, Exec, ExitStatus, Failure, FailureCode, Response, Wait,
};
use tokio::time::Instant;

use crate::exec::{self, cancellation};
use crate::failure::{cancelled, failure};
use crate::guest::Guest;

/// Between tries: the first pause, doubled up to the last. A wait is to return within 100 ms of
/// what it waits for, and a try under TCG takes tens of milliseconds itself.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(50));

/// A wait while it lasts.
pub(crate) struct Waiting<'a> {
    guest: &'a Guest,
    deadline: Instant,
    /// What was last seen.
    seen: Mutex<Option<String>>,
}

impl Waiting<'_> {
    fn saw(&self, text: impl Into<String>) {
        *self.seen.lock().expect("not poisoned") = Some(text.into());
    }

    /// What is left of the wait's time.
    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Run a script of attest's own, once; gives its status and output.
    async fn look(&self, script: &[u8], what: &str) -> Result<(i32, Vec<u8>), Failure> {
        Ok(self.guest.ask(script, what, self.left()).await?)
    }

    /// Try until there is something.
    async fn until<T, F>(&self, mut attempt: impl FnMut() -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<Option<T>, Failure>>,
    {
        let (mut pause, longest) = PAUSES;
        loop {
            if let Some(met) = attempt().await? {
                return Ok(met);
            }
            tokio::time::sleep(pause).await;
            pause = longest.min(pause * 2);
        }
    }
}

pub(crate) async fn serve(
    guest: &Guest,
    wait: Wait,
    mut channel: Channel,
) -> Result<Response, Failure> {
    let limit = Duration::from_millis(wait.timeout_ms);
    let now = Instant::now();
    let waiting = Waiting {
        guest,
        // For ever is not an instant.
        deadline: now
            .checked_add(limit)
            .unwrap_or(now + Duration::from_secs(u32::MAX.into())),
        seen: Mutex::default(),
    };
    tokio::select! {
        met = tokio::time::timeout_at(waiting.deadline, until(&wait.condition, &waiting)) => match met {
            Ok(met) => met.map(Response::Met),
            Err(_) => Err(Failure {
                code: FailureCode::TimedOut,
                message: format!("{} within {limit:?}", wait.condition.unmet()),
                last_seen: waiting.seen.lock().expect("not poisoned").take(),
            }),
        },
        () = cancellation(&mut channel.receiver) => Err(cancelled()),
    }
}

async fn until(
    condition: &Condition,
    waiting: &Waiting<'_>,
) -> Result<Option<CommandSeen>, Failure> {
    match condition {
        Condition::PortOpen(host, port) => net::port(waiting, host, *port, true).await?,
        Condition::PortClosed(host, port) => net::port(waiting, host, *port, false).await?,
        Condition::FileExists(path) => file::exists(waiting, path).await?,
        Condition::FileVanished(path) => file::vanished(waiting, path).await?,
        Condition::FileMatches(path, pattern) => file::matches(waiting, path, pattern).await?,
        Condition::UnixSocket(path) => net::unix_socket(waiting, path).await?,
        Condition::CommandSucceeds(exec) => return command(waiting, exec, true).await.map(Some),
        Condition::CommandFails(exec) => return command(waiting, exec, false).await.map(Some),
        Condition::ProcessExists(pattern) => process::wait(waiting, pattern, true).await?,
        Condition::ProcessVanished(pattern) => process::wait(waiting, pattern, false).await?,
    }
    Ok(None)
}

async fn command(
    waiting: &Waiting<'_>,
    exec: &Exec,
    succeeds: bool,
) -> Result<CommandSeen, Failure> {
    let mut tries = 0;
    waiting
        .until(|| {
            tries += 1;
            async move {
                let mut exec = exec.clone();
                let left = u64::try_from(waiting.left().as_millis()).unwrap_or(u64::MAX);
                // No try may keep the shell for longer than anybody waits for it.
                exec.timeout_ms = Some(exec.timeout_ms.unwrap_or(u64::MAX).min(left));
                let mut ran = exec::captured(waiting.guest, &exec).await?;
                ran.tries = tries;
                if (ran.status == ExitStatus::Code(0)) == succeeds {
                    return Ok(Some(ran));
                }
                waiting.saw(describe(&ran));
                Ok(None)
            }
        })
        .await
}

fn describe(ran: &CommandSeen) -> String {
    let status = match ran.status {
        ExitStatus::Code(code) => format!("exit code {code}"),
        ExitStatus::Signal(signal) => format!("signal {signal}"),
    };
    let text = String::from_utf8_lossy(&ran.stdout);
    let last = text.trim_end().lines().next_back().unwrap_or("no output");
    format!("{status} at try {}: {last}", ran.tries)
}

/// A pattern of a request. `^` and `$` are at lines, as an agent has them.
fn regex(pattern: &str) -> Result<regex::bytes::Regex, Failure> {
    regex::bytes::RegexBuilder::new(pattern)
        .multi_line(true)
        .crlf(true)
        .build()
        .map_err(|error| {
            failure(
                FailureCode::Invalid,
                format!("/{pattern}/ is no regular expression: {error}"),
            )
        })
}

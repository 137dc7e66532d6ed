//! Commands that are run again until they succeed, or fail.

use std::rc::Rc;
use std::time::Duration;

use attest_protocol::message::{CommandSeen, Exec, ExitStatus, Failure};

use super::Seen;
use super::backoff::Backoff;
use crate::exec;
use crate::session::Agent;

/// Between tries: with a shell that waits for its command, the next try's end is within 25 ms of
/// what it waits for.
const YOUNG: Duration = Duration::from_millis(10);
const OLD: Duration = Duration::from_millis(100);

pub(super) async fn until(
    agent: &Rc<Agent>,
    exec: &Exec,
    succeeds: bool,
    seen: &Seen,
) -> Result<CommandSeen, Failure> {
    let mut backoff = Backoff::new(YOUNG, OLD);
    let mut tries = 0;
    loop {
        tries += 1;
        let mut ran = exec::run_captured(agent, exec).await?;
        ran.tries = tries;
        if (ran.status == ExitStatus::Code(0)) == succeeds {
            return Ok(ran);
        }
        seen.set(describe(&ran));
        backoff.pause().await;
    }
}

fn describe(ran: &CommandSeen) -> String {
    let status = match ran.status {
        ExitStatus::Code(code) => format!("exit code {code}"),
        ExitStatus::Signal(signal) => format!("signal {signal}"),
    };
    let output = if ran.stderr.is_empty() {
        &ran.stdout
    } else {
        &ran.stderr
    };
    let text = String::from_utf8_lossy(output);
    let last = text.trim_end().lines().next_back().unwrap_or("no output");
    format!("{status} at try {}: {last}", ran.tries)
}

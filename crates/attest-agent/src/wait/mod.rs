//! Waits for things in the guest: by events where the kernel has them, else by tries that follow
//! each other closely. Every wait first arms, then looks, then sleeps, so that nothing is missed.

mod backoff;
mod command;
mod file;
mod net;
mod process;
mod watch;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use attest_protocol::link::{Channel, Incoming};
use attest_protocol::message::{CommandSeen, Condition, Failure, FailureCode, Response, Wait};

use crate::failure::failure;
use crate::session::Agent;

pub(crate) use backoff::Backoff;
pub(crate) use net::resolve;

/// What a wait last saw, for when its time runs out.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen(Rc<RefCell<Option<String>>>);

impl Seen {
    fn set(&self, text: impl Into<String>) {
        *self.0.borrow_mut() = Some(text.into());
    }

    fn get(&self) -> Option<String> {
        self.0.borrow().clone()
    }
}

pub(crate) async fn serve(
    wait: Wait,
    mut channel: Channel,
    agent: &Rc<Agent>,
) -> Result<Response, Failure> {
    let seen = Seen::default();
    let limit = Duration::from_millis(wait.timeout_ms);
    let cancelled = async {
        loop {
            match channel.receiver.next().await {
                Ok(Incoming::Cancelled) | Err(_) => return,
                Ok(_) => {}
            }
        }
    };
    tokio::select! {
        met = tokio::time::timeout(limit, until(&wait.condition, agent, &seen)) => match met {
            Ok(met) => met.map(Response::Met),
            Err(_) => Err(Failure {
                code: FailureCode::TimedOut,
                message: format!("{} within {limit:?}", wait.condition.unmet()),
                last_seen: seen.get(),
            }),
        },
        () = cancelled => Err(failure(FailureCode::Cancelled, "cancelled by the host")),
    }
}

async fn until(
    condition: &Condition,
    agent: &Rc<Agent>,
    seen: &Seen,
) -> Result<Option<CommandSeen>, Failure> {
    match condition {
        Condition::PortOpen(host, port) => net::port_open(host, *port, seen).await,
        Condition::PortClosed(host, port) => net::port_closed(host, *port, seen).await,
        Condition::FileExists(path) => file::exists(path, seen).await?,
        Condition::FileVanished(path) => file::vanished(path, seen).await?,
        Condition::FileMatches(path, pattern) => file::matches(path, pattern, seen).await?,
        Condition::UnixSocket(path) => net::unix_socket(path, seen).await?,
        Condition::CommandSucceeds(exec) => {
            return command::until(agent, exec, true, seen).await.map(Some);
        }
        Condition::CommandFails(exec) => {
            return command::until(agent, exec, false, seen).await.map(Some);
        }
        Condition::ProcessExists(pattern) => process::exists(pattern, seen).await?,
        Condition::ProcessVanished(pattern) => process::vanished(pattern, seen).await?,
    }
    Ok(None)
}

/// A pattern of a request. `^` and `$` are at lines, as the host has them for its own patterns.
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

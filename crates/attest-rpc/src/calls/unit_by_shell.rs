//! Waiting for a unit of a machine that has only a shell: `systemctl` is asked, again and again.

use std::time::{Duration, Instant};

use attest::Machine;
use serde_json::json;

use crate::error::{ErrorKind, RpcError};

/// Pause between two questions: the first, doubled up to the last. The last is the latency that
/// the shell costs at most, and leaves it to others for most of the time.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(100));

/// Whether the unit has jobs, or anything has, is asked between two looks at its state: one that
/// became active meanwhile is not taken for one that nothing will start.
const QUESTION: &str = "show() { systemctl SCOPE --no-pager show --property=ActiveState -- \"$unit\" | cut -d= -f2; }; \
     show; systemctl SCOPE --no-pager --no-legend list-jobs --full | grep -c . || true; show";

pub(crate) async fn wait(
    machine: &Machine,
    unit: &str,
    user: Option<&str>,
    timeout: Duration,
) -> Result<(), RpcError> {
    let began = Instant::now();
    let (mut pause, longest) = PAUSE;
    loop {
        let state = look(machine, unit, user, timeout.saturating_sub(began.elapsed())).await?;
        match state {
            Seen::Active => return Ok(()),
            Seen::Lost(state) => return Err(lost(machine, unit, &state)),
            Seen::Other(state) if began.elapsed() >= timeout => {
                return Err(late(machine, unit, state, timeout));
            }
            Seen::Other(_) => {}
        }
        tokio::time::sleep(pause).await;
        pause = longest.min(pause * 2);
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Active,
    /// It will not become active.
    Lost(String),
    Other(String),
}

async fn look(
    machine: &Machine,
    unit: &str,
    user: Option<&str>,
    left: Duration,
) -> Result<Seen, RpcError> {
    let scope = if user.is_some() { "--user" } else { "" };
    let mut question = format!("unit={}; {}", quote(unit), QUESTION.replace("SCOPE", scope));
    if let Some(user) = user {
        question = format!(
            "su -l {} --shell /bin/sh -c {}",
            quote(user),
            quote(&format!(
                "export XDG_RUNTIME_DIR=/run/user/$(id -u); {question}"
            ))
        );
    }
    let asked = machine
        .shell(question)
        .timeout(left.max(Duration::from_secs(1)))
        .ignore_status()
        .await?;
    Ok(read(&asked.text()))
}

fn read(answer: &str) -> Seen {
    let mut lines = answer.lines();
    let mut next = || lines.next().unwrap_or_default().trim().to_owned();
    let (first, jobs, last) = (next(), next(), next());
    match last.as_str() {
        "active" | "reloading" if first == last || last == "active" => Seen::Active,
        "failed" => Seen::Lost(last),
        "inactive" if first == "inactive" && jobs == "0" => Seen::Lost(last),
        _ => Seen::Other(last),
    }
}

fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

fn lost(machine: &Machine, unit: &str, state: &str) -> RpcError {
    RpcError::Failed {
        kind: ErrorKind::Unit,
        message: format!("{}: {unit} is {state}", machine.name()),
        machine: Some(machine.name().to_owned()),
        last_seen: Some(state.to_owned()),
        detail: Some(json!({ "unit": unit, "state": state })),
    }
}

fn late(machine: &Machine, unit: &str, state: String, timeout: Duration) -> RpcError {
    RpcError::Failed {
        kind: ErrorKind::TimedOut,
        message: format!(
            "{}: {unit} was not active within {timeout:?}; last seen: {state}",
            machine.name()
        ),
        machine: Some(machine.name().to_owned()),
        last_seen: Some(state),
        detail: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_cannot_become_active_is_lost() {
        assert_eq!(read("active\n0\nactive\n"), Seen::Active);
        assert_eq!(read("inactive\n0\nactive\n"), Seen::Active);
        assert_eq!(
            read("inactive\n0\ninactive\n"),
            Seen::Lost("inactive".to_owned())
        );
        assert_eq!(
            read("inactive\n2\ninactive\n"),
            Seen::Other("inactive".to_owned())
        );
        assert_eq!(
            read("activating\n0\ninactive\n"),
            Seen::Other("inactive".to_owned())
        );
        assert_eq!(
            read("activating\n1\nfailed\n"),
            Seen::Lost("failed".to_owned())
        );
        assert_eq!(read(""), Seen::Other(String::new()));
    }

    #[test]
    fn quoted_text_is_one_word() {
        assert_eq!(quote("a'b c"), "'a'\\''b c'");
    }
}

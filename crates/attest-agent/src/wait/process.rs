//! Processes, by their command lines.

use std::fs;
use std::time::Duration;

use attest_protocol::message::Failure;
use regex::bytes::Regex;

use super::backoff::Backoff;
use super::{Seen, regex};

/// Between looks at all of /proc, which costs about 20 µs a process.
const YOUNG: Duration = Duration::from_millis(4);
const OLD: Duration = Duration::from_millis(50);

pub(super) async fn exists(pattern: &str, seen: &Seen) -> Result<(), Failure> {
    let regex = regex(pattern)?;
    let mut backoff = Backoff::new(YOUNG, OLD);
    while matching(&regex).is_empty() {
        seen.set("no process matches");
        backoff.pause().await;
    }
    Ok(())
}

pub(super) async fn vanished(pattern: &str, seen: &Seen) -> Result<(), Failure> {
    let regex = regex(pattern)?;
    let mut backoff = Backoff::new(YOUNG, OLD);
    loop {
        let processes = matching(&regex);
        if processes.is_empty() {
            return Ok(());
        }
        seen.set(format!(
            "{} processes match: {}",
            processes.len(),
            processes.join(", ")
        ));
        backoff.pause().await;
    }
}

/// `pid command line` of all processes that match, but the agent and those that have ended.
fn matching(regex: &Regex) -> Vec<String> {
    let mut found = Vec::new();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = process.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // A process that has ended but was not waited for has no command line.
        let Ok(mut line) = fs::read(process.path().join("cmdline")) else {
            continue;
        };
        if pid == std::process::id() || line.is_empty() {
            continue;
        }
        while line.last() == Some(&0) {
            line.pop();
        }
        for byte in &mut line {
            if *byte == 0 {
                *byte = b' ';
            }
        }
        if regex.is_match(&line) {
            found.push(format!("{pid} {}", String::from_utf8_lossy(&line)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_process_is_seen_and_its_end() {
        let mark = format!("attest-test-{}", std::process::id());
        let mut child = std::process::Command::new("sh")
            .args(["-c", "read line; :", &mark])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        exists(&mark, &Seen::default()).await.unwrap();
        let seen = Seen::default();
        let end = async {
            while seen.get().is_none() {
                tokio::task::yield_now().await;
            }
            drop(child.stdin.take());
            child.wait().unwrap()
        };
        let (met, _) = tokio::join!(vanished(&mark, &seen), end);
        met.unwrap();
        assert!(
            seen.get().unwrap().starts_with("1 processes match: "),
            "{seen:?}"
        );
    }
}

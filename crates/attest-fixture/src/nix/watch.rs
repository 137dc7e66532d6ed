//! A command that is given up when it takes too long, with what is known of the processes that it waits for.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use ::nix::sys::signal::{Signal, kill};
use ::nix::unistd::Pid;

/// Shorter than what a test may take (`.config/nextest.toml`), so that it still tells why.
const LONGEST: Duration = Duration::from_secs(200);
/// From the request to end, which Nix passes on to what it builds, to its end.
const ENDING: Duration = Duration::from_secs(20);

/// What it wrote; to what it wrote on stderr comes, where it was given up, what its processes did.
pub(super) fn output(command: &mut Command) -> io::Result<Output> {
    within(LONGEST, ENDING, command)
}

fn within(longest: Duration, ending: Duration, command: &mut Command) -> io::Result<Output> {
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let pid = child.id();
    let (ended, has_ended) = channel::<()>();
    let watching = thread::spawn(move || watch(pid, longest, ending, &has_ended));
    let output = child.wait_with_output();
    drop(ended);
    let seen = watching.join().expect("it does not panic");
    let mut output = output?;
    if let Some(seen) = seen {
        output.stderr.extend_from_slice(seen.as_bytes());
    }
    Ok(output)
}

fn watch(
    pid: u32,
    longest: Duration,
    ending: Duration,
    has_ended: &Receiver<()>,
) -> Option<String> {
    if has_ended.recv_timeout(longest) != Err(RecvTimeoutError::Timeout) {
        return None;
    }
    let mut seen = format!("\nit did not end in {longest:?}; its processes:\n");
    let mut all = Vec::new();
    tell(pid, 0, &mut all, &mut seen);
    let signal = |pid: u32, signal| kill(Pid::from_raw(pid.cast_signed()), signal);
    let _ = signal(pid, Signal::SIGINT);
    if has_ended.recv_timeout(ending) == Err(RecvTimeoutError::Timeout) {
        // Each of them may hold what is read to its end.
        for pid in all {
            let _ = signal(pid, Signal::SIGKILL);
        }
    }
    Some(seen)
}

/// A process and those below it: number, state, command line, and what each of its threads waits for.
fn tell(pid: u32, depth: usize, all: &mut Vec<u32>, seen: &mut String) {
    all.push(pid);
    let read = |what: &str| fs::read_to_string(format!("/proc/{pid}/{what}")).unwrap_or_default();
    let state = read("status");
    let state = state.lines().find_map(|line| line.strip_prefix("State:"));
    let command = read("cmdline").replace('\0', " ");
    let _ = writeln!(
        seen,
        "{:depth$}{pid} [{}] {command}",
        "",
        state.unwrap_or_default().trim()
    );
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter();
    for thread in threads.flatten().flatten() {
        let read = |what: &str| fs::read_to_string(thread.path().join(what)).unwrap_or_default();
        let (name, waits) = (read("comm"), read("wchan"));
        let _ = writeln!(seen, "{:depth$}  {} in {waits}", "", name.trim());
        for child in read("children").split_ascii_whitespace() {
            if let Ok(child) = child.parse() {
                tell(child, depth + 2, all, seen);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_end_is_told_with_its_processes() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo said >&2; sleep 1000 & wait"]);
        let soon = Duration::from_millis(200);
        let output = within(soon, soon, &mut command).unwrap();
        assert!(!output.status.success());
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.starts_with("said\n"), "{told}");
        assert!(told.contains("sleep 1000"), "{told}");
        let output = within(LONGEST, ENDING, &mut Command::new("true")).unwrap();
        assert!(output.status.success() && output.stderr.is_empty());
    }
}

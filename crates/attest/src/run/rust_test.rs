//! Rust tests of a manifest: test binaries with `#[attest::test]` functions, each test a
//! process of its own.

use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use attest_events::{Event, EventKind, FailureDetail, Verdict};
use attest_manifest::{RustTestPlan, RustTestSource};

use super::judge::Judged;
use super::{
    EVENTS_VARIABLE, KEEP_VARIABLE, Keep, OUTPUT_VARIABLE, SelectedTest, TIMEOUT_VARIABLE,
};
use crate::error::{Error, Result};
use crate::recorder::Recorder;
use crate::snapshot::{SNAPSHOTS_VARIABLE, SnapshotUse};

/// Bytes of a test's own output that its report shows.
const SHOWN: usize = 32 * 1024;

/// Find the binary: named, or built by cargo as `cargo test --no-run` does.
pub(super) fn binary(plan: &RustTestPlan, directory: Option<&Path>) -> Result<PathBuf> {
    match &plan.source {
        RustTestSource::Binary(path) => Ok(path.clone()),
        RustTestSource::Package { package, test } => {
            build(package, test, directory.unwrap_or(Path::new(".")))
        }
    }
}

fn build(package: &str, test: &str, directory: &Path) -> Result<PathBuf> {
    let failed = |reason: String| Error::Program {
        program: format!("cargo test -p {package} --test {test}"),
        reason,
    };
    let output = Command::new("cargo")
        .args([
            "test",
            "--no-run",
            "--message-format=json-render-diagnostics",
            "-p",
            package,
            "--test",
            test,
        ])
        .current_dir(directory)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| failed(format!("cargo cannot be run: {error}; is it on PATH?")))?;
    if !output.status.success() {
        return Err(failed(
            "it does not build; cargo's words are above".to_owned(),
        ));
    }
    let messages = output.stdout.split(|byte| *byte == b'\n');
    let executable = messages
        .filter_map(|line| serde_json::from_slice::<serde_json::Value>(line).ok())
        .filter(|message| {
            message["reason"] == "compiler-artifact" && message["target"]["name"] == test
        })
        .find_map(|message| message["executable"].as_str().map(PathBuf::from));
    executable.ok_or_else(|| {
        failed(format!(
            "cargo named no executable; has `{package}` a test target `{test}`?"
        ))
    })
}

/// The names of the tests in a binary.
pub(super) fn list(binary: &Path) -> Result<Vec<String>> {
    let failed = |reason: String| Error::Program {
        program: binary.display().to_string(),
        reason,
    };
    let output = Command::new(binary)
        .args(["--list", "--format", "terse"])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| {
            failed(format!(
                "it cannot be run: {error}; build it first, or give package and test"
            ))
        })?;
    if !output.status.success() {
        return Err(failed(format!(
            "listing its tests ended with {}; is it a Rust test binary?",
            output.status
        )));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text
        .lines()
        .filter_map(|line| line.strip_suffix(": test").map(str::to_owned))
        .collect())
}

/// What a test is told by its environment.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) output: PathBuf,
    pub(super) snapshots: SnapshotUse,
    pub(super) keep: Keep,
}

/// Run one test in a process of its own; its events become ours.
pub(super) async fn run(test: &SelectedTest, told: Told, recorder: Recorder) -> Result<Judged> {
    let (binary, name) = test.rust_test();
    let began = Instant::now();
    let failed = {
        let program = binary.display().to_string();
        move |reason: String| Error::Program { program, reason }
    };
    let (events, events_end) = std::io::pipe().map_err(Error::io("no pipe for a test's events"))?;
    let (said, said_end) = std::io::pipe().map_err(Error::io("no pipe for a test's output"))?;
    let offset = recorder.now();
    // The test opens the pipe by its name under /proc: nothing needs to be inherited.
    let events_path = format!("/proc/{}/fd/{}", std::process::id(), events_end.as_raw_fd());
    let both = said_end
        .try_clone()
        .map_err(Error::io("no pipe for a test's output"))?;
    let mut command = tokio::process::Command::new(binary);
    command
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(EVENTS_VARIABLE, events_path)
        .env(OUTPUT_VARIABLE, &told.output)
        .env(SNAPSHOTS_VARIABLE, told.snapshots.name())
        .env(KEEP_VARIABLE, told.keep.name())
        .env(TIMEOUT_VARIABLE, test.timeout.as_millis().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::from(std::os::fd::OwnedFd::from(both)))
        .stderr(Stdio::from(std::os::fd::OwnedFd::from(said_end)))
        .kill_on_drop(true);
    let mut child = command
        .spawn()
        .map_err(|error| failed(format!("it cannot be run: {error}")))?;
    drop(command);
    let reading_events =
        tokio::task::spawn_blocking(move || read_events(BufReader::new(events), &recorder, offset));
    let reading_text = tokio::task::spawn_blocking(move || read_text(said));
    let status = child
        .wait()
        .await
        .map_err(Error::io("waiting for a test"))?;
    drop(events_end);
    let verdict = reading_events.await.expect("reading events does not panic");
    let said = reading_text.await.expect("reading output does not panic");
    Ok(judge(status, verdict, said, began.elapsed()))
}

/// Pass the events on, but the verdict: that is the run's to say.
fn read_events(events: impl BufRead, recorder: &Recorder, offset: u64) -> Option<Judged> {
    let mut told = None;
    for line in events.lines().map_while(std::result::Result::ok) {
        let Ok(event) = serde_json::from_str::<Event>(&line) else {
            continue;
        };
        match event.kind {
            EventKind::TestEnded {
                verdict,
                failure,
                duration_ns,
                ..
            } => {
                told = Some(Judged {
                    verdict,
                    failure,
                    duration: Duration::from_nanos(duration_ns),
                });
            }
            _ => recorder.forward(event, offset),
        }
    }
    told
}

fn read_text(mut text: impl Read) -> String {
    let mut kept = Vec::new();
    let mut buffer = [0; 8 * 1024];
    while let Ok(count @ 1..) = text.read(&mut buffer) {
        kept.extend_from_slice(&buffer[..count]);
        if kept.len() > 2 * SHOWN {
            kept.drain(..kept.len() - SHOWN);
        }
    }
    crate::command::end_of(&kept, SHOWN)
}

fn judge(status: ExitStatus, told: Option<Judged>, text: String, elapsed: Duration) -> Judged {
    // A plain `#[test]` of the same binary tells nothing but its status.
    let untold = |verdict| Judged {
        verdict,
        failure: None,
        duration: elapsed,
    };
    let mut judged = match (told, status.success()) {
        (None, true) => untold(Verdict::Passed),
        (Some(told), success) if success == (told.verdict == Verdict::Passed) => told,
        _ => untold(Verdict::Failed),
    };
    if judged.verdict != Verdict::Passed {
        let detail = judged.failure.get_or_insert_with(|| FailureDetail {
            message: format!("the test's process ended with {status}"),
            ..FailureDetail::default()
        });
        detail.stderr.get_or_insert(text);
    }
    judged
}

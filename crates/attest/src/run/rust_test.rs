//! Rust tests of a manifest: test binaries with `#[attest::test]` functions, each test a
//! process of its own.

use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use attest_events::{Event, EventKind, FailureDetail, Part, Phase, Verdict};
use attest_image::CACHE_VARIABLE;
use attest_manifest::{RustTestPlan, RustTestSource};
use tokio::sync::watch;
use tokio::time::sleep_until;

use super::judge::Judged;
use super::{
    EVENTS_VARIABLE, KEEP_VARIABLE, Keep, OUTPUT_VARIABLE, SelectedTest, TIMEOUT_VARIABLE,
};
use crate::error::{Error, Result};
use crate::lab::LabContext;
use crate::limit::Limit;
use crate::recorder::Recorder;
use crate::snapshot::SNAPSHOTS_VARIABLE;

/// Bytes of a test's own output that its report shows.
const SHOWN: usize = 32 * 1024;

/// Find the binary: named, or built by cargo as `cargo test --no-run` does, with this profile.
pub(super) fn binary(
    plan: &RustTestPlan,
    directory: Option<&Path>,
    profile: Option<&str>,
) -> Result<PathBuf> {
    match &plan.source {
        RustTestSource::Binary(path) => Ok(path.clone()),
        RustTestSource::Package { package, test } => {
            let directory = directory.unwrap_or(Path::new("."));
            build(package, test, directory, profile)
        }
    }
}

fn build(package: &str, test: &str, directory: &Path, profile: Option<&str>) -> Result<PathBuf> {
    let profile = profile.map(|profile| format!("--profile={profile}"));
    let words = ["test", "-p", package, "--test", test];
    let words = words.into_iter().chain(profile.as_deref());
    let words: Vec<&str> = words.collect();
    let failed = |reason: String| Error::Program {
        program: format!("cargo {}", words.join(" ")),
        reason,
    };
    let output = Command::new("cargo")
        .args(&words)
        .args(["--no-run", "--message-format=json-render-diagnostics"])
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

/// Run one test in a process of its own, with this for its lab; its events become ours. It keeps its time itself: one
/// of whose phases takes longer than `longest` does not, and is ended.
pub(super) async fn run(
    test: &SelectedTest,
    context: LabContext,
    keep: Keep,
    longest: Duration,
) -> Result<Judged> {
    let (binary, name, overrides) = test.rust_test();
    let (overrides_variable, overrides) = overrides.variable();
    let began = Instant::now();
    let failed = {
        let program = binary.display().to_string();
        move |reason: String| Error::Program { program, reason }
    };
    let (events, events_end) = std::io::pipe().map_err(Error::io("no pipe for a test's events"))?;
    let (said, said_end) = std::io::pipe().map_err(Error::io("no pipe for a test's output"))?;
    let recorder = context.recorder;
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
        .env(OUTPUT_VARIABLE, &context.output)
        .env(SNAPSHOTS_VARIABLE, context.snapshots.name())
        .env(KEEP_VARIABLE, keep.name())
        .env(overrides_variable, overrides)
        .env(TIMEOUT_VARIABLE, test.timeout.as_millis().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::from(std::os::fd::OwnedFd::from(both)))
        .stderr(Stdio::from(std::os::fd::OwnedFd::from(said_end)))
        .kill_on_drop(true);
    if let Some(cache) = &context.cache {
        command.env(CACHE_VARIABLE, cache);
    }
    recorder.part(Part::Client);
    let mut child = command
        .spawn()
        .map_err(|error| failed(format!("it cannot be run: {error}")))?;
    drop(command);
    let (entered, phases) = watch::channel(None);
    let reading_events = tokio::task::spawn_blocking({
        let recorder = recorder.clone();
        move || read_events(BufReader::new(events), &recorder, offset, &entered)
    });
    let reading_text = tokio::task::spawn_blocking(move || read_text(said));
    let status = tokio::select! {
        status = child.wait() => status.map_err(Error::io("waiting for a test"))?,
        limit = overdue(phases, longest) => return Err(limit.passed(&recorder)),
    };
    recorder.part(Part::ClientEnd);
    drop(events_end);
    let verdict = reading_events.await.expect("reading events does not panic");
    let said = reading_text.await.expect("reading output does not panic");
    Ok(judge(status, verdict, said, began.elapsed()))
}

/// Resolves when what it does now takes longer than that.
async fn overdue(mut phases: watch::Receiver<Option<Phase>>, longest: Duration) -> Limit {
    loop {
        let limit = Limit::of_test(longest);
        // What others make just now, an image or a snapshot, is waited for as long as it takes.
        let waits = matches!(
            *phases.borrow_and_update(),
            Some(Phase::Plan | Phase::Image)
        );
        tokio::select! {
            () = sleep_until(limit.at), if !waits => return limit,
            changed = phases.changed() => if changed.is_err() {
                // It tells no more: it ends.
                sleep_until(limit.at).await;
                return limit;
            }
        }
    }
}

/// Pass the events on, but the verdict: that is the run's to say.
fn read_events(
    events: impl BufRead,
    recorder: &Recorder,
    offset: u64,
    entered: &watch::Sender<Option<Phase>>,
) -> Option<Judged> {
    let mut told = None;
    for line in events.lines().map_while(std::result::Result::ok) {
        let Ok(event) = serde_json::from_str::<Event>(&line) else {
            continue;
        };
        if let (EventKind::PhaseStarted { phase }, None) = (&event.kind, &event.machine) {
            entered.send_replace(Some(*phase));
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_secs(10);
    const NEARLY: Duration = Duration::from_secs(9);

    #[tokio::test(start_paused = true)]
    async fn each_phase_has_its_time_and_waiting_has_any() {
        let (entered, phases) = watch::channel(None);
        let mut late = std::pin::pin!(overdue(phases, LONGEST));
        let told = [
            Phase::Plan,
            Phase::Image,
            Phase::Boot,
            Phase::Test,
            Phase::Snapshot,
        ];
        for phase in told {
            assert!(tokio::time::timeout(NEARLY, &mut late).await.is_err());
            entered.send_replace(Some(phase));
        }
        entered.send_replace(Some(Phase::Image));
        assert!(
            tokio::time::timeout(100 * LONGEST, &mut late)
                .await
                .is_err()
        );
        entered.send_replace(Some(Phase::Test));
        assert!(tokio::time::timeout(NEARLY, &mut late).await.is_err());
        late.await;
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_tells_nothing_has_its_time() {
        let (entered, phases) = watch::channel(None);
        let mut late = std::pin::pin!(overdue(phases, LONGEST));
        assert!(tokio::time::timeout(NEARLY, &mut late).await.is_err());
        drop(entered);
        late.await;
    }

    #[test]
    fn phases_of_the_lab_are_told_and_those_of_machines_are_not() {
        let (recorder, _events) = Recorder::new(Instant::now());
        let (entered, phases) = watch::channel(None);
        let event = |phase, machine: Option<&str>| Event {
            at_ns: 0,
            test: None,
            machine: machine.map(str::to_owned),
            kind: EventKind::PhaseStarted { phase },
        };
        let lines = [event(Phase::Restore, None), event(Phase::Boot, Some("a"))];
        let lines = lines.map(|event| serde_json::to_string(&event).unwrap());
        let told = read_events(lines.join("\n").as_bytes(), &recorder, 0, &entered);
        assert!(told.is_none());
        assert_eq!(*phases.borrow(), Some(Phase::Restore));
    }
}

//! What came of a shard, from its output.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use attest::events::{self, Event, EventKind, ExitCode, FailureDetail};

use super::super::events_in;
use super::super::verdict::{Broken, Outcome, Verdict};
use super::program::{Nix, NixError};
use super::suite::Target;

/// What came of a shard.
#[derive(Debug)]
pub(super) struct Collected {
    pub(super) verdict: events::Verdict,
    /// Why it is not passed.
    pub(super) failure: Option<FailureDetail>,
    /// How long its tests took, nanoseconds; none where its events do not say it.
    pub(super) took_ns: Option<u64>,
    /// What broke beneath its tests within the build, which tried them again.
    pub(super) broken: Vec<Broken>,
}

/// What a shard's events tell.
#[derive(Default)]
struct Told {
    wall_ns: Option<u64>,
    /// The tests that did not pass.
    failures: Vec<(String, FailureDetail)>,
}

impl Collected {
    /// Copies the output of a shard out of the store, to this directory, and reads it.
    pub(super) async fn copy(nix: &Nix, target: &Target, to: &Path) -> Result<Self, NixError> {
        // What an earlier build left there.
        remove(to);
        if let Err(error) = nix.copy(&target.output, to).await {
            remove(to);
            return Err(error);
        }
        Ok(Self::read(to))
    }

    fn read(directory: &Path) -> Self {
        let told = Told::of(events_in(directory));
        let (took_ns, failures) = (told.wall_ns, told.failures);
        match Verdict::of(directory) {
            Ok(verdict) => Self {
                verdict: judged(&verdict),
                failure: failure(&verdict, failures),
                took_ns,
                broken: verdict.attempts,
            },
            Err(_) => Self {
                verdict: events::Verdict::Infrastructure,
                failure: Some(FailureDetail {
                    message: "its output has no `verdict.json` that can be read; was it made by an `attest nix shard` \
                              of this version?"
                        .to_owned(),
                    ..FailureDetail::default()
                }),
                took_ns,
                broken: Vec::new(),
            },
        }
    }
}

/// A directory, or a file. What is still there is in the way of what comes next, which says so.
fn remove(path: &Path) {
    let _ = fs::remove_dir_all(path).or_else(|_| fs::remove_file(path));
}

fn judged(verdict: &Verdict) -> events::Verdict {
    match verdict.outcome {
        Outcome::Passed => events::Verdict::Passed,
        Outcome::Failed if verdict.exit == ExitCode::TimedOut.code() => events::Verdict::TimedOut,
        // What is wrong with a manifest is wrong wherever it is built.
        Outcome::Failed | Outcome::Refused => events::Verdict::Failed,
    }
}

/// Of a single test, all that is known; of several, how each began.
fn failure(verdict: &Verdict, mut failures: Vec<(String, FailureDetail)>) -> Option<FailureDetail> {
    let Verdict { tests, failed, .. } = verdict;
    let mut message = match verdict.outcome {
        Outcome::Passed => return None,
        Outcome::Refused => "the manifest or a script is wrong, and nothing was started".to_owned(),
        Outcome::Failed => format!("{} of {tests} failed: {}", failed.len(), failed.join(", ")),
    };
    let mut detail = match failures.as_mut_slice() {
        [(_, only)] => std::mem::take(only),
        _ => FailureDetail::default(),
    };
    if failures.len() == 1 {
        message.push('\n');
        message.push_str(&detail.message);
    } else {
        for (test, failure) in &failures {
            let first = failure.message.lines().next().unwrap_or_default();
            let _ = write!(message, "\n{test}: {first}");
        }
    }
    detail.message = message;
    Some(detail)
}

impl Told {
    fn of(events: impl Iterator<Item = Event>) -> Self {
        let mut told = Self::default();
        for event in events {
            match event.kind {
                EventKind::RunEnded { breakdown, .. } => told.wall_ns = Some(breakdown.wall_ns),
                EventKind::TestEnded {
                    verdict, failure, ..
                } if verdict.is_bad() => {
                    let test = event.test.unwrap_or_default();
                    told.failures.push((test, failure.unwrap_or_default()));
                }
                _ => {}
            }
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(verdict: &str, events: &[&str]) -> Collected {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("verdict.json"), verdict).unwrap();
        fs::write(place.path().join("events.jsonl"), events.join("\n")).unwrap();
        Collected::read(place.path())
    }

    fn verdict(verdict: &str, exit: u8, failed: &[&str]) -> String {
        serde_json::json!({
            "verdict": verdict, "exit": exit, "tests": 3, "failed": failed, "restored": 0,
            "attempts": [{ "exit": 3, "reason": "QEMU is missing" }],
        })
        .to_string()
    }

    const PING: &str = r#"{"at_ns":1,"test":"ping","event":"test-ended","verdict":"failed","duration_ns":1,"failure":{"message":"it exited with 1\nmore","machine":"a","command":"false"}}"#;
    const WEB: &str = r#"{"at_ns":1,"test":"web","event":"test-ended","verdict":"timed-out","duration_ns":1,"failure":{"message":"port 80 was never open"}}"#;
    const END: &str = r#"{"at_ns":9,"event":"run-ended","exit_code":"passed","summary":{"passed":3,"failed":0,"timed_out":0,"infrastructure":0,"interrupted":0,"skipped":0},"breakdown":{"wall_ns":9,"total":[],"machines":[]}}"#;

    #[test]
    fn what_passed_has_its_time_and_what_was_tried_before() {
        let collected = read(&verdict("passed", 0, &[]), &[END]);
        assert_eq!(collected.verdict, events::Verdict::Passed);
        assert_eq!(collected.took_ns, Some(9));
        assert_eq!(collected.failure, None);
        assert_eq!(collected.broken[0].reason, "QEMU is missing");
    }

    #[test]
    fn failures_tell_what_is_known() {
        let collected = read(&verdict("failed", 1, &["ping"]), &[PING]);
        assert_eq!(collected.verdict, events::Verdict::Failed);
        let failure = collected.failure.unwrap();
        assert_eq!(
            failure.message,
            "1 of 3 failed: ping\nit exited with 1\nmore"
        );
        assert_eq!(failure.command.as_deref(), Some("false"));
        let collected = read(&verdict("failed", 5, &["ping", "web"]), &[PING, WEB]);
        assert_eq!(collected.verdict, events::Verdict::TimedOut);
        insta::assert_snapshot!(collected.failure.unwrap().message, @r"
        2 of 3 failed: ping, web
        ping: it exited with 1
        web: port 80 was never open
        ");
        let collected = read(&verdict("refused", 2, &[]), &[]);
        assert_eq!(collected.verdict, events::Verdict::Failed);
    }

    #[test]
    fn what_is_no_output_of_a_shard_says_nothing_about_tests() {
        let collected = read("{}", &[]);
        assert_eq!(collected.verdict, events::Verdict::Infrastructure);
        assert!(collected.failure.unwrap().message.contains("verdict.json"));
    }
}

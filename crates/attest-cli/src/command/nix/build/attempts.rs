//! What each build of a shard came to, and the file that says it.

use std::collections::VecDeque;
use std::time::{Instant, SystemTime};

use attest::events::{ExitCode, Verdict, nanoseconds};
use serde::Serialize;

use super::super::verdict::Broken;
use super::suite::Target;

/// Of the log of a build that gave nothing, so many lines are kept: as many as Nix shows of a failure.
const LINES: usize = 25;
/// And so much of each.
const LENGTH: usize = 1000;

/// What one build of a shard came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Attempt {
    pub(super) outcome: Outcome,
    /// Since when it was built, RFC 3339, UTC; none where it never was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) began: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) duration_ms: Option<u64>,
    /// The remote builder, as Nix calls it; none where this host built it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) builder: Option<String>,
    /// Why there is no output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    /// The end of its log, where there is no output.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) log: Vec<String>,
}

/// Whether there is an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Outcome {
    /// It was in the store before.
    InStore,
    /// It was built.
    Built,
    /// It came from where Nix fetches from.
    Fetched,
    /// There is none.
    NoOutput,
    /// There is none, for the user ended it.
    Interrupted,
}

/// A build that runs, or ran.
#[derive(Debug)]
pub(super) struct Running {
    began: SystemTime,
    since: Instant,
    ended: Option<Instant>,
    pub(super) builder: Option<String>,
    log: VecDeque<String>,
}

impl Running {
    pub(super) fn begin(builder: Option<String>) -> Self {
        Self {
            began: SystemTime::now(),
            since: Instant::now(),
            ended: None,
            builder,
            log: VecDeque::new(),
        }
    }

    pub(super) fn print(&mut self, line: &str) {
        if self.log.len() == LINES {
            self.log.pop_front();
        }
        self.log.push_back(line.chars().take(LENGTH).collect());
    }

    pub(super) fn end(&mut self) {
        self.ended = Some(Instant::now());
    }

    /// Until now, where Nix did not say when it ended; nanoseconds.
    pub(super) fn took_ns(&self) -> u64 {
        let until = self.ended.unwrap_or_else(Instant::now);
        nanoseconds(until.saturating_duration_since(self.since))
    }

    pub(super) fn log(&self) -> Vec<String> {
        self.log.iter().cloned().collect()
    }
}

impl Attempt {
    /// Of what ran, if it did.
    pub(super) fn of(running: Option<&Running>, outcome: Outcome, reason: Option<String>) -> Self {
        let has_none = matches!(outcome, Outcome::NoOutput | Outcome::Interrupted);
        Self {
            outcome,
            began: running.map(|running| attest::run::timestamp(running.began)),
            duration_ms: running.map(|running| running.took_ns() / 1_000_000),
            builder: running.and_then(|running| running.builder.clone()),
            reason,
            log: running
                .filter(|_| has_none)
                .map(Running::log)
                .unwrap_or_default(),
        }
    }
}

/// `attempts.json`.
#[derive(Debug, Serialize)]
pub(super) struct AttemptsFile<'a> {
    /// Nix, as it calls itself.
    pub(super) nix: &'a str,
    pub(super) retries: u32,
    pub(super) exit_code: ExitCode,
    pub(super) shards: Vec<ShardAttempts<'a>>,
    /// Of the tests over them, where all that they depend on was there.
    pub(super) wholes: Vec<ShardAttempts<'a>>,
}

/// The attempts at one derivation.
#[derive(Debug, Serialize)]
pub(super) struct ShardAttempts<'a> {
    pub(super) name: &'a str,
    pub(super) installable: &'a str,
    pub(super) derivation: &'a str,
    pub(super) output: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) verdict: Option<Verdict>,
    /// The directory with a copy of the output, below that of this file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) directory: Option<String>,
    pub(super) attempts: &'a [Attempt],
    /// What broke within the last one, which tried its tests again by itself.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(super) broken_within: &'a [Broken],
}

impl<'a> ShardAttempts<'a> {
    pub(super) fn of(target: &'a Target, attempts: &'a [Attempt]) -> Self {
        Self {
            name: &target.name,
            installable: &target.installable,
            derivation: &target.derivation,
            output: &target.output,
            verdict: None,
            directory: None,
            attempts,
            broken_within: &[],
        }
    }
}

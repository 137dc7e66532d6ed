//! What stays of a build: one JUnit report, and what every attempt came to.

use std::fs;
use std::path::Path;

use attest::events::{ExitCode, Verdict};
use attest_report::{JunitShard, merge_shards};

use super::attempts::{AttemptsFile, ShardAttempts};
use super::program::Nix;
use super::rounds::State;
use super::suite::{Kind, Suite, Target};

/// Where copies of outputs are, in the output directory.
pub(super) const SHARDS: &str = "shards";

/// What is written.
pub(super) struct Reports<'a> {
    pub(super) nix: &'a Nix,
    pub(super) suite: &'a Suite,
    pub(super) states: &'a [State],
    pub(super) retries: u32,
    pub(super) exit_code: ExitCode,
}

impl Reports<'_> {
    fn all(&self, kind: Kind) -> impl Iterator<Item = (&Target, &State)> {
        let all = self.suite.targets.iter().zip(self.states);
        all.filter(move |(target, _)| target.kind == kind)
    }

    /// `attempts.json`.
    pub(super) fn attempts(&self) -> String {
        let of = |kind| {
            let all = self.all(kind).map(|(target, state)| {
                let mut of = ShardAttempts::of(target, &state.attempts);
                // The whole has the verdict of its shards.
                of.verdict = state.verdict.filter(|_| kind == Kind::Shard);
                of.directory = state
                    .is_copied
                    .then(|| format!("{SHARDS}/{}", target.directory));
                of.broken_within = &state.broken;
                of
            });
            all.filter(|of| kind == Kind::Shard || !of.attempts.is_empty())
                .collect()
        };
        let file = AttemptsFile {
            nix: self.nix.version(),
            retries: self.retries,
            exit_code: self.exit_code,
            shards: of(Kind::Shard),
            wholes: of(Kind::Whole),
        };
        let text = serde_json::to_string_pretty(&file);
        text.expect("it has nothing but text and numbers") + "\n"
    }

    /// `junit.xml`, with the names of the shards whose own cannot be read.
    pub(super) fn junit(&self, directory: &Path) -> (String, Vec<String>) {
        let shards = self
            .all(Kind::Shard)
            .map(|(target, state)| junit_of(target, state, directory));
        let mut shards: Vec<JunitShard> = shards.collect();
        let mut unreadable = Vec::new();
        for shard in &mut shards {
            if merge_shards(std::slice::from_ref(shard)).is_err() {
                shard.report = None;
                unreadable.push(shard.name.clone());
            }
        }
        let merged = merge_shards(&shards);
        (merged.expect("each of them can be merged"), unreadable)
    }
}

fn junit_of(target: &Target, state: &State, directory: &Path) -> JunitShard {
    let report = directory
        .join(SHARDS)
        .join(&target.directory)
        .join("junit.xml");
    let report = state
        .is_copied
        .then(|| fs::read_to_string(report).ok())
        .flatten();
    let mut retried: Vec<String> = state.reasons().map(str::to_owned).collect();
    let lost = match state.verdict {
        Some(Verdict::Infrastructure) if !state.is_copied => retried.pop(),
        Some(Verdict::Infrastructure) => Some("its output is none of a shard's".to_owned()),
        Some(Verdict::Interrupted) | None => Some("interrupted".to_owned()),
        Some(_) => None,
    };
    JunitShard {
        name: target.name.clone(),
        report,
        retried,
        lost,
    }
}

//! What happens, as events: to the outputs of every run of attest, a shard is what a test is to a run.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::Path;
use std::time::{Instant, SystemTime};

use attest::events::{
    Breakdown, Event, EventKind, ExitCode, FailureDetail, Phase, Summary, Verdict, nanoseconds,
};
use attest_report::{JsonLines, Reader as _, Readers, Timeline};

use crate::arguments::{Format, NixBuild, Verbosity};
use crate::output;

/// For lines of Nix's and of builds: what takes the place of a machine.
const NIX: &str = "nix";

/// Tells whoever watches.
pub(super) struct Telling {
    readers: Readers,
    began: Instant,
    summary: Summary,
    /// The first thing that could not be written.
    written: io::Result<()>,
}

/// How a shard ended.
pub(super) struct End {
    pub(super) verdict: Verdict,
    pub(super) took_ns: u64,
    pub(super) failure: Option<FailureDetail>,
    pub(super) tries: u32,
}

impl Telling {
    pub(super) fn new(
        arguments: &NixBuild,
        verbosity: &Verbosity,
        directory: &Path,
        began: Instant,
    ) -> io::Result<Self> {
        let mut readers = Readers::new();
        match arguments.format {
            Format::Human => readers.add(output::terminal(verbosity)),
            Format::Json => readers.add(JsonLines::new(io::stdout())),
        }
        let file = File::create(directory.join("events.jsonl"))?;
        readers.add(JsonLines::new(BufWriter::new(file)));
        readers.add(Timeline::create(&directory.join("timeline.html"))?);
        Ok(Self {
            readers,
            began,
            summary: Summary::default(),
            written: Ok(()),
        })
    }

    fn tell(&mut self, test: Option<&str>, machine: Option<&str>, kind: EventKind) {
        let event = Event {
            at_ns: nanoseconds(self.began.elapsed()),
            test: test.map(str::to_owned),
            machine: machine.map(str::to_owned),
            kind,
        };
        let written = self.readers.event(&event);
        let before = std::mem::replace(&mut self.written, Ok(()));
        self.written = before.and(written);
    }

    pub(super) fn begin(&mut self, shards: Vec<String>, directory: &Path) {
        let kind = EventKind::RunStarted {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            time: attest::run::timestamp(SystemTime::now()),
            tests: shards,
            jobs: 1,
            output: directory.display().to_string(),
        };
        self.tell(None, None, kind);
    }

    pub(super) fn chose(&mut self, what: &str, choice: String, reason: String) {
        let what = what.to_owned();
        self.tell(
            None,
            None,
            EventKind::Chosen {
                what,
                choice,
                reason,
            },
        );
    }

    /// Something began, in a shard or beside them.
    pub(super) fn progress(&mut self, shard: Option<&str>, text: String) {
        self.tell(shard, None, EventKind::Progress { text });
    }

    pub(super) fn warn(&mut self, shard: Option<&str>, message: String) {
        self.tell(shard, None, EventKind::Warning { message });
    }

    /// A line that Nix or a build printed.
    pub(super) fn line(&mut self, shard: Option<&str>, line: &str) {
        let line = line.to_owned();
        self.tell(shard, Some(NIX), EventKind::Console { line });
    }

    pub(super) fn shard_began(&mut self, shard: &str) {
        self.tell(Some(shard), None, EventKind::TestStarted);
        let phase = Phase::Test;
        self.tell(Some(shard), None, EventKind::PhaseStarted { phase });
    }

    /// It has no output, and is built again.
    pub(super) fn lost(
        &mut self,
        shard: &str,
        number: u32,
        of: u32,
        took_ns: u64,
        failure: FailureDetail,
    ) {
        let kind = EventKind::TryEnded {
            number,
            of,
            verdict: Verdict::Infrastructure,
            duration_ns: took_ns,
            failure: Some(failure),
        };
        self.tell(Some(shard), None, kind);
    }

    pub(super) fn shard_ended(&mut self, shard: &str, end: End) {
        self.summary.count_tried(end.verdict, end.tries);
        let kind = EventKind::TestEnded {
            verdict: end.verdict,
            duration_ns: end.took_ns,
            failure: end.failure,
            tries: end.tries,
        };
        self.tell(Some(shard), None, kind);
    }

    /// What follows from all verdicts so far.
    pub(super) fn exit_code(&self) -> ExitCode {
        self.summary.exit_code()
    }

    /// There is no end that says something.
    pub(super) fn break_off(mut self) {
        // What cannot be written is less than what broke it off.
        let _ = self.readers.finish();
    }

    /// The end.
    pub(super) fn end(mut self) -> io::Result<()> {
        let kind = EventKind::RunEnded {
            exit_code: self.exit_code(),
            summary: self.summary,
            breakdown: Breakdown {
                wall_ns: nanoseconds(self.began.elapsed()),
                ..Breakdown::default()
            },
        };
        self.tell(None, None, kind);
        self.written.and(self.readers.finish())
    }
}

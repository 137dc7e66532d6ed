//! The JUnit report as the NixOS test driver writes it: one suite, a case for each subtest.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use attest_events::{Event, EventKind, FailureDetail, LogLevel, Verdict};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::parts::{Entry, Parts, finished};
use crate::Reader;
use crate::sanitize::sanitized_lines;

/// As the NixOS test driver names it.
const SUITE: &str = "NixOS integration test";
/// What is in no subtest.
const MAIN: &str = "main";
/// As the NixOS test driver has it; what there is to say stands in the text below.
const FAILED: &str = "test case failed";

/// Collects the script's log, and writes it as one XML document at the end.
#[derive(Debug)]
pub struct NixosJunit<W> {
    out: W,
    parts: Parts,
    main: Case,
    cases: Vec<Case>,
    /// Open subtests by their numbers, with the places of their cases.
    open: Vec<(u64, usize)>,
    written: bool,
}

#[derive(Debug, Default)]
struct Case {
    name: String,
    seconds: f64,
    said: String,
    errors: String,
    failure: Option<String>,
}

impl NixosJunit<File> {
    /// Writes to the file, which is made now.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn create(path: &Path, least: LogLevel) -> io::Result<Self> {
        Ok(Self::new(File::create(path)?, least))
    }
}

impl<W: Write> NixosJunit<W> {
    /// Writes to `out` what matters at least that much.
    pub fn new(out: W, least: LogLevel) -> Self {
        Self {
            out,
            parts: Parts::new(least),
            main: Case {
                name: MAIN.to_owned(),
                ..Case::default()
            },
            cases: Vec::new(),
            open: Vec::new(),
            written: false,
        }
    }

    /// What was written to.
    pub fn into_inner(self) -> W {
        self.out
    }

    fn current(&mut self) -> &mut Case {
        match self.open.last() {
            Some((_, place)) => &mut self.cases[*place],
            None => &mut self.main,
        }
    }

    fn say(&mut self, text: &str) {
        let said = &mut self.current().said;
        for line in sanitized_lines(text) {
            said.push_str(&line);
            said.push('\n');
        }
    }

    fn say_error(&mut self, text: &str) {
        let errors = &mut self.current().errors;
        for line in sanitized_lines(text) {
            errors.push_str(&line);
            errors.push('\n');
        }
    }

    fn ended(&mut self, verdict: Verdict, seconds: f64, failure: Option<&FailureDetail>) {
        let inside: f64 = self.cases.iter().map(|case| case.seconds).sum();
        self.main.seconds = (seconds - inside).max(0.0);
        if verdict == Verdict::Passed {
            return;
        }
        // What failed in a subtest is told there.
        if self.cases.iter().any(|case| case.failure.is_some()) {
            return;
        }
        let message = failure.map_or_else(|| "it did not pass".to_owned(), |f| f.message.clone());
        // One that is open was broken off.
        self.current().failure = Some(message);
    }

    fn write(&mut self) -> io::Result<()> {
        if std::mem::replace(&mut self.written, true) {
            return Ok(());
        }
        let mut suite = TestSuite::new(SUITE);
        let main = std::mem::take(&mut self.main);
        let mut all = 0.0;
        for case in self.cases.drain(..).chain([main]) {
            all += case.seconds;
            suite.add_test_case(case.into_junit());
        }
        suite.set_time(Duration::from_secs_f64(all));
        let mut report = Report::new(SUITE);
        report.set_time(Duration::from_secs_f64(all));
        report.add_test_suite(suite);
        report.serialize(&mut self.out).map_err(io::Error::other)?;
        self.out.flush()
    }
}

impl Case {
    fn into_junit(self) -> TestCase {
        let status = match &self.failure {
            None => TestCaseStatus::success(),
            Some(why) => {
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                let lines: Vec<String> = sanitized_lines(why).collect();
                status.set_message(FAILED);
                let text = format!("{}\n\n{}", lines.join("\n"), self.errors);
                status.set_description(text.trim_end());
                status
            }
        };
        let name: String = sanitized_lines(&self.name).collect::<Vec<_>>().join(" ");
        let mut case = TestCase::new(name, status);
        case.set_time(Duration::from_secs_f64(self.seconds));
        case.set_classname(SUITE);
        if !self.said.is_empty() {
            case.set_system_out(self.said);
        }
        if !self.errors.is_empty() {
            case.set_system_err(self.errors);
        }
        case
    }
}

impl<W: Write> Reader for NixosJunit<W> {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        match &event.kind {
            EventKind::TestEnded {
                verdict,
                duration_ns,
                failure,
                ..
            } => {
                let seconds = Duration::from_nanos(*duration_ns).as_secs_f64();
                self.ended(*verdict, seconds, failure.as_ref());
                return Ok(());
            }
            EventKind::RunEnded { .. } => return self.write(),
            _ => {}
        }
        let Some(entry) = self.parts.entry(event) else {
            return Ok(());
        };
        match entry {
            Entry::Line { level, message, .. } if level >= LogLevel::Error => {
                self.say_error(&message);
            }
            Entry::Line { message, .. } => self.say(&message),
            Entry::Console { machine, line } => {
                let line = format!("{machine} # {line}");
                self.say(&line);
            }
            Entry::Began {
                id,
                message,
                subtest: true,
                ..
            } => {
                self.open.push((id, self.cases.len()));
                self.cases.push(Case {
                    name: message.to_owned(),
                    ..Case::default()
                });
            }
            Entry::Began { message, .. } => {
                let message = message.to_owned();
                self.say(&message);
            }
            Entry::Ended {
                id,
                part,
                seconds,
                error,
                ..
            } if part.subtest => {
                let error = error.map(str::to_owned);
                self.end_subtest(id, seconds, error);
            }
            Entry::Ended {
                part,
                seconds,
                error: None,
                ..
            } => self.say(&finished(&part, seconds)),
            Entry::Ended { .. } => {}
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.write()
    }
}

impl<W> NixosJunit<W> {
    /// Its time is its own: that of subtests within it is theirs.
    fn end_subtest(&mut self, id: u64, seconds: f64, error: Option<String>) {
        let Some(at) = self.open.iter().position(|(open, _)| *open == id) else {
            return;
        };
        let (_, place) = self.open.remove(at);
        let inside: f64 = self.cases[place + 1..]
            .iter()
            .map(|case| case.seconds)
            .sum();
        let case = &mut self.cases[place];
        case.seconds = (seconds - inside).max(0.0);
        case.failure = error;
    }
}

//! JUnit XML, as continuous integration reads it.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use attest_events::{Event, EventKind, FailureDetail, Verdict};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestRerun, TestSuite};

use crate::Reader;
use crate::failure::gist;
use crate::sanitize::{sanitize, sanitized_lines};

/// The suite of tests whose name has no `::`.
pub(crate) const SUITE: &str = "attest";

/// Collects the run and writes it as one XML document at its end. The part of a test's name before
/// the last `::` is its suite.
///
/// A failed or timed-out test is a `failure`; broken infrastructure and an interruption are an
/// `error`. Of a test that was tried several times, the last try is its result, and the earlier
/// ones stand in it: as `flakyFailure` where it passed at last, else as `rerunFailure`.
#[derive(Debug)]
pub struct Junit<W> {
    out: W,
    report: Report,
    suites: Vec<TestSuite>,
    /// Tries that did not pass, of tests that still run.
    reruns: HashMap<String, Vec<TestRerun>>,
    written: bool,
}

impl Junit<File> {
    /// Writes to the file, which is made now so that a path that cannot be written is known before
    /// the run. Its directory is made too.
    ///
    /// # Errors
    /// The directory or the file cannot be made.
    pub fn create(path: &Path) -> io::Result<Self> {
        if let Some(directory) = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
        {
            std::fs::create_dir_all(directory)?;
        }
        Ok(Self::new(File::create(path)?))
    }
}

impl<W: Write> Junit<W> {
    /// Writes to `out`.
    pub fn new(out: W) -> Self {
        Self {
            out,
            report: Report::new("attest"),
            suites: Vec::new(),
            reruns: HashMap::new(),
            written: false,
        }
    }

    /// What was written to.
    pub fn into_inner(self) -> W {
        self.out
    }

    fn add(&mut self, name: &str, case: TestCase) {
        let index = self
            .suites
            .iter()
            .position(|suite| suite.name.as_str() == name)
            .unwrap_or_else(|| {
                self.suites.push(TestSuite::new(name));
                self.suites.len() - 1
            });
        let suite = &mut self.suites[index];
        let time = suite.time.unwrap_or_default() + case.time.unwrap_or_default();
        suite.set_time(time);
        suite.add_test_case(case);
    }

    fn write(&mut self) -> io::Result<()> {
        if std::mem::replace(&mut self.written, true) {
            return Ok(());
        }
        self.report.add_test_suites(self.suites.drain(..));
        self.report
            .serialize(&mut self.out)
            .map_err(io::Error::other)?;
        self.out.flush()
    }
}

impl<W: Write> Reader for Junit<W> {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        match &event.kind {
            EventKind::RunStarted { time, .. } => self.report.timestamp = time.parse().ok(),
            EventKind::TestEnded {
                verdict,
                duration_ns,
                failure,
                ..
            } => {
                let name = sanitize(event.test.as_deref().unwrap_or("?"));
                let (suite, short) = name.rsplit_once("::").unwrap_or((SUITE, &name));
                let mut status = status(*verdict, failure.as_ref());
                status.add_reruns(self.reruns.remove(&name).unwrap_or_default());
                let mut case = TestCase::new(short, status);
                case.set_classname(suite);
                case.set_time(Duration::from_nanos(*duration_ns));
                if let Some(stdout) = system_out(failure.as_ref()) {
                    case.set_system_out(stdout);
                }
                if let Some(stderr) = output(failure.as_ref(), |failure| failure.stderr.as_deref())
                {
                    case.set_system_err(stderr);
                }
                self.add(suite, case);
            }
            EventKind::TryEnded {
                verdict,
                duration_ns,
                failure,
                ..
            } => {
                let name = sanitize(event.test.as_deref().unwrap_or("?"));
                let rerun = rerun(*verdict, *duration_ns, failure.as_ref());
                self.reruns.entry(name).or_default().push(rerun);
            }
            EventKind::RunEnded { breakdown, .. } => {
                self.report
                    .set_time(Duration::from_nanos(breakdown.wall_ns));
                return self.write();
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.write()
    }
}

/// A try that did not pass, and was not the last.
fn rerun(verdict: Verdict, duration_ns: u64, failure: Option<&FailureDetail>) -> TestRerun {
    let mut rerun = TestRerun::new(kind(verdict));
    rerun.set_type(verdict.name());
    rerun.set_time(Duration::from_nanos(duration_ns));
    if let Some(failure) = failure {
        rerun.set_message(gist(&failure.message));
        rerun.set_description(description(failure));
    }
    if let Some(stdout) = system_out(failure) {
        rerun.set_system_out(stdout);
    }
    if let Some(stderr) = output(failure, |failure| failure.stderr.as_deref()) {
        rerun.set_system_err(stderr);
    }
    rerun
}

/// Whether it is the test's fault.
fn kind(verdict: Verdict) -> NonSuccessKind {
    match verdict {
        Verdict::Infrastructure | Verdict::Interrupted => NonSuccessKind::Error,
        _ => NonSuccessKind::Failure,
    }
}

fn status(verdict: Verdict, failure: Option<&FailureDetail>) -> TestCaseStatus {
    let mut status = match verdict {
        Verdict::Passed => return TestCaseStatus::success(),
        Verdict::Skipped => TestCaseStatus::skipped(),
        bad => TestCaseStatus::non_success(kind(bad)),
    };
    status.set_type(verdict.name());
    if let Some(failure) = failure {
        status.set_message(gist(&failure.message));
        if verdict != Verdict::Skipped {
            status.set_description(description(failure));
        }
    }
    status
}

/// All that is known, as text.
fn description(failure: &FailureDetail) -> String {
    let mut text = String::new();
    let mut section = |title: &str, lines: &mut dyn Iterator<Item = String>| {
        if !title.is_empty() {
            let _ = writeln!(text, "\n{title}:");
        }
        for line in lines {
            let _ = writeln!(text, "{}", line.trim_end());
        }
    };
    section("", &mut sanitized_lines(&failure.message));
    if let Some(machine) = &failure.machine {
        section("machine", &mut sanitized_lines(machine));
    }
    let parts = [
        ("command", &failure.command),
        ("end of stdout", &failure.stdout),
        ("end of stderr", &failure.stderr),
    ];
    for (title, part) in parts {
        if let Some(part) = part.as_deref().filter(|part| !part.is_empty()) {
            section(title, &mut sanitized_lines(part));
        }
    }
    for journal in &failure.journals {
        let title = format!(
            "end of the journal of {} on {}",
            sanitize(&journal.unit),
            sanitize(&journal.machine)
        );
        section(&title, &mut journal.lines.iter().map(|line| sanitize(line)));
    }
    for console in &failure.consoles {
        let title = format!(
            "end of the console of {}, all of it in {}",
            console.machine, console.file
        );
        section(&title, &mut console.lines.iter().map(|line| sanitize(line)));
    }
    // Readers of XML drop what is white at its end.
    text.truncate(text.trim_end().len());
    text
}

/// The output of the failed command, and where its lab was kept.
fn system_out(failure: Option<&FailureDetail>) -> Option<String> {
    let stdout = output(failure, |failure| failure.stdout.as_deref());
    let kept = failure.and_then(|failure| failure.kept.as_deref());
    let kept = kept.map(|command| format!("kept: {}", sanitize(command)));
    match (stdout, kept) {
        (Some(stdout), Some(kept)) => Some(format!("{stdout}\n{kept}")),
        (stdout, kept) => stdout.or(kept),
    }
}

/// An output of the failed command, clean; nothing where there is none.
fn output(
    failure: Option<&FailureDetail>,
    which: impl Fn(&FailureDetail) -> Option<&str>,
) -> Option<String> {
    let lines: Vec<_> = sanitized_lines(which(failure?)?).collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    fn written() -> String {
        let mut reader = Junit::new(Vec::new());
        sample::play(&mut reader);
        String::from_utf8(reader.into_inner()).unwrap()
    }

    #[test]
    fn the_whole_run() {
        insta::assert_snapshot!(written());
    }

    #[test]
    fn earlier_tries_are_reruns() {
        let mut reader = Junit::new(Vec::new());
        for event in sample::parallel() {
            reader.event(&event).unwrap();
        }
        insta::assert_snapshot!(String::from_utf8(reader.into_inner()).unwrap());
    }

    #[test]
    fn no_character_is_left_that_xml_forbids() {
        // The production `Char` of XML 1.0, section 2.2.
        let allowed = |c| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
        let forbidden: Vec<_> = written().chars().filter(|c| !allowed(*c)).collect();
        assert_eq!(forbidden, []);
    }

    #[test]
    fn a_run_that_broke_off_is_written_too() {
        let mut reader = Junit::new(Vec::new());
        for event in sample::events()
            .iter()
            .filter(|event| !matches!(event.kind, EventKind::RunEnded { .. }))
        {
            reader.event(event).unwrap();
        }
        reader.finish().unwrap();
        let text = String::from_utf8(reader.into_inner()).unwrap();
        assert!(text.contains("<testcase name=\"pings\""), "{text}");
        assert!(text.trim_end().ends_with("</testsuites>"), "{text}");
    }

    #[test]
    fn the_directory_is_made_and_the_file_written_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/er/junit.xml");
        let mut reader = Junit::create(&path).unwrap();
        sample::play(&mut reader);
        assert_eq!(std::fs::read_to_string(path).unwrap(), written());
    }
}

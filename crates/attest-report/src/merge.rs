//! One JUnit report of those of several shards.

use std::collections::HashMap;
use std::time::Duration;

use quick_junit::{DeserializeError, Report, SerializeError, TestSuite};

use crate::junit::SUITE;

/// What becomes of a test that several reports have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duplicates {
    /// It is an error.
    Refused,
    /// It is there several times.
    Kept,
}

/// Reports cannot become one.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// Not a report.
    #[error("{file} is no JUnit report")]
    Report {
        /// Which file.
        file: String,
        /// What is wrong with it.
        #[source]
        source: DeserializeError,
    },
    /// Some tests are in several reports.
    #[error("{}", list(tests))]
    Duplicates {
        /// The tests, each with its files.
        tests: Vec<(String, Vec<String>)>,
    },
    /// The report cannot be written as XML.
    #[error("the report cannot be written")]
    Write(#[source] SerializeError),
}

fn list(tests: &[(String, Vec<String>)]) -> String {
    let lines = tests
        .iter()
        .map(|(test, files)| format!("  {test}: {}", files.join(", ")));
    let lines: Vec<String> = lines.collect();
    format!("tests are in several reports:\n{}", lines.join("\n"))
}

/// Make one report of these, each with the name of its file: suites of equal name become one, in
/// the order in which they come, and so do the tests in them. The shards ran side by side: the
/// whole began with the first of them, and took as long as the longest.
///
/// # Errors
/// One is no report, or they have tests in common that they must not have.
pub fn merge_junit(
    reports: &[(String, String)],
    duplicates: Duplicates,
) -> Result<String, MergeError> {
    let mut merged = Merged::default();
    for (file, text) in reports {
        let report = Report::deserialize_from_str(text).map_err(|source| MergeError::Report {
            file: file.clone(),
            source,
        })?;
        merged.add(file, report);
    }
    if duplicates == Duplicates::Refused {
        merged.check()?;
    }
    merged.into_report().to_string().map_err(MergeError::Write)
}

#[derive(Default)]
struct Merged {
    whole: Option<Report>,
    suites: Vec<TestSuite>,
    /// Suites' places by their names.
    places: HashMap<String, usize>,
    /// Every test, in order, with the files that have it.
    tests: Vec<(String, Vec<String>)>,
    /// Tests' places by their names.
    known: HashMap<String, usize>,
}

impl Merged {
    fn add(&mut self, file: &str, mut report: Report) {
        for suite in std::mem::take(&mut report.test_suites) {
            for case in &suite.test_cases {
                self.found(file, suite.name.as_str(), case.name.as_str());
            }
            self.add_suite(suite);
        }
        let Some(whole) = &mut self.whole else {
            self.whole = Some(report);
            return;
        };
        whole.time = whole.time.max(report.time);
        whole.timestamp = match (whole.timestamp, report.timestamp) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }

    fn found(&mut self, file: &str, suite: &str, case: &str) {
        let name = match suite {
            SUITE => case.to_owned(),
            _ => format!("{suite}::{case}"),
        };
        let place = *self.known.entry(name.clone()).or_insert_with(|| {
            self.tests.push((name, Vec::new()));
            self.tests.len() - 1
        });
        let files = &mut self.tests[place].1;
        if files.last().is_none_or(|last| last != file) {
            files.push(file.to_owned());
        }
    }

    fn add_suite(&mut self, mut suite: TestSuite) {
        let name = suite.name.as_str().to_owned();
        let Some(&place) = self.places.get(&name) else {
            let cases = std::mem::take(&mut suite.test_cases);
            // Counted anew, of what is there.
            (suite.tests, suite.skipped, suite.failures, suite.errors) = (0, 0, 0, 0);
            suite.add_test_cases(cases);
            self.places.insert(name, self.suites.len());
            self.suites.push(suite);
            return;
        };
        let known = &mut self.suites[place];
        let times = [known.time, suite.time];
        known.time = times.into_iter().flatten().reduce(Duration::saturating_add);
        known.add_test_cases(suite.test_cases);
        known.properties.extend(suite.properties);
    }

    fn check(&self) -> Result<(), MergeError> {
        let several = self.tests.iter().filter(|(_, files)| files.len() > 1);
        let tests: Vec<_> = several.cloned().collect();
        if tests.is_empty() {
            return Ok(());
        }
        Err(MergeError::Duplicates { tests })
    }

    fn into_report(self) -> Report {
        let mut whole = self.whole.unwrap_or_else(|| Report::new("attest"));
        (whole.tests, whole.skipped, whole.failures, whole.errors) = (0, 0, 0, 0);
        whole.disabled = None;
        whole.add_test_suites(self.suites);
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Junit, Reader as _, sample};

    /// The report of a shard: of those events of the sample that are these tests'.
    fn shard(tests: &[&str]) -> String {
        let mut junit = Junit::new(Vec::new());
        for event in sample::events() {
            let test = event.test.as_deref();
            if test.is_none_or(|test| tests.contains(&test)) {
                junit.event(&event).unwrap();
            }
        }
        junit.finish().unwrap();
        String::from_utf8(junit.into_inner()).unwrap()
    }

    fn named(name: &str, text: String) -> (String, String) {
        (name.to_owned(), text)
    }

    #[test]
    fn shards_become_the_report_of_the_whole() {
        let whole = shard(&sample::TESTS);
        let (first, second) = sample::TESTS.split_at(3);
        let shards = [
            named("first.xml", shard(first)),
            named("second.xml", shard(second)),
        ];
        let merged = merge_junit(&shards, Duplicates::Refused).unwrap();
        assert_eq!(merged, whole);
        // What was merged can be merged.
        let again = merge_junit(&[named("all.xml", merged)], Duplicates::Refused).unwrap();
        assert_eq!(again, whole);
    }

    #[test]
    fn earlier_tries_stay() {
        let mut junit = Junit::new(Vec::new());
        for event in sample::parallel() {
            junit.event(&event).unwrap();
        }
        let text = String::from_utf8(junit.into_inner()).unwrap();
        let merged = merge_junit(&[named("x.xml", text.clone())], Duplicates::Refused);
        let read = |text: &str| Report::deserialize_from_str(text).unwrap();
        assert_eq!(read(&merged.unwrap()), read(&text));
    }

    #[test]
    fn a_test_in_several_reports_is_named_with_them() {
        let shards = [
            named("a.xml", shard(&["pings", "web::serves"])),
            named("b.xml", shard(&["web::serves", "web::waits"])),
            named("c.xml", shard(&["web::serves", "pings"])),
        ];
        let error = merge_junit(&shards, Duplicates::Refused).unwrap_err();
        insta::assert_snapshot!(error, @r"
        tests are in several reports:
          pings: a.xml, c.xml
          web::serves: a.xml, b.xml, c.xml
        ");
        let merged = merge_junit(&shards, Duplicates::Kept).unwrap();
        let report = Report::deserialize_from_str(&merged).unwrap();
        assert_eq!((report.tests, report.failures), (6, 4));
    }

    #[test]
    fn what_is_no_report_is_named() {
        let error = merge_junit(&[named("x.xml", "<html/>".to_owned())], Duplicates::Kept);
        assert_eq!(error.unwrap_err().to_string(), "x.xml is no JUnit report");
    }
}

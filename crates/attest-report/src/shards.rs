//! One JUnit report of shards that were built apart, and may have been lost on the way.

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use crate::merge::{Duplicates, MergeError, merge_junit};
use crate::sanitize::{sanitize, sanitized_lines};

/// The suite of shards that were lost.
const SUITE: &str = "shards";
/// What names of properties begin with.
const PREFIX: &str = "attest.shard";

/// A shard, for [`merge_shards`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JunitShard {
    /// Its name.
    pub name: String,
    /// The report of its tests; none where it has no result.
    pub report: Option<String>,
    /// Why it had no result when it was tried before, one for each try.
    pub retried: Vec<String>,
    /// Why it has none in the end.
    pub lost: Option<String>,
}

/// Make one report of those of all shards. What was tried again is told by properties of the suites
/// of its tests (`attest.shard.NAME.try-1`: why); a shard that has no result is an error, in a suite
/// of its own, so that nobody takes the rest for the whole.
///
/// # Errors
/// One is no report.
pub fn merge_shards(shards: &[JunitShard]) -> Result<String, MergeError> {
    let mut reports = Vec::new();
    let mut lost = TestSuite::new(SUITE);
    for shard in shards {
        if let Some(text) = &shard.report {
            reports.push((shard.name.clone(), annotated(shard, text)?));
        }
        if let Some(why) = &shard.lost {
            lost.add_test_case(case(shard, why));
        }
    }
    if !lost.test_cases.is_empty() {
        let mut report = Report::new("attest");
        report.add_test_suite(lost);
        reports.push((SUITE.to_owned(), written(&report)?));
    }
    // Tests of several installables may have equal names.
    merge_junit(&reports, Duplicates::Kept)
}

fn annotated(shard: &JunitShard, text: &str) -> Result<String, MergeError> {
    let report = Report::deserialize_from_str(text);
    let mut report = report.map_err(|source| MergeError::Report {
        file: shard.name.clone(),
        source,
    })?;
    for suite in &mut report.test_suites {
        suite.add_properties(properties(shard));
    }
    written(&report)
}

fn properties(shard: &JunitShard) -> impl Iterator<Item = (String, String)> {
    let name = sanitize(&shard.name);
    let tries = (1..).zip(&shard.retried);
    tries.map(move |(number, why)| (format!("{PREFIX}.{name}.try-{number}"), sanitize(why)))
}

/// A shard that says nothing about the system under test.
fn case(shard: &JunitShard, why: &str) -> TestCase {
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
    status.set_type(attest_events::Verdict::Infrastructure.name());
    let mut lines = sanitized_lines(why);
    status.set_message(lines.next().unwrap_or_default());
    let lines: Vec<String> = sanitized_lines(why).collect();
    status.set_description(lines.join("\n"));
    let mut case = TestCase::new(sanitize(&shard.name), status);
    case.set_classname(SUITE);
    for property in properties(shard) {
        case.add_property(property);
    }
    case
}

fn written(report: &Report) -> Result<String, MergeError> {
    report.to_string().map_err(MergeError::Write)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(test: &str) -> String {
        let mut suite = TestSuite::new("attest");
        suite.add_test_case(TestCase::new(test, TestCaseStatus::success()));
        let mut report = Report::new("attest");
        report.add_test_suite(suite);
        report.to_string().unwrap()
    }

    #[test]
    fn what_was_tried_again_and_what_was_lost_are_told() {
        let shards = [
            JunitShard {
                name: "one".to_owned(),
                report: Some(report("pings")),
                ..JunitShard::default()
            },
            JunitShard {
                name: "two".to_owned(),
                report: Some(report("serves")),
                retried: vec!["no output on \x1b[31mb1: killed".to_owned()],
                lost: None,
            },
            JunitShard {
                name: "three".to_owned(),
                report: None,
                retried: vec!["no output".to_owned()],
                lost: Some("no output on b2\nits log".to_owned()),
            },
        ];
        insta::assert_snapshot!(merge_shards(&shards).unwrap());
    }

    #[test]
    fn what_is_no_report_is_named() {
        let shard = JunitShard {
            name: "one".to_owned(),
            report: Some("<html/>".to_owned()),
            ..JunitShard::default()
        };
        let error = merge_shards(&[shard]).unwrap_err();
        assert_eq!(error.to_string(), "one is no JUnit report");
    }
}

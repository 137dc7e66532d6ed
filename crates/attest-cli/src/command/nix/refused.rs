//! What a shard writes whose tests could not even be begun: it is reported as a test that failed, so that every reader
//! of reports sees it.

use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::Path;
use std::time::SystemTime;

use attest::events::{
    Breakdown, Event, EventKind, ExitCode, FailureDetail, Summary, Verdict as TestVerdict,
};
use attest_report::{JsonLines, Junit, Reader as _, Readers};

/// As a test it is called so.
pub(super) const NAME: &str = "manifest";

/// `events.jsonl` and `junit.xml`, as a run would have written them.
pub(super) fn report(output: &Path, message: String) -> io::Result<()> {
    fs::create_dir_all(output)?;
    let mut readers = Readers::new();
    let events = File::create(output.join(super::EVENTS))?;
    readers.add(JsonLines::new(BufWriter::new(events)));
    readers.add(Junit::create(&output.join("junit.xml"))?);
    let started = EventKind::RunStarted {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        time: attest::run::timestamp(SystemTime::now()),
        tests: vec![NAME.to_owned()],
        jobs: 1,
        output: output.display().to_string(),
    };
    let failed = EventKind::TestEnded {
        verdict: TestVerdict::Failed,
        duration_ns: 0,
        failure: Some(FailureDetail {
            message,
            ..FailureDetail::default()
        }),
        tries: 1,
    };
    let ended = EventKind::RunEnded {
        exit_code: ExitCode::Usage,
        summary: Summary {
            failed: 1,
            ..Summary::default()
        },
        breakdown: Breakdown::default(),
    };
    let of_test = |kind| Event {
        at_ns: 0,
        test: Some(NAME.to_owned()),
        machine: None,
        kind,
    };
    let of_run = |kind| Event {
        test: None,
        ..of_test(kind)
    };
    for event in [
        of_run(started),
        of_test(EventKind::TestStarted),
        of_test(failed),
        of_run(ended),
    ] {
        readers.event(&event)?;
    }
    readers.finish()
}

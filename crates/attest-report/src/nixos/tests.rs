//! One script's log, as all three outputs have it.

use std::collections::BTreeMap;

use attest_events::{Event, EventKind, FailureDetail, LogLevel, Verdict};

use super::{NixosJunit, NixosTerminal, NixosXml};
use crate::Reader;
use crate::sample::HOSTILE;

const MS: u64 = 1_000_000;

fn event(ms: u64, machine: Option<&str>, kind: EventKind) -> Event {
    Event {
        at_ns: ms * MS,
        test: None,
        machine: machine.map(str::to_owned),
        kind,
    }
}

fn line(level: LogLevel, message: &str) -> EventKind {
    EventKind::Log {
        level,
        message: message.to_owned(),
        attributes: BTreeMap::new(),
    }
}

fn begin(id: u64, message: &str, subtest: bool) -> EventKind {
    EventKind::LogBegan {
        id,
        message: message.to_owned(),
        subtest,
        attributes: BTreeMap::from([("image".to_owned(), "a \"b\".png".to_owned())]),
    }
}

fn end(id: u64, ms: u64, error: Option<&str>) -> EventKind {
    EventKind::LogEnded {
        id,
        duration_ns: ms * MS,
        error: error.map(str::to_owned),
    }
}

fn console(line: &str) -> EventKind {
    EventKind::Console {
        line: line.to_owned(),
    }
}

fn script() -> Vec<Event> {
    let web = Some("web");
    vec![
        event(1, None, begin(1, "run the VM test script", false)),
        event(2, web, line(LogLevel::Info, "starting vm")),
        event(3, web, console(HOSTILE)),
        event(3, None, line(LogLevel::Debug, "not for everybody")),
        event(4, None, begin(2, "serves <pages> & more", true)),
        event(
            5,
            web,
            begin(3, "must succeed: curl -f http://localhost", false),
        ),
        event(6, None, EventKind::LogConsoles { on: false }),
        event(7, web, console("nobody wants this")),
        event(7, None, EventKind::LogConsoles { on: true }),
        event(1240, web, end(3, 1235, None)),
        event(1241, None, end(2, 1237, None)),
        event(1300, None, begin(4, "restarts", true)),
        event(1301, web, begin(5, "must succeed: false", false)),
        event(1302, web, line(LogLevel::Info, "output: one\ntwo")),
        event(1302, web, end(5, 1, Some("it failed"))),
        event(
            1303,
            None,
            end(4, 3, Some("command `false` failed (exit code 1)")),
        ),
        event(1304, None, end(1, 1303, Some("it failed"))),
        event(
            1305,
            None,
            line(
                LogLevel::TestError,
                "Traceback (most recent call last):\n  File \"<string>\", line 3",
            ),
        ),
        event(
            1305,
            None,
            EventKind::Warning {
                message: "no KVM here".to_owned(),
            },
        ),
        event(
            1306,
            None,
            EventKind::TestEnded {
                verdict: Verdict::Failed,
                duration_ns: 1305 * MS,
                failure: Some(FailureDetail {
                    message: "command `false` failed (exit code 1)".to_owned(),
                    ..FailureDetail::default()
                }),
                tries: 1,
            },
        ),
    ]
}

fn play(reader: &mut impl Reader, events: &[Event]) {
    for event in events {
        reader.event(event).unwrap();
    }
    reader.finish().unwrap();
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

#[test]
fn the_terminal_has_the_log() {
    let mut terminal = NixosTerminal::new(Vec::new(), LogLevel::Info);
    play(&mut terminal, &script());
    let styled = text(terminal.into_inner());
    insta::assert_snapshot!(anstream::adapter::strip_str(&styled).to_string());
    assert!(
        styled.contains("\u{1b}[1m\u{1b}[32mmust succeed"),
        "{styled}"
    );
}

#[test]
fn junit_has_a_case_for_each_subtest() {
    let mut junit = NixosJunit::new(Vec::new(), LogLevel::Info);
    play(&mut junit, &script());
    insta::assert_snapshot!(text(junit.into_inner()));
}

#[test]
fn junit_without_subtests_tells_the_failure_in_main() {
    let mut junit = NixosJunit::new(Vec::new(), LogLevel::Info);
    let events: Vec<Event> = script()
        .into_iter()
        .filter(|event| !matches!(&event.kind, EventKind::LogBegan { subtest: true, .. }))
        .collect();
    play(&mut junit, &events);
    insta::assert_snapshot!(text(junit.into_inner()));
}

#[test]
fn a_subtest_that_was_broken_off_has_failed() {
    let mut junit = NixosJunit::new(Vec::new(), LogLevel::Info);
    let ended = EventKind::TestEnded {
        verdict: Verdict::TimedOut,
        duration_ns: 2000 * MS,
        failure: Some(FailureDetail {
            message: "the time is out".to_owned(),
            ..FailureDetail::default()
        }),
        tries: 1,
    };
    let events = [
        event(1, None, begin(1, "hangs", true)),
        event(2001, None, ended),
    ];
    play(&mut junit, &events);
    insta::assert_snapshot!(text(junit.into_inner()));
}

#[test]
fn the_xml_log_nests() {
    let mut xml = NixosXml::new(Vec::new(), LogLevel::Debug).unwrap();
    play(&mut xml, &script());
    insta::assert_snapshot!(text(xml.into_inner()).replace("><", ">\n<"));
}

#[test]
fn parts_of_threads_that_cross_are_closed_in_order() {
    let mut xml = NixosXml::new(Vec::new(), LogLevel::Info).unwrap();
    let events = [
        event(1, None, begin(1, "one", false)),
        event(2, None, begin(2, "two", false)),
        event(3, None, end(1, 2, None)),
        event(4, None, line(LogLevel::Info, "in two")),
        event(5, None, end(2, 3, None)),
    ];
    play(&mut xml, &events);
    insta::assert_snapshot!(text(xml.into_inner()).replace("><", ">\n<"));
}

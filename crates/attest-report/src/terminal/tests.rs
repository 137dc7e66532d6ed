//! What is shown of the sample runs.

use super::*;
use crate::sample;

fn written(look: Look, verbosity: Verbosity) -> String {
    let mut reader = Terminal::new(Vec::new(), look, verbosity);
    sample::play(&mut reader);
    String::from_utf8(reader.into_inner()).unwrap()
}

#[test]
fn quiet() {
    insta::assert_snapshot!(written(Look::plain(), Verbosity::Quiet));
}

#[test]
fn normal() {
    insta::assert_snapshot!(written(Look::plain(), Verbosity::Normal));
}

#[test]
fn verbose() {
    insta::assert_snapshot!(written(Look::plain(), Verbosity::Verbose));
}

#[test]
fn colour_adds_styles_and_no_words() {
    let colour = Look {
        colour: true,
        ..Look::plain()
    };
    let styled = written(colour, Verbosity::Verbose);
    assert!(styled.contains("\x1b["));
    let words = anstream::adapter::strip_str(&styled).to_string();
    assert_eq!(words, written(Look::plain(), Verbosity::Verbose));
}

#[test]
fn without_colour_nothing_steers_the_terminal() {
    let text = written(Look::plain(), Verbosity::Verbose);
    let steering = |c: char| c.is_control() && c != '\n';
    assert!(!text.contains(steering), "{text:?}");
}

#[test]
fn consoles_are_cut_to_the_terminal() {
    let narrow = Look {
        width: Some(40),
        ..Look::plain()
    };
    let text = written(narrow, Verbosity::Verbose);
    let lines: Vec<_> = text
        .lines()
        .filter(|line| line.contains("web      |"))
        .collect();
    assert!(!lines.is_empty());
    assert!(
        lines.iter().all(|line| line.chars().count() <= 40),
        "{lines:#?}"
    );
    assert!(
        text.contains("    | httpd: no such file: /srv/index.h…"),
        "{text}"
    );
}

#[test]
fn a_lab_without_a_run_ends_in_silence() {
    let mut reader = Terminal::new(Vec::new(), Look::plain(), Verbosity::Quiet);
    let events = sample::events();
    let lab = |event: &&Event| matches!(event.kind, EventKind::LabStarted { .. });
    reader.event(events.iter().find(lab).unwrap()).unwrap();
    reader.finish().unwrap();
    assert!(reader.into_inner().is_empty());
}

#[test]
fn a_run_that_broke_off_says_so_after_its_failures() {
    let mut reader = Terminal::new(Vec::new(), Look::plain(), Verbosity::Quiet);
    let events = sample::events();
    let failed = |event: &Event| matches!(&event.kind, EventKind::TestEnded { verdict, .. } if verdict.is_bad());
    let end = events.iter().position(failed).unwrap();
    for event in &events[..=end] {
        reader.event(event).unwrap();
    }
    reader.finish().unwrap();
    reader.finish().unwrap();
    let text = String::from_utf8(reader.into_inner()).unwrap();
    assert!(text.contains("returned error: 404"), "{text}");
    assert_eq!(
        text.matches("the run broke off: it has no result\n")
            .count(),
        1,
        "{text}"
    );
}

fn parallel(verbosity: Verbosity) -> String {
    let mut reader = Terminal::new(Vec::new(), Look::plain(), verbosity);
    for event in sample::parallel() {
        reader.event(&event).unwrap();
    }
    reader.finish().unwrap();
    String::from_utf8(reader.into_inner()).unwrap()
}

#[test]
fn tests_side_by_side() {
    insta::assert_snapshot!(parallel(Verbosity::Normal));
}

#[test]
fn tests_side_by_side_in_full() {
    insta::assert_snapshot!(parallel(Verbosity::Verbose));
}

#[test]
fn a_flaky_test_is_never_silent() {
    insta::assert_snapshot!(parallel(Verbosity::Quiet));
}

#[test]
fn what_was_saved_is_said_once() {
    let mut reader = Terminal::new(Vec::new(), Look::plain(), Verbosity::Normal);
    let saved = |test: &str, point: &str, duration_ns| Event {
        at_ns: 1,
        test: Some(test.to_owned()),
        machine: None,
        kind: EventKind::LabSaved {
            lab: "web".to_owned(),
            point: point.to_owned(),
            duration_ns,
        },
    };
    for event in [
        saved("one", "ready", 3_100_000_000),
        saved("other", "ready", 3_100_000_000),
        saved("one", "set-up `filled`", 20_000_000),
    ] {
        reader.event(&event).unwrap();
    }
    reader.finish().unwrap();
    insta::assert_snapshot!(String::from_utf8(reader.into_inner()).unwrap(), @r"
    web: booted in 3.10 s and saved; later runs go on from there
    web: set-up `filled` done in 20.0 ms and saved; later runs go on from there
    ");
}

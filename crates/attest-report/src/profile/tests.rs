use attest_events::{EventKind, Part, Phase};
use proptest::prelude::*;

use super::*;
use crate::look::Look;
use crate::sample;

mod runs;

fn profiled(events: &[Event], until_ns: Option<u64>) -> Profile {
    let mut profiler = Profiler::new().on_processors(2);
    for event in events {
        profiler.observe(event);
    }
    profiler.profile(until_ns)
}

fn adds_up(profile: &Profile) {
    let sum = |times: &mut dyn Iterator<Item = u64>| times.sum::<u64>();
    let total = profile.total_ns;
    assert_eq!(sum(&mut profile.parts.iter().map(|part| part.ns)), total);
    assert_eq!(sum(&mut profile.rows.iter().map(|row| row.ns)), total);
    assert_eq!(sum(&mut profile.who.iter().map(|who| who.ns)), total);
}

fn text(events: &[Event], until_ns: Option<u64>) -> String {
    let profile = profiled(events, until_ns);
    adds_up(&profile);
    profile.text(Look::plain())
}

fn wall(profile: &Profile, part: Part) -> u64 {
    let found = profile.parts.iter().find(|each| each.part == part);
    found.map_or(0, |each| each.ns / 1_000_000)
}

#[test]
fn a_run_that_goes_on_from_a_snapshot() {
    // Reports take 2 ms after its last event.
    insta::assert_snapshot!(text(&runs::restored(), Some(532_000_000)));
}

#[test]
fn the_same_for_programs() {
    let profile = profiled(&runs::restored(), Some(532_000_000));
    insta::assert_snapshot!(serde_json::to_string_pretty(&profile).unwrap());
}

#[test]
fn containers_side_by_side() {
    insta::assert_snapshot!(text(&runs::containers(), None));
}

#[test]
fn a_run_that_boots_and_saves() {
    insta::assert_snapshot!(text(&runs::saved(), None));
}

#[test]
fn a_run_that_says_phases_alone_and_fails() {
    insta::assert_snapshot!(text(&sample::events(), None));
}

#[test]
fn tests_side_by_side_that_say_phases_alone() {
    insta::assert_snapshot!(text(&sample::parallel(), None));
}

#[test]
fn a_run_that_broke_off() {
    let events = runs::restored();
    insta::assert_snapshot!(text(&events[..events.len() / 2], None));
}

#[test]
fn nothing_at_all() {
    let profile = profiled(&[], None);
    adds_up(&profile);
    assert!(profile.text(Look::plain()).contains("the run broke off"));
}

#[test]
fn the_wall_time_waits_for_the_machine_that_is_least_far() {
    let profile = profiled(&runs::restored(), None);
    // Both are there at 70 ms; from 115 ms on, both load; the client's command waits for it to wake until 190.
    assert_eq!(wall(&profile, Part::VmmStart), 45);
    assert_eq!(wall(&profile, Part::Load), 10);
    assert_eq!(wall(&profile, Part::Wake), 14);
    assert_eq!(wall(&profile, Part::Client), 50);
}

#[test]
fn who_waits_for_another_test_counts_as_what_that_one_does() {
    let at = |ms: u64, test: &str, kind| Event {
        at_ns: ms * 1_000_000,
        test: Some(test.to_owned()),
        machine: None,
        kind,
    };
    let part = |part| EventKind::PartStarted { part, cpu_ns: None };
    let phase = |phase| EventKind::PhaseStarted { phase };
    let events = [
        at(0, "a", EventKind::TestStarted),
        at(0, "b", EventKind::TestStarted),
        at(0, "a", phase(Phase::Boot)),
        at(0, "b", part(Part::Turn)),
        at(100, "a", part(Part::Images)),
        at(100, "b", part(Part::Images)),
        at(110, "b", EventKind::LabEnded),
        at(110, "a", part(Part::Turn)),
        at(110, "b", part(Part::Turn)),
        at(111, "b", part(Part::Plan)),
    ];
    let profile = profiled(&events, None);
    assert_eq!(wall(&profile, Part::Kernel), 100);
    assert_eq!(wall(&profile, Part::Images), 10);
    // Where all wait, nobody else can be named.
    assert_eq!(wall(&profile, Part::Turn), 1);
}

#[test]
fn processors_used_during_attests_own_parts_are_not_counted_twice() {
    let events = runs::restored();
    let profile = profiled(&events, None);
    let driver = profile.own.processes.driver_ns;
    let during: u64 = profile
        .parts
        .iter()
        .filter(|part| part.who == Who::Attest)
        .map(|part| part.cpu_ns)
        .sum();
    let beside = profile.own.cpu_ns - profile.own.processes.labs_beside_ns;
    assert!(
        beside >= driver - during,
        "{beside} of {driver}, {during} in its own"
    );
    assert!(beside < driver, "{beside} of {driver}");
    assert_eq!(profile.own.processes.labs_beside_ns, 2_000_000);
}

#[test]
fn guests_cannot_steer_the_terminal() {
    let mut told = runs::Told::default();
    let told = told
        .of(sample::HOSTILE)
        .asked(0, 500, sample::HOSTILE, "wait", sample::HOSTILE);
    let text = text(&told.events, None);
    assert!(
        !text
            .chars()
            .any(|character| character.is_control() && character != '\n')
    );
}

#[test]
fn styles_are_only_where_they_are_wanted() {
    let profile = profiled(&runs::restored(), None);
    let colour = Look {
        colour: true,
        ..Look::plain()
    };
    assert!(!profile.text(Look::plain()).contains('\x1b'));
    assert!(profile.text(colour).contains('\x1b'));
}

fn kind(what: u8, part: usize, cpu: u64) -> EventKind {
    let id = cpu % 5;
    match what {
        0 => EventKind::TestStarted,
        1 => EventKind::TestEnded {
            verdict: attest_events::Verdict::Passed,
            duration_ns: 0,
            failure: None,
            tries: 1,
        },
        2 => EventKind::PhaseStarted {
            phase: Phase::ALL[part % Phase::ALL.len()],
        },
        3 | 4 => EventKind::PartStarted {
            part: Part::ALL[part % Part::ALL.len()],
            cpu_ns: Some(cpu),
        },
        5 => EventKind::OperationStarted {
            id,
            operation: ["exec", "wait", "upload", "reboot"][part % 4].to_owned(),
            subject: "x".to_owned(),
        },
        6 => EventKind::OperationEnded {
            id,
            duration_ns: cpu,
            error: None,
        },
        _ => EventKind::PartsEnded,
    }
}

proptest! {
    #[test]
    fn every_instant_belongs_to_exactly_one_part(
        steps in prop::collection::vec(
            (0..8_u8, 0..4_u8, 0..3_u8, 0..64_usize, 0_u64..1 << 40, 0_u64..1 << 40),
            0..80,
        ),
        until in 0_u64..1 << 40,
    ) {
        let mut last = until;
        let mut events = Vec::new();
        for (what, test, machine, part, cpu, at_ns) in steps {
            // Marks that change nothing do not move the clock.
            let kind = kind(what, part, cpu);
            last = last.max(at_ns);
            events.push(Event {
                at_ns,
                test: (test > 0).then(|| test.to_string()),
                machine: (machine > 0).then(|| machine.to_string()),
                kind,
            });
        }
        let profile = profiled(&events, Some(last));
        prop_assert_eq!(profile.total_ns, last);
        adds_up(&profile);
        let cpu: u64 = profile.parts.iter().map(|part| part.cpu_ns).sum();
        prop_assert!(profile.own.cpu_ns <= 1 << 40 && cpu <= 1 << 40);
    }
}

//! What events and failures say of a guest's systemd.

use std::time::Instant;

use attest::events::{Event, EventKind, FailureDetail, Verdict};
use attest::manifest::{Step, Test, UnitAction, Wait};
use attest::run::{Options, OutputDirectory, Overrides, Run, Selection};
use attest::{Backend, EventStream, Recorder, Run as _};

use crate::debian::can_contain;
use crate::support::{Files, LONG, in_container_with_events, manifest};

const UNITS: Files = &[
    (
        "/etc/systemd/system/multi-user.target.d/test.conf",
        "[Unit]\nWants=bad.service\n",
    ),
    (
        "/etc/systemd/system/bad.service",
        "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo the disk is on fire >&2; exit 3'\n",
    ),
    (
        "/etc/systemd/system/talks.service",
        "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/echo hello from a unit\n",
    ),
];

/// The next event that `wanted` makes something of.
async fn next<T>(events: &mut EventStream, wanted: impl Fn(&EventKind) -> Option<T>) -> T {
    let found = async {
        loop {
            let event = events.next().await.expect("the lab goes on");
            if let Some(found) = wanted(&event.kind) {
                return found;
            }
        }
    };
    let found = tokio::time::timeout(LONG, found).await;
    found.expect("the event comes")
}

#[test]
fn the_boot_and_the_journal_are_events() {
    let test = "the_boot_and_the_journal_are_events";
    in_container_with_events(test, UNITS, async |a, mut events| {
        a.unit("talks").start().await?;
        let (state, failed, times) = next(&mut events, |kind| match kind {
            EventKind::SystemUp {
                state,
                failed,
                times,
            } => Some((state.clone(), failed.clone(), times.clone())),
            _ => None,
        })
        .await;
        assert_eq!(
            (&*state, &*failed),
            ("degraded", &["bad.service".to_owned()][..])
        );
        assert!(times.userspace_ns.is_some_and(|ns| ns > 0), "{times:?}");
        assert!(!times.slowest.is_empty(), "{times:?}");
        let said = |text: &'static str| {
            move |kind: &EventKind| match kind {
                EventKind::Journal { unit, message, .. } if message.contains(text) => {
                    Some(unit.clone())
                }
                _ => None,
            }
        };
        // Also what was written before anybody looked. Which of both came first is for systemd to say.
        let either = |kind: &EventKind| {
            let found = said("on fire")(kind).map(|unit| ("on fire", unit));
            found.or_else(|| said("hello from a unit")(kind).map(|unit| ("hello", unit)))
        };
        let mut both = [
            next(&mut events, either).await,
            next(&mut events, either).await,
        ];
        both.sort();
        let units = both.each_ref().map(|(said, unit)| (*said, &**unit));
        assert_eq!(
            units,
            [("hello", "talks.service"), ("on fire", "bad.service")]
        );
        a.shell("systemd-cat --identifier=late echo and this comes now")
            .await?;
        assert_eq!(next(&mut events, said("this comes now")).await, "late");
        Ok(())
    });
}

/// How each test of a run ended.
fn ended(events: &[Event]) -> Vec<(Verdict, FailureDetail)> {
    let ended = events.iter().filter_map(|event| match &event.kind {
        EventKind::TestEnded {
            verdict, failure, ..
        } => Some((*verdict, failure.clone().unwrap_or_default())),
        _ => None,
    });
    ended.collect()
}

fn steps<const N: usize>(steps: [Step; N]) -> Test {
    Test {
        steps: Some(steps.into()),
        ..Test::default()
    }
}

fn wait(unit: &str) -> Step {
    Step {
        wait: Some(Wait {
            unit: Some(unit.to_owned()),
            ..Wait::default()
        }),
        ..Step::default()
    }
}

#[test]
fn a_failing_test_shows_what_its_units_wrote() {
    let test = "a_failing_test_shows_what_its_units_wrote";
    if !can_contain(test) {
        return;
    }
    let Some(mut file) = manifest(test, Backend::Nspawn, UNITS) else {
        return;
    };
    let start = Step {
        unit: Some(UnitAction {
            start: Some("talks".to_owned()),
            ..UnitAction::default()
        }),
        ..Step::default()
    };
    let fails = Step {
        run: Some("false".to_owned()),
        ..Step::default()
    };
    file.tests = [
        ("passes", steps([start.clone(), wait("talks")])),
        ("its-command-fails", steps([start, fails.clone()])),
        ("its-unit-fails", steps([wait("bad")])),
        ("has-no-units", steps([fails])),
    ]
    .map(|(name, test)| (name.to_owned(), test))
    .into_iter()
    .collect();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("attest.json");
    std::fs::write(&path, serde_json::to_vec(&file).unwrap()).unwrap();
    let selection = Selection::load(&[path], None, &Overrides::default()).unwrap();
    let events = all_events(selection, directory.path());
    let ended = ended(&events);
    let verdicts: Vec<Verdict> = ended.iter().map(|(verdict, _)| *verdict).collect();
    let failed = Verdict::Failed;
    assert_eq!(verdicts, [Verdict::Passed, failed, failed, failed]);
    let journals = |test: usize| {
        let journals = ended[test].1.journals.iter();
        journals
            .map(|tail| (&*tail.unit, tail.lines.join("\n")))
            .collect::<Vec<_>>()
    };
    let [(unit, lines)] = &journals(1)[..] else {
        panic!("one unit")
    };
    assert_eq!(*unit, "talks.service");
    assert!(lines.contains("hello from a unit"), "{lines}");
    let [(unit, lines)] = &journals(2)[..] else {
        panic!("one unit")
    };
    assert_eq!(*unit, "bad.service");
    assert!(lines.contains("the disk is on fire"), "{lines}");
    assert!(journals(3).is_empty());
}

fn all_events(selection: Selection, directory: &std::path::Path) -> Vec<Event> {
    let (recorder, mut events) = Recorder::new(Instant::now());
    let (_sender, interrupted) = tokio::sync::watch::channel(false);
    let run = Run {
        recorder,
        output: OutputDirectory::create(&directory.join("out")).unwrap(),
        cache: None,
        interrupted,
        scripts: None,
        // Their ends are asked for by their places.
        options: Options {
            jobs: 1,
            ..Options::default()
        },
    };
    let collect = async {
        let mut all = Vec::new();
        while let Some(event) = events.next().await {
            all.push(event);
        }
        all
    };
    async { tokio::join!(run.run(selection), collect).1 }.run()
}

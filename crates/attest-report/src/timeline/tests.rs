mod runs;

use attest_events::{EventKind, Marks, Phase, Verdict};
use proptest::prelude::*;
use quick_xml::events::Event as Xml;

use self::runs::{everything, failure, large};
use super::lane::Span;
use super::*;
use crate::sample;
use crate::sanitize::steers;

fn page_of(events: &[Event]) -> String {
    let mut reader = Timeline::new(Vec::new());
    for event in events {
        reader.event(event).unwrap();
    }
    reader.finish().unwrap();
    String::from_utf8(reader.into_inner()).unwrap()
}

fn without_style(page: &str) -> String {
    let (head, rest) = page.split_once("<style>").unwrap();
    let (_, body) = rest.split_once("</style>").unwrap();
    format!("{head}<style>…</style>{body}")
}

/// The page's elements and attributes are those that it is made of, whatever was said.
fn is_harmless(page: &str) {
    const TAGS: &str = " html head meta title style body header footer section div h1 h2 h3 h4 p small ul li a b i \
        code pre span label input details summary table tr th td svg rect text line ";
    const ATTRIBUTES: &str = " lang charset http-equiv content name class id href title open type x y x1 x2 y2 dx width height ";
    let mut reader = quick_xml::Reader::from_str(page);
    let mut ids = std::collections::HashSet::new();
    loop {
        let (tag, ends) = match reader.read_event().expect("well-formed") {
            Xml::Start(tag) => (tag, false),
            Xml::Empty(tag) => (tag, true),
            Xml::Text(_) | Xml::GeneralRef(_) | Xml::End(_) | Xml::DocType(_) => continue,
            Xml::Eof => break,
            other => panic!("{other:?}"),
        };
        let name = String::from_utf8(tag.name().as_ref().to_vec()).unwrap();
        assert!(TAGS.contains(&format!(" {name} ")), "{name}");
        // Else a browser would not take it for its end.
        assert!(
            !ends || ["meta", "input", "rect", "line"].contains(&name.as_str()),
            "{name}"
        );
        for attribute in tag.attributes() {
            let attribute = attribute.expect("well-formed");
            let key = String::from_utf8(attribute.key.as_ref().to_vec()).unwrap();
            let value = String::from_utf8(attribute.value.into_owned()).unwrap();
            assert!(ATTRIBUTES.contains(&format!(" {key} ")), "{name} {key}");
            let goes_nowhere = value.starts_with("#t") || value.starts_with("./");
            assert!(key != "href" || goes_nowhere, "{value}");
            assert!(key != "id" || ids.insert(value.clone()), "twice: {value}");
        }
    }
    assert!(!page.contains(|c| c != '\n' && steers(c)));
}

/// The nanoseconds of each phase by what is drawn: each instant shared among the lanes.
fn drawn(events: &[Event]) -> [u64; Phase::ALL.len()] {
    let mut seen = Seen::new();
    for event in events {
        seen.event(event);
    }
    seen.finish();
    let lanes = seen.tests.items().iter().chain([&seen.outside]);
    let spans: Vec<_> = lanes.flat_map(|lane| lane.phases.items()).collect();
    let mut edges: Vec<u64> = spans
        .iter()
        .flat_map(|span| [span.began_ns, span.ended_ns])
        .collect();
    edges.sort_unstable();
    let mut drawn = [0; Phase::ALL.len()];
    for edge in edges.windows(2) {
        let at = |span: &&&Span| span.began_ns <= edge[0] && edge[1] <= span.ended_ns;
        let there: Vec<_> = spans.iter().filter(at).collect();
        for span in &there {
            drawn[span.phase as usize] += (edge[1] - edge[0]) / there.len() as u64;
        }
    }
    drawn
}

fn agrees(events: &[Event]) {
    let mut marks = Marks::new();
    for event in events {
        marks.observe(event);
    }
    let breakdown = marks.finish(events.last().map_or(0, |event| event.at_ns));
    for (phase, drawn) in Phase::ALL.into_iter().zip(drawn(events)) {
        let told = breakdown.phase_ns(phase);
        // What cannot be divided, for each mark.
        assert!(drawn.abs_diff(told) < 2_000, "{phase:?}: {drawn} of {told}");
    }
}

const HOSTILE: &str = "<script>alert(1)</script>\"'><img src=x>";

#[test]
fn the_sample_run() {
    insta::assert_snapshot!(without_style(&page_of(&sample::events())));
}

#[test]
fn tests_side_by_side_with_retries() {
    insta::assert_snapshot!(without_style(&page_of(&sample::parallel())));
}

#[test]
fn the_bars_agree_with_the_breakdown() {
    agrees(&sample::events());
    agrees(&sample::parallel());
    agrees(&large(40, 3, str::to_owned));
}

#[test]
fn no_guest_writes_markup() {
    for events in [sample::events(), sample::parallel()] {
        is_harmless(&page_of(&events));
    }
    let page = page_of(&everything(|text| format!("{HOSTILE}{text}")));
    is_harmless(&page);
    assert!(!page.contains("<script") && !page.contains("<img"));
    // It is shown, and not only gone.
    for part in [
        "suite::test of everything",
        "beware",
        "no",
        "because",
        "a part",
        "Kernel panic",
        "[ 19.974695]",
        "curl: (22)",
    ] {
        let shown =
            format!("&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&gt;&lt;img src=x&gt;{part}");
        assert!(page.contains(&shown), "{part}");
    }
}

#[test]
fn a_run_that_broke_off_has_a_page_with_what_went_on() {
    let events = sample::events();
    let operation = |event: &Event| matches!(event.kind, EventKind::OperationStarted { .. });
    let at = events.iter().position(operation).unwrap();
    let page = page_of(&events[..=at]);
    is_harmless(&page);
    for part in [
        "the run broke off",
        "NO END",
        "did not end",
        "ping -c 1 web",
        "1.916 s wall time",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    is_harmless(&page_of(&[]));
}

#[test]
fn machines_that_did_not_come_up_are_seen_to_boot() {
    let events = sample::events();
    let boots = |event: &Event| {
        matches!(
            event.kind,
            EventKind::PhaseEnded {
                phase: Phase::Boot,
                ..
            }
        )
    };
    let at = events.iter().position(boots).unwrap();
    let page = page_of(&events[..at]);
    assert!(page.contains("boot 860 ms, broken off"), "{page}");
}

#[test]
fn a_long_run_stays_small_and_says_what_is_not_there() {
    let page = page_of(&large(200, 100, str::to_owned));
    assert!(page.len() < 4_000_000, "{}", page.len());
    for part in [
        "60 more commands and waits are left out: none of them failed or took longer than 18.0 ms.",
        "Left out, to keep the page small: 12000 commands and waits, as said at their tests.",
        "suite::test 199",
    ] {
        assert!(page.contains(part), "{part}");
    }
}

#[test]
fn tests_that_failed_are_kept_before_others() {
    let page = page_of(&large(700, 1, str::to_owned));
    assert!(page.len() < 4_000_000, "{}", page.len());
    assert!(page.contains("200 tests that passed and took no longer than 2.99 s"));
    let rows = page.matches("<b class=\"badge bad\">FAIL</b><span").count();
    assert_eq!(rows, 70);
}

#[test]
fn hostile_runs_stay_small_too() {
    let long = "<".repeat(700);
    let page = page_of(&large(550, 14, |text| format!("{text}{long}")));
    assert!(page.len() < 7_000_000, "{}", page.len());
    assert!(page.contains("failures but for their first line"));
    is_harmless(&page);
}

#[test]
fn tries_without_end_are_bounded() {
    let mut events = vec![sample::events()[0].clone()];
    let test = |kind| Event {
        at_ns: 1,
        test: Some("again".to_owned()),
        machine: None,
        kind,
    };
    events.push(test(EventKind::TestStarted));
    events.extend((1..50).map(|number| {
        test(EventKind::TryEnded {
            number,
            of: 50,
            verdict: Verdict::Failed,
            duration_ns: 1,
            failure: Some(failure(str::to_owned)),
        })
    }));
    events.push(test(EventKind::TestEnded {
        verdict: Verdict::Failed,
        duration_ns: 1,
        failure: Some(failure(str::to_owned)),
        tries: 50,
    }));
    let page = page_of(&events);
    assert_eq!(page.matches("<h3>try ").count(), 10);
    assert!(page.contains("<h3>try 50: failed</h3>"));
    assert!(page.contains("40 of its tries are left out, before the last."));
}

#[test]
fn the_file_says_that_the_run_is_not_over_until_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("timeline.html");
    let mut reader = Timeline::create(&path).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), UNFINISHED);
    reader.finish().unwrap();
    let page = std::fs::read_to_string(&path).unwrap();
    assert_eq!(page, page_of(&[]));
    assert!(page.len() > UNFINISHED.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_bars_agree_with_the_breakdown_of_any_run(
        steps in prop::collection::vec((0..3_u8, 0..4_u8, 0..Phase::ALL.len(), 0_u64..1 << 40), 0..60),
    ) {
        let mut now_ns = 0;
        let events: Vec<Event> = steps.into_iter().map(|(what, test, phase, at_ns)| {
            // The marks of events from before the last count as made then.
            now_ns = at_ns.max(now_ns);
            Event {
                at_ns: now_ns,
                test: (what != 1 || test > 0).then(|| test.to_string()),
                machine: None,
                kind: match what {
                    0 => EventKind::TestStarted,
                    1 => EventKind::PhaseStarted { phase: Phase::ALL[phase] },
                    _ => EventKind::TestEnded { verdict: Verdict::Passed, duration_ns: 1, failure: None, tries: 1 },
                },
            }
        }).collect();
        agrees(&events);
    }

    #[test]
    fn nothing_said_is_markup(
        said in "[<>&\"'/!\\-\\[\\]a-c=\\x1b\n\\x00 ]{0,20}",
        other in any::<String>(),
    ) {
        is_harmless(&page_of(&everything(|text| format!("{said}{text}{other}"))));
    }
}

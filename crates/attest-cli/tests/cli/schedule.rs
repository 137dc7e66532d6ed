//! Many tests: at once, in orders, in parts, again. Where no lab is needed, programs stand in for
//! Rust tests.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use nix::sys::signal::Signal;

use crate::support::{Ended, Place, Watched, adopt, all_ended, signal};

/// A lab that nobody boots.
const FAKES: &str = "[machines.a]\n[tests.t]\nrust = { binary = \"fake\" }\n";

/// A program that behaves as a Rust test binary; `tests` are the cases of a shell.
fn fakes(names: &[&str], tests: &str) -> Place {
    let place = Place::new(FAKES);
    let list = names.join(": test\\n");
    let script = format!(
        "#!/bin/sh\nif [ \"$1\" = --list ]; then printf '{list}: test\\n'; exit; fi\n\
         case \"$2\" in\n{tests}\nesac\n"
    );
    let path = place.path("fake");
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    place
}

fn run(place: &Place, arguments: &[&str]) -> Ended {
    let usual = ["run", "--output", "out", "--cache", "cache"];
    place.run(&[&usual, arguments].concat())
}

/// The tests of the last run in the order in which they began.
fn began(place: &Place) -> Vec<String> {
    let events = place.output("events.jsonl");
    let events = events.lines().map(|line| {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        event
    });
    let started = events.filter(|event| event["event"] == "test-started");
    started
        .map(|event| event["test"].as_str().unwrap().to_owned())
        .collect()
}

fn says(ended: &Ended, code: i32, parts: &[&str]) {
    assert_eq!(ended.code, Some(code), "{ended:?}");
    for part in parts {
        assert!(ended.stderr.contains(part), "{part}: {}", ended.stderr);
    }
}

#[test]
fn tests_run_at_once() {
    // Each ends only when the other runs, too.
    let place = fakes(
        &["left", "right"],
        "left) echo > pipe ;;\nright) cat pipe ;;",
    );
    nix::unistd::mkfifo(&place.path("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let ended = run(&place, &["-j2"]);
    says(
        &ended,
        0,
        &["2 tests, up to 2 at once", "2 passed, 0 failed"],
    );
}

#[test]
fn a_flaky_test_passes_and_is_called_so() {
    let place = fakes(
        &["good", "flaky", "bad"],
        "flaky) test -e tried || { touch tried; echo too early >&2; exit 1; } ;;\nbad) exit 1 ;;",
    );
    let ended = run(&place, &["--retries", "2", "-j1"]);
    let parts = [
        "RETRY",
        "t::flaky (try 1 of 3)",
        "t::flaky: passed at try 2",
        "FLAKY t::flaky (failed at try 1 of 3)",
        "too early",
        "t::bad: not in 3 tries",
        "2 passed (1 flaky), 1 failed",
    ];
    says(&ended, 1, &parts);
    let junit = place.output("junit.xml");
    for part in ["flakyFailure", "rerunFailure", "failures=\"1\""] {
        assert!(junit.contains(part), "{part}: {junit}");
    }
    assert!(place.output("events.jsonl").contains("\"flaky\":1"));
    // It is tried once where nobody asks for more.
    fs::remove_file(place.path("tried")).unwrap();
    says(&run(&place, &["flaky"]), 1, &["1 failed"]);
}

#[test]
fn nothing_begins_after_a_failure_where_that_is_wanted() {
    let place = fakes(&["a", "bad", "c"], "bad) exit 1 ;;");
    let arguments = ["--fail-fast", "-j1", "--order", "manifest"];
    let parts = [
        "SKIP        0  t::c: not begun, for `t::bad` did not pass",
        "1 passed, 1 failed, 1 skipped",
    ];
    says(&run(&place, &arguments), 1, &parts);
}

#[test]
fn again_and_again() {
    let count = "count) echo >> runs; test $(wc -l < runs) -lt 3 ;;";
    let place = fakes(&["count"], count);
    let twice = run(&place, &["--repeat", "2"]);
    says(&twice, 0, &["t::count#1", "t::count#2", "2 passed"]);
    fs::remove_file(place.path("runs")).unwrap();
    let until = run(&place, &["--until-failure"]);
    says(&until, 1, &["t::count#3", "2 passed, 1 failed"]);
    fs::remove_file(place.path("runs")).unwrap();
    let at_most = run(&place, &["--until-failure", "--repeat", "2"]);
    says(&at_most, 0, &["2 passed, 0 failed"]);
}

#[test]
fn orders() {
    let names = ["a", "b", "c", "d", "e", "f"];
    let place = fakes(&names, "");
    let order = |order: &str| {
        let ended = run(&place, &["-j1", "--order", order]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        (began(&place), ended.stderr)
    };
    let (manifest, _) = order("manifest");
    assert_eq!(manifest, names.map(|name| format!("t::{name}")));
    let (random, said) = order("random");
    let seed = said.lines().find_map(|line| line.strip_prefix("order: "));
    let seed = seed
        .and_then(|line| line.split(' ').next())
        .expect("a seed");
    assert_eq!(order(seed).0, random);
    // Those that took longest go first; the cache remembers them.
    let history = r#"{"labs": {"NAME": {
        "t::b": {"duration_ms": 50, "ended": 1}, "t::c": {"duration_ms": 900, "ended": 1},
        "t::d": {"duration_ms": 40, "ended": 1}, "t::e": {"duration_ms": 30, "ended": 1},
        "t::f": {"duration_ms": 20, "ended": 1}}}}"#;
    let name = place.path("");
    let name = name.file_name().unwrap().to_str().unwrap();
    fs::write(
        place.path("cache/history.json"),
        history.replace("NAME", name),
    )
    .unwrap();
    let (longest, _) = order("longest");
    assert_eq!(
        longest,
        ["a", "c", "b", "d", "e", "f"].map(|name| format!("t::{name}"))
    );
    let history = fs::read_to_string(place.path("cache/history.json")).unwrap();
    assert!(
        history.contains("\"t::a\"") && !history.contains("900"),
        "{history}"
    );
}

#[test]
fn shards_are_every_test_once_and_their_reports_merge() {
    let names = ["a", "b", "c", "d", "e"];
    let place = fakes(&names, "b) exit 1 ;;");
    let mut all = BTreeSet::new();
    for shard in ["1/3", "2/3", "3/3"] {
        let junit = format!("{}.xml", &shard[..1]);
        run(&place, &["--shard", shard, "--junit", &junit]);
        for test in began(&place) {
            assert!(all.insert(test.clone()), "{test} twice");
        }
    }
    assert_eq!(all.len(), names.len());
    let merged = place.run(&["merge-junit", "-o", "all.xml", "1.xml", "2.xml", "3.xml"]);
    assert_eq!(merged.code, Some(0), "{merged:?}");
    let report = fs::read_to_string(place.path("all.xml")).unwrap();
    assert!(
        report.contains("tests=\"5\" skipped=\"0\" failures=\"1\" errors=\"0\""),
        "{report}"
    );
    let twice = ["merge-junit", "-o", "no.xml", "1.xml", "1.xml", "all.xml"];
    let refused = place.run(&twice);
    says(&refused, 2, &["1.xml, all.xml", "--allow-duplicates"]);
    assert!(!place.path("no.xml").exists());
    let allowed = place.run(&[&twice[..], &["--allow-duplicates"]].concat());
    assert_eq!(allowed.code, Some(0), "{allowed:?}");
    let none = run(&place, &["--shard", "5/5", "t::a"]);
    says(&none, 4, &["shard 5/5 has no test"]);
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let place = fakes(&["a"], "");
    let cases: [(&[&str], &str); 6] = [
        (
            &["--until-failure", "--retries", "1"],
            "cannot be used with",
        ),
        (&["-j0"], "0 is not in 1.."),
        (&["--repeat", "0"], "0 is not in 1.."),
        (&["--order", "shortest"], "no order `shortest`"),
        (&["--shard", "3/2"], "`3/2` is no shard"),
        (
            &["--timings", "nowhere.json"],
            "nowhere.json cannot be read",
        ),
    ];
    for (arguments, part) in cases {
        says(&run(&place, arguments), 2, &[part]);
    }
}

#[test]
fn an_interruption_ends_all_that_run() {
    adopt();
    let place = fakes(&["a", "b", "c"], "*) exec sleep 1000 ;;");
    let mut run = Watched::with(&place, &["--output", "out", "-j2"]);
    run.until("test-started");
    run.until("test-started");
    signal(run.pid(), Signal::SIGINT);
    while run.next().is_some() {}
    assert_eq!(all_ended(run.pid()), Some(130));
    let end = run.events.last().unwrap();
    assert_eq!(end["summary"]["interrupted"], 3, "{end}");
}

/// What tests find where others have been.
const MARKS: &str = r#"
[machines.a]

[setups.base]
steps = [{ run = "echo base > /base" }]

[setups.broken]
after = "base"
steps = [{ run = "test ! -e /base" }]

[tests.first]
steps = [{ run = "test ! -e /mark && touch /mark && test ! -e /base" }]

[tests.second]
setup = "base"
steps = [{ run = "test ! -e /mark && touch /mark && test -e /base" }]

[tests.third]
setup = "broken"
steps = [{ run = "true" }]

[tests.fourth]
setup = "broken"
steps = [{ run = "true" }]
"#;

#[test]
fn every_test_has_a_lab_of_its_own_with_its_set_ups() {
    let place = Place::new(MARKS);
    let ended = place.run(&["run", "--output", "out", "-j2"]);
    let parts = [
        "set-up `broken` failed: step 1",
        "its set-up `broken` failed: see `",
        "2 passed, 1 failed, 1 skipped",
    ];
    says(&ended, 1, &parts);
    for test in ["first", "second"] {
        assert!(
            place.path(&format!("out/{test}/a.console.log")).exists(),
            "{test}"
        );
    }
    crate::runs::sums_up(&place);
}

#[test]
fn tests_that_share_a_lab_find_what_others_left() {
    let place = Place::new(
        r#"
isolation = "shared"
[machines.a]
[setups.base]
steps = [{ run = "echo once >> /base" }]
[tests.first]
setup = "base"
steps = [{ run = "touch /mark" }]
[tests.second]
setup = "base"
steps = [{ run = "test -e /mark && wc -l < /base", stdout = "1\n" }]
"#,
    );
    let ended = place.run(&["run", "--output", "out", "-j2"]);
    says(&ended, 0, &["2 passed"]);
    assert!(place.path("out/a.console.log").exists());
}

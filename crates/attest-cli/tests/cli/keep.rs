//! Labs of failed tests that are kept: `--keep failed`, and `--snapshot`.

use serde_json::Value;

use crate::support::{Ended, Place};

const TWO: &str = r#"
name = "web"
[networks.lan]
[machines.a]
memory = "128M"
disks = [{ size = "8M" }]
[machines.b]
memory = "128M"
[tests.bad]
steps = [{ on = "b", run = "echo left > /tmp/state; printf x > /tmp/count; sleep 1000 >/dev/null & exit 3" }]
[tests.good]
steps = [{ on = "a", run = "true" }]
"#;

/// The name in `kept: attest shell --snapshot NAME MACHINE`, which stands in the failure, and the machine.
fn kept(ended: &Ended) -> (String, String) {
    let all = format!("{}{}", ended.stdout, ended.stderr);
    let lines = all.lines().filter_map(|line| {
        let line = line.trim();
        line.strip_prefix("kept: attest shell --snapshot ")
    });
    let [command] = lines.collect::<Vec<_>>()[..] else {
        panic!("one lab is kept: {all}");
    };
    let (name, machine) = command.split_once(' ').expect("there are two machines");
    (name.to_owned(), machine.to_owned())
}

#[test]
fn a_failed_test_leaves_its_lab() {
    let place = Place::new(TWO);
    let ended = place.run(&["run", "--keep", "failed", "--output", "out"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let (name, machine) = kept(&ended);
    assert_eq!(machine, "b");
    let line = format!("attest shell --snapshot {name} b");
    let junit = place.output("junit.xml");
    assert!(
        junit.contains(&format!("<system-out>kept: {line}</system-out>")),
        "{junit}"
    );
    let events = place.output("events.jsonl");
    let events = events
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    let told: Vec<_> = events
        .filter(|event: &Value| event["event"] == "test-ended")
        .map(|event| (event["test"].clone(), event["failure"]["kept"].clone()))
        .collect();
    assert!(told.contains(&("bad".into(), line.into())), "{told:?}");
    assert!(told.contains(&("good".into(), Value::Null)), "{told:?}");
    // It needs no manifest.
    std::fs::remove_file(place.path("attest.toml")).unwrap();
    let on = |machine: &str, script: &str| {
        let ended = place.run(&["exec", "-q", "--snapshot", &name, machine, script]);
        assert_eq!((ended.code, &*ended.stderr), (Some(0), ""), "{ended:?}");
        ended.stdout
    };
    let script =
        "cat /tmp/state; pidof sleep >/dev/null; printf x >> /tmp/count; wc -c < /tmp/count";
    assert_eq!(on("b", script), "left\n2\n");
    // Every one that goes on from there begins at the same moment.
    assert_eq!(on("b", script), "left\n2\n");
    assert_eq!(on("a", "ping -c1 -W5 b >/dev/null && hostname"), "a\n");
    let listed = place.run(&["snapshot", "ls"]).stdout;
    assert!(listed.contains("  failed: bad  "), "{listed}");
    assert!(listed.contains("  ready        "), "{listed}");
    let removed = place.run(&["snapshot", "rm", &name]);
    assert_eq!(removed.code, Some(0), "{removed:?}");
    let gone = place.run(&["exec", "--snapshot", &name, "b", "true"]);
    assert_eq!(gone.code, Some(2), "{gone:?}");
    assert!(
        gone.stderr
            .contains("none is kept: `attest run --keep failed` keeps them"),
        "{gone:?}"
    );
}

#[test]
fn a_name_that_is_not_there_is_answered_with_those_that_are() {
    let place = Place::new(TWO);
    let ended = place.run(&["run", "--keep", "failed", "--snapshots", "never", "bad"]);
    let (name, _) = kept(&ended);
    let unknown = place.run(&["exec", "--snapshot", "nowhere", "a", "true"]);
    assert_eq!(unknown.code, Some(2), "{unknown:?}");
    let says = format!(
        "no lab is kept of a failed test as `nowhere`; there are: {name} (web, failed: bad)"
    );
    assert!(unknown.stderr.contains(&says), "{unknown:?}");
    let machine = place.run(&["exec", "--snapshot", &name, "c", "true"]);
    assert_eq!(machine.code, Some(2), "{machine:?}");
    let says = "there is no machine `c`; the lab has: a, b";
    assert!(machine.stderr.contains(says), "{machine:?}");
    let both = place.run(&["exec", "--snapshot", &name, "-m", ".", "a", "true"]);
    assert_eq!(both.code, Some(2), "{both:?}");
}

#[test]
fn nothing_is_kept_unasked() {
    let place = Place::new(TWO);
    let ended = place.run(&["run", "--snapshots", "never", "bad"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let all = format!("{}{}", ended.stdout, ended.stderr);
    assert!(!all.contains("kept"), "{all}");
}

#[test]
fn containers_are_not_kept_and_that_is_said_once() {
    let place = Place::new(
        r#"
[defaults]
backend = "nspawn"
[machines.a]
[tests.one]
steps = [{ on = "a", run = "false" }]
[tests.two]
steps = [{ on = "a", run = "false" }]
"#,
    );
    if let Err(why) = place.can("nspawn") {
        eprintln!("skipped: {why}");
        return;
    }
    let ended = place.run(&["run", "--keep", "failed"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let all = format!("{}{}", ended.stdout, ended.stderr);
    let warning = "the lab of a failed test is not kept: a: the backend `nspawn` has no snapshots";
    assert_eq!(all.matches(warning).count(), 1, "{all}");
}

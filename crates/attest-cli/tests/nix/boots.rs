//! Checks that boot, in the sandbox.

use std::fs;
use std::path::Path;

use serde_json::Value;

use attest_fixture::nix::{Nix, Well as _};

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&text(path)).unwrap()
}

/// How often something stands in a file.
fn count(path: &Path, part: &str) -> usize {
    text(path).matches(part).count()
}

#[test]
fn two_machines_meet() {
    let Some(nix) = Nix::newest(&crate::tested()) else {
        return;
    };
    let output = nix.check("two-machines").well(&nix);
    assert_eq!(count(&output.join("junit.xml"), "<testcase "), 2);
}

#[test]
fn two_machines_meet_on_older_versions() {
    for nix in Nix::older(&crate::tested()) {
        let output = nix.check("two-machines").well(&nix);
        assert_eq!(count(&output.join("junit.xml"), "<testcase "), 2);
    }
}

#[test]
fn tests_go_on_from_a_snapshot() {
    let Some(nix) = Nix::newest(&crate::tested()) else {
        return;
    };
    let output = nix.check("snapshots").well(&nix);
    assert_eq!(count(&output.join("junit.xml"), "<testcase "), 3);
    let shard = nix.check("snapshots.shards.all").well(&nix);
    let boots = r#""phase-started","phase":"boot""#;
    assert_eq!(count(&shard.join("events.jsonl"), boots), 0);
    let snapshot = nix.check("snapshots.snapshots.setup").well(&nix);
    let size = snapshot.join("snapshot").metadata().unwrap().len();
    assert!(size < 256 << 20, "{size} bytes");
}

#[test]
fn independent_machines_are_derivations() {
    let Some(nix) = Nix::newest(&crate::tested()) else {
        return;
    };
    let output = nix.check("independent").well(&nix);
    assert_eq!(count(&output.join("junit.xml"), "<testcase "), 4);
    for name in ["a", "b", "c", "d"] {
        let shard = nix.check(&format!("independent.shards.{name}")).well(&nix);
        let verdict = json(&shard.join("verdict.json"));
        assert_eq!(verdict["verdict"], "passed", "{name}");
        assert_eq!(verdict["tests"], 1, "{name}");
    }
}

#[test]
fn tests_of_nixos_run_as_they_are() {
    let Some(nix) = Nix::newest(&crate::tested()) else {
        return;
    };
    nix.check("overlay").well(&nix);
    // And as tests called the driver until 2026.
    let expression = nix.sources.expression("more.nix");
    nix.build(&format!("{expression}.older")).well(&nix);
}

#[test]
fn a_failed_test_fails_and_is_reported() {
    let Some(nix) = Nix::newest(&crate::tested()) else {
        return;
    };
    let test = format!("{}.failing", nix.sources.expression("more.nix"));
    let failure = nix.build(&test).expect_err("one of its tests fails");
    assert!(failure.stderr.contains("bad"), "{failure:?}");

    let shard = nix.build(&format!("{test}.shards.all")).well(&nix);
    let verdict = json(&shard.join("verdict.json"));
    assert_eq!(verdict["verdict"], "failed");
    assert_eq!(verdict["failed"], serde_json::json!(["bad"]));
    assert_eq!(verdict["exit"], 1);
    let console = text(&shard.join("bad/machine.console.log"));
    assert!(console.contains("on the console"), "{console}");

    let report = nix.build(&format!("{test}.report")).well(&nix);
    let junit = report.join("junit.xml");
    assert_eq!(count(&junit, "<testcase "), 2);
    assert_eq!(count(&junit, "<failure "), 1);
    assert!(text(&junit).contains("expected"), "{}", text(&junit));
}

#[test]
fn a_failed_test_may_fail_its_derivation() {
    let Some(nix) = Nix::newest(&crate::tested()) else {
        return;
    };
    let test = format!("{}.failing-fails", nix.sources.expression("more.nix"));
    let failure = nix
        .build(&format!("{test}.shards.all"))
        .expect_err("it fails");
    assert!(failure.stderr.contains("bad"), "{failure:?}");
}

#[test]
fn what_breaks_beneath_a_test_is_tried_again_and_has_no_output() {
    let Some(nix) = Nix::newest(&crate::tested()) else {
        return;
    };
    let test = format!("{}.no-vmm", nix.sources.expression("more.nix"));
    let failure = nix
        .build(&format!("{test}.shards.all"))
        .expect_err("it has no VMM");
    assert!(failure.stderr.contains("trying again"), "{failure:?}");
    assert!(failure.stderr.contains("qemu-system-x86_64"), "{failure:?}");
}

#[test]
fn a_test_needs_a_handful_of_paths() {
    let Some(nix) = Nix::newest(&crate::tested()) else {
        return;
    };
    if !nix.forgets_references() {
        eprintln!("skipped: Nix {} forgets no references", nix.version);
        return;
    }
    let expression = nix.sources.expression("more.nix");
    let closure = nix.build(&format!("{expression}.handful")).well(&nix);
    let paths = text(&closure.join("store-paths"));
    assert!(paths.lines().count() <= 6, "{paths}");
    for part in ["nixos-system", "-linux-", "busybox"] {
        assert!(!paths.contains(part), "{paths}");
    }
}

#[test]
fn a_package_may_not_grow_or_drag_others_in() {
    let Some(nix) = Nix::newest(&crate::tested()) else {
        return;
    };
    let expression = nix.sources.expression("more.nix");
    nix.check("closure").well(&nix);
    nix.build(&format!("{expression}.closure-small")).well(&nix);
    let build = |name: &str| nix.build(&format!("{expression}.closure-{name}"));
    let grown = build("grown").expect_err("it is too large").stderr;
    assert!(grown.contains("are more than 1 MB"), "{grown}");
    let forbidden = build("forbidden").expect_err("Python is in it").stderr;
    let way = "python3 <- between <- package";
    assert!(forbidden.contains(way), "{forbidden}");
}

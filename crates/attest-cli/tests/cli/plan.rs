//! What a run would do, without doing it.

use std::process::Command;

use crate::support::{Ended, Place, run};

/// A pair that talks, a machine that could and does not, and a container on no network.
const PARTS: &str = r#"
name = "parts"
[timeouts]
test = "90s"
[networks.lan]
[machines.server]
memory = "128M"
[machines.client]
vcpus = 2
[machines.alone]
independent = true
[machines.box]
backend = "nspawn"
networks = []

[setups.installed]
steps = [{ on = "server", run = "true" }]
[setups.running]
after = "installed"
steps = [{ on = "server", run = "true" }]

[tests.page]
setup = "running"
steps = [{ on = "client", run = "true" }]
[tests.alone]
timeout = "1500ms"
steps = [{ on = "alone", run = "true" }]
[tests.server]
steps = [{ on = "server", run = "true" }]
[tests.both]
steps = [{ on = ["alone", "box"], run = "true" }]
[tests.any]
script = "any.py"
"#;

/// Only what is on the command line counts.
fn bare(command: &mut Command) -> Ended {
    for name in [
        "ATTEST_BACKEND",
        "ATTEST_ACCEL",
        "ATTEST_KERNEL",
        "ATTEST_CACHE",
    ] {
        command.env_remove(name);
    }
    run(command)
}

fn planned(place: &Place, arguments: &[&str]) -> String {
    let ended = bare(&mut place.attest(&[&["plan"], arguments].concat()));
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    ended.stdout
}

fn parts(isolation: &str) -> Place {
    let place = Place::new(&format!("{isolation}\n{PARTS}"));
    std::fs::write(place.path("any.py"), "").unwrap();
    place
}

#[test]
fn jobs_are_a_tree_for_people() {
    let place = parts("");
    insta::assert_snapshot!(planned(&place, &[]));
    insta::assert_snapshot!(planned(&place, &["--backend", "nspawn", "alone"]));
    assert!(!place.path("attest-out").exists());
}

#[test]
fn jobs_are_lines_for_programs() {
    let place = parts("");
    let json = planned(&place, &["--json"]);
    assert_eq!(json, planned(&place, &["--format", "json"]));
    assert_eq!(json.lines().count(), 1, "one manifest");
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    insta::assert_snapshot!(format!("{value:#}"));
    let twice = planned(&place, &["--json", "attest.toml", "."]);
    assert_eq!(twice.lines().count(), 2);
}

#[test]
fn tests_that_share_a_lab_are_one_job() {
    let json = planned(&parts("isolation = \"shared\""), &["--json"]);
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    let [job] = value["jobs"].as_array().unwrap().as_slice() else {
        panic!("one job: {value:#}");
    };
    assert_eq!(value["isolation"], "shared");
    assert_eq!(job["machines"].as_array().unwrap().len(), 4);
    assert_eq!(job["tests"].as_array().unwrap().len(), 5);
}

/// The names of tests that a command prints.
fn listed(place: &Place, arguments: &[&str]) -> Vec<String> {
    let ended = bare(&mut place.attest(&[&["list"], arguments].concat()));
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    ended.stdout.lines().map(str::to_owned).collect()
}

#[test]
fn jobs_are_numbered_over_all_manifests_and_taken_by_their_numbers() {
    let place = parts("");
    std::fs::write(
        place.path("other.toml"),
        "[machines.a]\n[tests.other]\nscript = \"several.py\"\n",
    )
    .unwrap();
    let script =
        "import attest\n@attest.test\ndef one(lab): pass\n@attest.test\ndef two(lab): pass\n";
    std::fs::write(place.path("several.py"), script).unwrap();
    let both = ["attest.toml", "other.toml"];
    let json = planned(&place, &[&["--json"], &both[..]].concat());
    let mut jobs = Vec::new();
    for line in json.lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        for job in value["jobs"].as_array().unwrap() {
            let tests = job["tests"].as_array().unwrap().iter();
            let names = tests.map(|test| test["name"].as_str().unwrap().to_owned());
            jobs.push((job["number"].as_u64().unwrap(), names.collect::<Vec<_>>()));
        }
    }
    let numbers: Vec<_> = jobs.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
    assert_eq!(jobs[4].1, ["other::one", "other::two"]);
    for (number, names) in &jobs {
        let job = ["--job", &number.to_string()];
        assert_eq!(&listed(&place, &[&job, &both[..]].concat()), names);
        let one = planned(&place, &[&job, &both[..]].concat());
        assert!(one.contains(&format!("job {number}: ")), "{one}");
        assert_eq!(one.matches("─ job ").count(), 1, "{one}");
    }
    // A filter makes other jobs.
    assert_eq!(listed(&place, &["--job", "1", "alone"]), ["alone"]);
}

#[test]
fn a_job_that_is_not_there_is_a_wrong_command_line() {
    let place = parts("");
    for command in ["run", "list", "plan"] {
        let ended = bare(&mut place.attest(&[command, "--job", "5"]));
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""));
        insta::allow_duplicates! {
            insta::assert_snapshot!(ended.stderr, @"error: there is no job 5: these tests are 4 jobs; see `attest plan`");
        }
    }
    assert!(!place.path("attest-out").exists());
}

#[test]
fn what_cannot_be_planned_is_said_as_of_a_run() {
    let place = parts("");
    let ended = bare(&mut place.attest(&["plan", "other"]));
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(4), ""));
    assert!(ended.stderr.contains("`other`"), "{}", ended.stderr);
    let ended = bare(&mut place.attest(&["plan", "--json", "--format", "human"]));
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
}

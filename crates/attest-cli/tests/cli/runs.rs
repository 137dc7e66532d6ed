//! Whole runs: their codes, their reports, and their sums.

use crate::support::{PAIR, Place, cache_of_the_others, run};

/// A lab whose tests end in every way.
const MIXED: &str = r#"
[timeouts]
test = "1s"

[machines.a]

[tests.passes]
steps = [{ on = "a", run = "echo fine" }]

[tests.fails]
steps = [{ on = "a", run = "echo so far; echo because >&2; exit 3" }]

[tests.hangs]
steps = [{ on = "a", run = "sleep 1000" }]

[tests.floods]
steps = [{ on = "a", run = "while :; do echo a line of many; done > /dev/console" }]
"#;

#[test]
fn a_run_that_passes() {
    let place = Place::new(PAIR);
    let ended = place.run(&["run", "--output", "out", "--junit", "also.xml"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for part in ["first", "second", "2 passed, 0 failed", "boot", "shutdown"] {
        assert!(ended.stderr.contains(part), "{part}: {}", ended.stderr);
    }
    assert!(!ended.stderr.contains('\x1b'), "{}", ended.stderr);
    assert_eq!(ended.stdout, "");
    assert!(place.output("junit.xml").contains("tests=\"2\""));
    assert!(std::fs::read_to_string(place.path("also.xml")).unwrap() == place.output("junit.xml"));
    let timeline = place.output("timeline.html");
    for part in ["2 passed", "ping -c1 -W5 b", "class=\"boot\""] {
        assert!(timeline.contains(part), "{part}: {timeline}");
    }
    sums_up(&place);
}

/// The breakdown of the run is its wall time, within 2 %.
pub(crate) fn sums_up(place: &Place) {
    let events = place.output("events.jsonl");
    let end: serde_json::Value = serde_json::from_str(events.lines().last().unwrap()).unwrap();
    let breakdown = &end["breakdown"];
    let wall = breakdown["wall_ns"].as_u64().unwrap();
    let phases = breakdown["total"].as_array().expect("phases");
    let sum: u64 = phases
        .iter()
        .map(|phase| phase["ns"].as_u64().unwrap())
        .sum();
    assert!(wall.abs_diff(sum) * 50 <= wall, "{breakdown}");
}

#[test]
fn a_test_that_is_asked_for_and_is_not_there_is_named() {
    let place = Place::new(PAIR);
    for command in ["run", "list", "plan"] {
        for names in [
            &["--test", "thrid"][..],
            &["--test", "first", "--test", "thrid"],
        ] {
            let ended = place.run(&[&[command][..], names].concat());
            assert_eq!(ended.code, Some(2), "{ended:?}");
            let said = "there is no test `thrid`; see `attest list`";
            assert!(ended.stderr.contains(said), "{ended:?}");
        }
    }
}

#[test]
fn a_profile_has_every_instant_once_and_all_by_name() {
    let place = Place::new(PAIR);
    let ended = place.run(&["run", "--profile", "--output", "out"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let told = [
        "where the time went",
        "lab process and networks",
        "attest's own share: ",
        "ping -c1 -W5 b",
    ];
    for part in told {
        assert!(ended.stderr.contains(part), "{part}: {}", ended.stderr);
    }
    let parts = parts_of_profile(&place);
    for part in ["start-up", "vmm-start", "kernel", "commands", "lab-end"] {
        assert!(parts.iter().any(|each| each == part), "{part}: {parts:?}");
    }
    // From the snapshot; and for programs, which want nothing but events.
    let ended = place.run(&["run", "--profile", "--output", "out", "--format", "json"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(!ended.stderr.contains("where the time went"), "{ended:?}");
    let parts = parts_of_profile(&place);
    assert!(parts.iter().any(|part| part == "load"), "{parts:?}");
    assert!(!parts.iter().any(|part| part == "kernel"), "{parts:?}");
}

/// Their times add up to the whole.
fn parts_of_profile(place: &Place) -> Vec<String> {
    let profile: serde_json::Value =
        serde_json::from_str(&place.output("profile.json")).expect("JSON");
    let parts = profile["parts"].as_array().expect("parts");
    let sum: u64 = parts.iter().map(|part| part["ns"].as_u64().unwrap()).sum();
    assert_eq!(profile["total_ns"].as_u64(), Some(sum), "{profile}");
    let own = &profile["own"];
    for used in ["driver_ns", "labs_ns"] {
        assert!(own["processes"][used].as_u64() > Some(0), "{used}: {own}");
    }
    let names = parts.iter().map(|part| part["part"].as_str().unwrap());
    names.map(str::to_owned).collect()
}

#[test]
fn a_run_whose_tests_end_in_every_way() {
    let place = Place::new(MIXED);
    let code = |filter: &str| {
        let ended = place.run(&["run", "-j1", "--quiet", "--output", "out", filter]);
        let code = ended.code.unwrap();
        (code, ended.stdout + &ended.stderr)
    };
    let (failed, text) = code("fails");
    assert_eq!(failed, 1, "{text}");
    for part in ["fails", "exit code 3", "because", "so far"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let junit = place.output("junit.xml");
    assert!(
        junit.contains("<failure") && junit.contains("because"),
        "{junit}"
    );
    assert!(place.output("timeline.html").contains("because"));
    let (hung, text) = code("hangs");
    assert_eq!(hung, 5, "{text}");
    assert!(text.contains("sleep 1000"), "{text}");
    assert!(place.output("timeline.html").contains("did not end"));
    let (flooded, text) = code("floods");
    assert_eq!(flooded, 5, "{text}");
    assert!(place.output("a.console.log").lines().count() > 1000);
    // A failure is worse than a time-out, and ends no other test.
    let (mixed, text) = code("s");
    assert_eq!(mixed, 1, "{text}");
    assert!(
        text.contains("1 passed") && text.contains("fails"),
        "{text}"
    );
    sums_up(&place);
}

#[test]
fn a_lab_that_does_not_come_up_is_tried_once() {
    let place = Place::new(
        "[timeouts]\nboot = \"10ms\"\n[machines.a]\n[tests.one]\nsteps = [{ run = \"true\" }]\n\
         [tests.two]\nsteps = [{ run = \"true\" }]\n",
    );
    let ended = place.run(&["run", "-j1", "--output", "out"]);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    for part in [
        "a: the agent did not answer within 10ms of the start",
        "two: its lab did not come up: see `one`",
        "1 infrastructure, 1 skipped",
    ] {
        assert!(ended.stderr.contains(part), "{part}: {}", ended.stderr);
    }
}

#[test]
fn tests_in_rust_are_built_and_run() {
    let place = Place::new("");
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/rust");
    let ended = place.run(&["run", "--output", "out", example, "mail_arrives"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stderr.contains("1 passed"), "{}", ended.stderr);
    // What the test's own process did is in the events of the run, its boot too.
    let events = place.output("events.jsonl");
    for part in ["\"agent-up\"", "hello, world", "mail::mail_arrives"] {
        assert!(events.contains(part), "{part}");
    }
    sums_up(&place);
}

#[test]
fn an_ordinary_user_needs_no_root() {
    if !nix::unistd::geteuid().is_root() {
        return eprintln!("SKIPPED: whoever runs the other tests is one already");
    }
    let place =
        Place::new("[machines.a]\n[tests.t]\nsteps = [{ run = \"id -u\", stdout = \"0\\n\" }]\n");
    // Root's cache has the kernel, which takes long to fetch; the user needs one of its own.
    let cache = cache_of_the_others();
    let script = "mkdir -m 700 cache && for each in \"$1\"/kernel-* \"$1\"/vmlinux-*; do \
                  test ! -e \"$each/DIGESTS\" || cp -r \"$each\" cache; done && chown -R 12345:12345 . && exec setpriv --reuid 12345 --regid 12345 \
                  --clear-groups --inh-caps=-all \"$0\" run --cache cache --output out";
    let mut command = std::process::Command::new("sh");
    place.settle(&mut command);
    command.args(["-c", script, env!("CARGO_BIN_EXE_attest")]);
    command.arg(cache).env_remove("ATTEST_SNAPSHOTS_DIR");
    let ended = run(&mut command);
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[test]
fn two_terminals_are_none_of_each_others_business() {
    let place = Place::new(PAIR);
    let start = || {
        place
            .attest(&["run"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap()
    };
    let both = [start(), start()];
    for child in both {
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
    assert_eq!(
        std::fs::read_dir(place.path("attest-out")).unwrap().count(),
        2
    );
}

#[test]
fn a_full_disk_ends_the_run_and_is_named() {
    let place = Place::new(
        "[machines.a]\n[tests.t]\nsteps = [{ on = \"a\", run = \"while :; do echo a line of many; done > /dev/console\" }]\n",
    );
    std::fs::create_dir(place.path("small")).unwrap();
    let script = "mount -t tmpfs -o size=256k none small && exec \"$0\" run --output small/out";
    let mut command = std::process::Command::new("unshare");
    place.settle(&mut command);
    command.args(["--mount", "sh", "-c", script, env!("CARGO_BIN_EXE_attest")]);
    let ended = run(&mut command);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    let text = ended.stdout + &ended.stderr;
    assert!(
        text.contains("No space left on device") && text.contains("small/out"),
        "{text}"
    );
}

/// The examples that boot whole systems, as containers; on virtual machines they run unchanged.
#[test]
fn examples_of_whole_systems_run_in_containers() {
    let place = Place::new("");
    for needed in ["nspawn", "debian (mmdebstrap)"] {
        if let Err(reason) = place.can(needed) {
            return eprintln!("SKIPPED: examples in containers: {needed}: {reason}");
        }
    }
    for (name, tests) in [
        ("python", 4),
        ("firewall", 1),
        ("load-balancer", 3),
        ("postgresql", 1),
    ] {
        an_example(name, tests, "nspawn");
    }
}

/// The suites that benchmarks compare drivers by, in each of their languages.
#[test]
fn suites_run_in_containers() {
    let place = Place::new("");
    for needed in ["nspawn", "debian (mmdebstrap)"] {
        if let Err(reason) = place.can(needed) {
            return eprintln!("SKIPPED: suites in containers: {needed}: {reason}");
        }
    }
    for (name, tests) in [
        ("module-smoke", 3),
        ("policy-reload", 11),
        ("cli-integration", 9),
    ] {
        an_example(&format!("../bench/suites/{name}"), tests, "nspawn");
    }
}

/// The smallest of them under QEMU, as it is.
#[test]
fn an_example_of_a_whole_system_runs_in_a_virtual_machine() {
    let needed = "debian (mmdebstrap)";
    if let Err(reason) = Place::new("").can(needed) {
        return eprintln!("SKIPPED: an example in a virtual machine: {needed}: {reason}");
    }
    an_example("firewall", 1, "qemu");
}

fn an_example(name: &str, tests: usize, backend: &str) {
    let place = Place::new("");
    let example = format!("{}/../../examples/{name}", env!("CARGO_MANIFEST_DIR"));
    let ended = place.run(&["run", "--output", "out", "--backend", backend, &example]);
    assert_eq!(ended.code, Some(0), "{name}: {ended:?}");
    let passed = format!("{tests} passed");
    assert!(ended.stderr.contains(&passed), "{name}: {}", ended.stderr);
    sums_up(&place);
}

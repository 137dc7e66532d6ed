//! What builders of Nix call, without Nix: outputs of shards, of snapshots, and of what judges over them.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use attest_image::{Kernel, KernelSource};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::support::{Ended, Place, run};

const TESTS: &str = r#"
name = "web"
[machines.a]
memory = "128M"
[tests.good]
steps = [{ on = "a", run = "echo good" }]
[tests.bad]
steps = [{ on = "a", run = "echo no such page >&2; exit 3" }]
"#;

const READY: &str = r#"
name = "web"
[machines.a]
memory = "128M"
[setups.page]
steps = [{ on = "a", run = "echo hello > /tmp/page" }]
[tests.page]
setup = "page"
steps = [{ on = "a", run = "cat /tmp/page", stdout = "hello\n" }]
"#;

/// As a builder of Nix does it: with a directory of its own, and nothing of a user.
fn built(place: &Place, arguments: &[&str]) -> Ended {
    run(&mut builder(place, arguments))
}

fn builder(place: &Place, arguments: &[&str]) -> Command {
    let mut command = place.attest(&[&["nix"], arguments].concat());
    command
        .env("NIX_BUILD_TOP", place.path("tmp"))
        .env("HOME", "/homeless-shelter")
        .env("ATTEST_KERNEL", kernel());
    command
}

/// That of the other tests: a builder's own cache has none.
fn kernel() -> PathBuf {
    let cache = attest::images::cache(None).unwrap();
    let kernel = Kernel::find(&cache, &KernelSource::Auto, &mut |_| {});
    kernel.unwrap().image
}

fn verdict(place: &Place, output: &str) -> Value {
    let path = place.path(output).join("verdict.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn shard(place: &Place, output: &str, more: &[&str]) -> Ended {
    let arguments = ["shard", "--manifest", "./attest.toml", "-o", output];
    built(place, &[&arguments, more].concat())
}

/// Nothing is left where it builds.
fn is_empty(directory: &Path) -> bool {
    directory.read_dir().unwrap().next().is_none()
}

#[test]
fn failed_tests_are_results() {
    let place = Place::new(TESTS);
    let ended = shard(&place, "good", &["--test", "good"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let ended = shard(&place, "bad", &["--test", "bad"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let found = verdict(&place, "bad");
    assert_eq!(
        found,
        json!({ "verdict": "failed", "exit": 1, "tests": 1, "failed": ["bad"], "restored": 0, "attempts": [] })
    );
    for file in ["junit.xml", "events.jsonl", "a.console.log"] {
        assert!(place.path("bad").join(file).is_file(), "{file}");
    }

    let fails = shard(&place, "none", &["--test", "bad", "--failures", "fail"]);
    assert_eq!(fails.code, Some(1), "{fails:?}");
    assert!(is_empty(&place.path("tmp")));

    let whole = ["aggregate", "--name", "web", "good", "bad", "-o"];
    let judged = built(&place, &[&whole[..], &["whole"]].concat());
    assert_eq!(judged.code, Some(1), "{judged:?}");
    assert!(judged.stdout.contains("no such page"), "{judged:?}");
    let told = "web: 1 of 2 tests failed: bad";
    assert!(judged.stderr.contains(told), "{judged:?}");
    let report = built(&place, &[&whole[..], &["report", "--report"]].concat());
    assert_eq!(report.code, Some(0), "{report:?}");
    let junit = fs::read_to_string(place.path("report").join("junit.xml")).unwrap();
    assert!(junit.contains("tests=\"2\"") && junit.contains("failures=\"1\""));
    assert_eq!(verdict(&place, "report")["failed"], json!(["bad"]));

    let good = built(&place, &["aggregate", "--name", "web", "good", "-o", "g"]);
    assert_eq!(good.code, Some(0), "{good:?}");
    let none = built(&place, &["aggregate", "--name", "web", "tmp", "-o", "n"]);
    assert_eq!(none.code, Some(3), "{none:?}");
    assert!(none.stderr.contains("is tmp the output of a shard?"));
}

#[test]
fn what_breaks_beneath_the_tests_is_tried_again_and_kept_nowhere() {
    let place = Place::new(TESTS);
    let arguments = ["shard", "--manifest", "./attest.toml", "-o", "out"];
    let mut without = builder(&place, &arguments);
    // There is no QEMU.
    let ended = run(without.env("PATH", place.path("run")));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let tries = ended.stderr.matches("infrastructure: ").count();
    assert_eq!(tries, 3, "{ended:?}");
    assert!(ended.stderr.contains("tried 3 times; no test has failed"));
    assert!(!place.path("out").join("verdict.json").exists());
    assert!(is_empty(&place.path("tmp")));
}

#[test]
fn a_try_that_broke_is_recorded_beside_the_verdict() {
    let place = Place::new(TESTS);
    // The first QEMU ends at once; later ones are the real one.
    let script = format!(
        "#!/bin/sh\ncase \" $* \" in *' -version '*|*' --version '*) ;; *) mkdir {0}/tried 2>/dev/null && exit 1;; esac\n\
         exec {1} \"$@\"\n",
        place.path("run").display(),
        which("qemu-system-x86_64"),
    );
    let bin = place.path("bin");
    fs::create_dir(&bin).unwrap();
    let program = bin.join("qemu-system-x86_64");
    fs::write(&program, script).unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&program, executable).unwrap();
    let path = std::env::var("PATH").unwrap();
    let arguments = [
        "shard",
        "--manifest",
        "./attest.toml",
        "--test",
        "good",
        "-o",
        "out",
    ];
    let mut command = builder(&place, &arguments);
    let ended = run(command.env("PATH", format!("{}:{path}", bin.display())));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let found = verdict(&place, "out");
    assert_eq!(found["verdict"], "passed");
    let attempts = found["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 1, "{found}");
    assert_eq!(attempts[0]["exit"], 3);
    assert!(
        attempts[0]["reason"]
            .as_str()
            .unwrap()
            .starts_with("good: ")
    );
}

fn which(program: &str) -> String {
    let path = std::env::var_os("PATH").unwrap();
    let mut found = std::env::split_paths(&path).map(|directory| directory.join(program));
    let found = found.find(|path| path.is_file()).unwrap();
    found.to_str().unwrap().to_owned()
}

#[test]
fn what_is_refused_is_a_result_and_not_tried_again() {
    let place = Place::new("[machines.a]\nmemroy = \"1G\"\n");
    let ended = shard(&place, "out", &[]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(verdict(&place, "out")["verdict"], "refused");
    let whole = ["aggregate", "--name", "web", "out", "-o", "whole"];
    let judged = built(&place, &whole);
    assert_eq!(judged.code, Some(1), "{judged:?}");
    assert!(judged.stdout.contains("memroy"), "{judged:?}");
    assert!(judged.stderr.contains("was refused"), "{judged:?}");

    let place = Place::new("[machines.a]\n[tests.t]\nscript = \"t.py\"\n");
    fs::write(place.path("t.py"), "a.succeed(\"x\"\n").unwrap();
    let ended = shard(&place, "out", &[]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(verdict(&place, "out")["failed"], json!(["manifest"]));
    let judged = built(&place, &[&whole[..], &["--report"]].concat());
    assert_eq!(judged.code, Some(0), "{judged:?}");
    let junit = fs::read_to_string(place.path("whole").join("junit.xml")).unwrap();
    assert!(junit.contains("SyntaxError"), "{junit}");
}

#[test]
fn a_shard_without_a_test_passes() {
    let place = Place::new(TESTS);
    let ended = shard(&place, "out", &["--shard", "3/3"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(verdict(&place, "out")["tests"], 0);
    let judged = built(
        &place,
        &["aggregate", "--name", "web", "out", "-o", "whole"],
    );
    assert_eq!(judged.code, Some(0), "{judged:?}");
    let ended = shard(&place, "none", &["--test", "ugly"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(verdict(&place, "none")["verdict"], "refused");
}

#[test]
fn tests_begin_from_a_snapshot_that_was_made_elsewhere() {
    let place = Place::new(READY);
    for (packing, output) in [("lz4", "packed"), ("none", "plain")] {
        let arguments = [
            "snapshot",
            "--manifest",
            "./attest.toml",
            "--packing",
            packing,
        ];
        let made = built(&place, &[&arguments[..], &["-o", output]].concat());
        assert_eq!(made.code, Some(0), "{made:?}");
        let file = format!("{output}/snapshot");
        let elsewhere = Place::new(READY);
        let file = place.path(&file);
        let file = file.to_str().unwrap();
        let ended = shard(&elsewhere, "out", &["--snapshot", file]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let found = verdict(&elsewhere, "out");
        assert_eq!(
            (&found["verdict"], &found["restored"]),
            (&json!("passed"), &json!(1))
        );
    }
    let size = |output: &str| {
        fs::metadata(place.path(output).join("snapshot"))
            .unwrap()
            .len()
    };
    assert!(size("packed") * 2 < size("plain"));

    // What is no snapshot, or another lab's, is no reason to fail.
    fs::write(place.path("none"), "no snapshot").unwrap();
    let other = Place::new(&READY.replace("128M", "160M"));
    let (none, packed) = (place.path("none"), place.path("packed/snapshot"));
    let given = [
        "--snapshot",
        none.to_str().unwrap(),
        "--snapshot",
        packed.to_str().unwrap(),
    ];
    let ended = shard(&other, "out", &given);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(
        ended
            .stderr
            .contains("it is not a snapshot that this attest has packed")
    );
    let said = format!("{}{}", ended.stdout, ended.stderr);
    assert!(
        said.contains("the last one differs: memory of a: 160 MiB, was 128 MiB"),
        "{said}"
    );
    assert_eq!(verdict(&other, "out")["restored"], 0);
}

#[test]
fn a_single_test_saves_nothing_for_others() {
    let place = Place::new(TESTS);
    let needed = |arguments: &[&str]| {
        let ended = place.run(&[&["run", "--snapshots", "needed"], arguments].concat());
        format!("{}{}", ended.stdout, ended.stderr)
    };
    let alone = needed(&["--test", "good"]);
    let said =
        "snapshot: boot (there is none yet; none is made, for nothing else would go on from it)";
    assert!(alone.contains(said), "{alone}");
    let both = needed(&[]);
    assert!(
        both.contains("snapshot: boot (there is none yet; it is made in"),
        "{both}"
    );
    let again = needed(&["--test", "good"]);
    assert!(again.contains("snapshot: go on"), "{again}");
}

#[test]
fn one_that_is_interrupted_ends_in_order_and_is_not_tried_again() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let place = Place::new(TESTS);
        let mut command = builder(
            &place,
            &["shard", "--manifest", "./attest.toml", "-o", "out"],
        );
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut lines = lines.map(Result::unwrap);
        let begun = lines.any(|line| line.starts_with("accelerator: "));
        assert!(begun, "its machine is started");
        kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
        let said: Vec<String> = lines.collect();
        let said = said.join("\n");
        assert_eq!(child.wait().unwrap().code(), Some(130), "{said}");
        assert!(said.contains("the run ends in order"), "{said}");
        assert!(!said.contains("trying again"), "{said}");
        assert!(!place.path("out").join("verdict.json").exists());
        assert!(is_empty(&place.path("tmp")));
    }
}

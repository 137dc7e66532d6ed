//! Without other builders: what people see, exit codes, and Ctrl-C.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use nix::errno::Errno;
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::place::{Place, Watched, run};
use super::processes::{builds, children, tree};

#[test]
fn a_failed_test_is_told_once() {
    for place in Place::all() {
        let first = run(place.attest(&["red"], &[], &[]));
        assert_eq!(first.code, Some(1), "{}", first.stderr);
        insta::assert_snapshot!("red", place.same(&first.stderr));
        assert_eq!(place.outcomes("failing"), ["built"]);
        assert!(
            place
                .output("shards/failing/verdict.json")
                .contains("\"failed\"")
        );
        // Nix keeps it, as everything that it has built.
        let again = run(place.attest(&["red"], &[], &[]));
        assert_eq!(again.code, Some(1), "{}", again.stderr);
        insta::assert_snapshot!("red-again", place.same(&again.stderr));
        assert_eq!(place.outcomes("failing"), ["in-store"]);
    }
}

#[test]
fn what_never_has_an_output_is_an_infrastructure_failure() {
    for place in Place::all() {
        let ended = run(place.attest(&["lost"], &["--retries", "1"], &[]));
        assert_eq!(ended.code, Some(3), "{}", ended.stderr);
        insta::assert_snapshot!("lost", place.same(&ended.stderr));
        assert_eq!(place.outcomes("lost"), ["no-output", "no-output"]);
        let why = &place.shard("lost")["attempts"][1];
        assert_eq!(why["log"][0], "no memory is left", "{why}");
        let junit = place.output("junit.xml");
        assert!(
            junit.contains("<error ") && junit.contains("name=\"passing\""),
            "{junit}"
        );
        let ended = run(place.attest(&["needy"], &["--retries", "0"], &[]));
        assert_eq!(ended.code, Some(3), "{}", ended.stderr);
        let why = place.shard("needy")["attempts"][0]["reason"].to_string();
        assert!(
            why.contains("it was not begun: ") && why.contains("-needed.drv"),
            "{why}"
        );
        let ended = run(place.attest(&["foreign"], &[], &[]));
        assert_eq!(ended.code, Some(3), "{}", ended.stderr);
        insta::assert_snapshot!("foreign", place.same(&ended.stderr));
    }
}

#[test]
fn several_tests_are_one_suite() {
    for place in Place::all() {
        let command = place.attest(&["red", "killed"], &["--format", "json"], &[]);
        let mut build = Watched::start(command);
        build.until_waiting("killed/long");
        let gate = place.open("long");
        assert_eq!(build.end(), Some(1), "{}", place.version);
        drop(gate);
        for name in ["red/failing", "red/passing", "killed/long", "killed/short"] {
            let shard = place.shard(name);
            let directory = shard["directory"].as_str().unwrap();
            assert!(
                place
                    .output(&format!("{directory}/junit.xml"))
                    .contains("<testcase ")
            );
        }
    }
}

#[test]
fn tests_may_be_in_a_flake() {
    for place in Place::all() {
        let flake = "{ outputs = _: import ./suite.nix; }";
        std::fs::write(place.path("flake.nix"), flake).unwrap();
        // It is copied whole, which pipes cannot be.
        std::fs::remove_dir_all(place.path("gate")).unwrap();
        std::fs::create_dir(place.path("gate")).unwrap();
        let reference = format!("path:{}#red", place.path("").display());
        let mut command = Command::new(env!("CARGO_BIN_EXE_attest"));
        place.settle(&mut command);
        command.args(["nix", "build", "-o", "out", &reference, "--", "--store"]);
        command.arg(place.path("store"));
        let ended = run(command);
        assert_eq!(ended.code, Some(1), "{}: {}", place.version, ended.stderr);
        assert_eq!(place.outcomes("passing"), ["built"]);
    }
}

#[test]
fn what_cannot_be_evaluated_is_said() {
    for place in Place::all() {
        let cases = [("empty", 4), ("plain", 2), ("wrong", 2), ("missing", 2)];
        let mut said = String::new();
        for (test, code) in cases {
            let ended = run(place.attest(&[test], &[], &[]));
            assert_eq!(ended.code, Some(code), "{test}: {}", ended.stderr);
            assert_eq!(ended.stdout, "");
            said.push_str(&place.same(&ended.stderr));
            said.push('\n');
            if test == "wrong" {
                assert!(
                    ended
                        .stderr
                        .contains("the option `nodes.server` is not set")
                );
            }
        }
        insta::assert_snapshot!("wrong", said);
        assert!(!place.path("out").exists());
    }
}

#[test]
fn a_program_that_is_no_nix_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let said = |program: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_attest"));
        command.args(["nix", "build", ".#x", "--nix", program]);
        let ended = run({
            command.current_dir(&directory);
            command
        });
        assert_eq!(ended.code, Some(3), "{}", ended.stderr);
        ended.stderr
    };
    insta::assert_snapshot!(said("./nowhere"), @"error: `./nowhere` cannot be started; install Nix, or name it with --nix or in $ATTEST_NIX_PROGRAM: No such file or directory (os error 2)");
    let other = directory.path().join("nix");
    std::fs::write(&other, "#!/bin/sh\necho 'nix (Nix) 9.9'\n").unwrap();
    std::fs::set_permissions(&other, std::fs::Permissions::from_mode(0o755)).unwrap();
    insta::assert_snapshot!(said("./nix"), @"error: Nix's answer on `.#x` is none that is known; is this version of Nix newer than attest (nix (Nix) 9.9)?");
}

/// Wait until no process is left of those that this one has started or adopted; the exit code of `child`.
fn all_ended(child: Pid) -> Option<i32> {
    let mut code = None;
    loop {
        match waitpid(None, Some(WaitPidFlag::empty())) {
            Err(Errno::ECHILD) => return code,
            Ok(WaitStatus::Exited(pid, status)) if pid == child => code = Some(status),
            Ok(_) => {}
            Err(error) => panic!("waitpid: {error}"),
        }
    }
}

#[test]
fn an_interrupt_ends_nix_and_keeps_what_there_is() {
    set_child_subreaper(true).unwrap();
    for place in Place::all() {
        let mut build = Watched::start(place.attest(&["mixed"], &["--format", "json"], &[]));
        build.until_waiting("long");
        build.until("the failure", |event| event["event"] == "test-ended");
        kill(build.pid(), Signal::SIGINT).unwrap();
        let pid = build.pid();
        let mut events = build;
        events.until("the end", |event| event["event"] == "run-ended");
        assert_eq!(all_ended(pid), Some(130), "{}", place.version);
        assert_eq!(place.outcomes("failing"), ["built"]);
        assert_eq!(place.outcomes("long"), ["interrupted"]);
        assert!(place.output("junit.xml").contains("it does not answer"));
    }
}

#[test]
fn a_second_interrupt_ends_all_at_once() {
    set_child_subreaper(true).unwrap();
    for place in Place::all() {
        let mut build = Watched::start(place.attest(&["killed"], &["--format", "json"], &[]));
        build.until_waiting("long");
        let pid = build.pid();
        // It cannot react.
        let programs = children(pid);
        let nix = programs.iter().find(|nix| {
            tree(**nix)
                .iter()
                .any(|pid| builds(*pid, "attest-shard-long"))
        });
        kill(*nix.unwrap(), Signal::SIGSTOP).unwrap();
        kill(pid, Signal::SIGINT).unwrap();
        kill(pid, Signal::SIGTERM).unwrap();
        assert_eq!(all_ended(pid), Some(130), "{}", place.version);
    }
}

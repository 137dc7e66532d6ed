//! Its command lines: good ones and wrong ones.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use super::{driver, place, run_script};
use crate::support::run;

#[test]
fn it_goes_by_three_names() {
    let place = place("print('ran', end='')");
    for name in ["nixos-test-driver", ".nixos-test-driver-wrapped"] {
        let program = place.path(name);
        symlink(env!("CARGO_BIN_EXE_attest"), &program).unwrap();
        let mut command = Command::new(&program);
        place.settle(&mut command);
        let ended = run(command.args(["-o", "out", "test.py"]));
        assert_eq!(ended.code, Some(0), "{name}: {}", ended.stderr);
        assert!(ended.stdout.ends_with("ran"), "{}", ended.stdout);
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_attest"));
    place.settle(&mut command);
    let ended = run(command.arg0("generate-driver-symbols"));
    assert_eq!(ended.code, Some(0));
    let symbols = fs::read_to_string(place.path("driver-symbols")).unwrap();
    assert!(symbols.starts_with("start_all,"), "{symbols}");
}

/// Linters of scripts take the list for complete.
#[test]
fn the_symbols_are_those_of_scripts() {
    let place = place(
        "names = [n for n in globals() if not n.startswith('__') and n != 'names']\nprint('SYMBOLS', ','.join(sorted(names)))",
    );
    assert_eq!(place.run(&["generate-driver-symbols"]).code, Some(0));
    let written = fs::read_to_string(place.path("driver-symbols")).unwrap();
    let mut written: Vec<&str> = written.split(',').collect();
    written.sort_unstable();
    let ended = run_script(&place, &["-o", "out"]);
    let said = ended
        .stdout
        .lines()
        .find_map(|line| line.strip_prefix("SYMBOLS "))
        .unwrap_or_else(|| panic!("{}{}", ended.stdout, ended.stderr));
    assert_eq!(said.split(',').collect::<Vec<_>>(), written);
}

#[test]
fn the_environment_has_what_the_command_line_has_not() {
    let place = place("assert driver.global_timeout == 77; print('here')");
    let mut command = driver(&place, &["-o", "out"]);
    command.env("testScript", place.path("test.py"));
    command.env("globalTimeout", "77").env("startScripts", "");
    let ended = run(&mut command);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains("here"));
    assert!(
        ended
            .stderr
            .contains("Test will time out and terminate in 77 seconds"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_configuration_of_a_newer_nixpkgs_is_taken_and_the_rest_named() {
    let place = place("print(len(machines), driver.vlans)");
    let json = format!(
        r#"{{"vms":{{}},"containers":{{}},"vlans":[],"global_timeout":60,"enable_ssh_backdoor":false,
           "test_script":{:?},"display_viewers":{{}}}}"#,
        place.path("test.py")
    );
    fs::write(place.path("c.json"), json).unwrap();
    let ended = run(&mut driver(&place, &["--conf", "c.json", "--out", "out"]));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains("0 []"), "{}", ended.stdout);
    assert!(
        ended
            .stderr
            .contains("this driver does not know, and leaves out: display_viewers"),
        "{}",
        ended.stderr
    );
}

#[test]
fn how_to_reach_machines_by_ssh_is_said_when_asked() {
    let place = place("pass");
    let mut command = driver(&place, &["-o", "out", "--dump-vsocks=5", "test.py"]);
    command.env("startScripts", "/no/run-web-vm /no/run-db-vm");
    let ended = run(&mut command);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    for line in ["ssh -o User=root vsock/6", "ssh -o User=root vsock/7"] {
        assert!(
            ended.stdout.contains(line),
            "no `{line}` in {}",
            ended.stdout
        );
    }
}

#[test]
fn wrong_usage_ends_before_anything_begins() {
    let place = place("print('never')");
    for (arguments, words) in [
        (&["--foo", "test.py"][..], "unexpected argument '--foo'"),
        (&[], "the following arguments are required: testscript"),
        (
            &["-o", "nowhere", "test.py"],
            "-o/--output_directory: nowhere is not a directory",
        ),
        (&["-o", "test.py", "test.py"], "test.py is not a directory"),
        (
            &["--vlans", "one", "--", "test.py"],
            "argument --vlans: `one` is no number",
        ),
        (&["-c", "none.json"], "the configuration none.json"),
        (&["--log-level", "loud", "test.py"], "invalid value 'loud'"),
        (
            &["--global-timeout", "soon", "test.py"],
            "invalid value 'soon'",
        ),
        (
            &[
                "--vm-names",
                "a",
                "b",
                "--vm-start-scripts",
                "x",
                "--",
                "test.py",
            ],
            "2 names (a, b) for 1 start scripts (x)",
        ),
    ] {
        let ended = run(&mut driver(&place, arguments));
        assert_eq!(ended.code, Some(2), "{arguments:?}: {}", ended.stderr);
        assert_eq!(ended.stdout, "", "{arguments:?}");
        assert!(
            ended.stderr.contains(words),
            "{arguments:?}: {}",
            ended.stderr
        );
    }
}

#[test]
fn what_is_not_there_is_named() {
    let place = place("print('never')");
    let ended = run(&mut driver(&place, &["-o", "out", "no.py"]));
    assert_eq!(ended.code, Some(1));
    assert!(
        ended
            .stderr
            .contains("the test script no.py cannot be read")
    );
    let ended = run(driver(&place, &["-o", "out", "test.py"]).env("ATTEST_PYTHON", "/no/python"));
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.stderr.contains("ATTEST_PYTHON is `/no/python`"),
        "{}",
        ended.stderr
    );
    // One that is too old says so itself, and runs nothing.
    let old = place.path("old-python");
    let text = "#!/bin/sh\nexec python3 -c 'import sys, runpy; sys.version_info = (3, 8, 0); sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name=\"__main__\")' \"$@\"\n";
    fs::write(&old, text).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&old, mode).unwrap();
    let ended = run(driver(&place, &["-o", "out", "test.py"]).env("ATTEST_PYTHON", &old));
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("scripts need CPython 3.9 or newer"),
        "{}",
        ended.stderr
    );
    assert!(!ended.stdout.contains("never"));
    let ended = run(driver(&place, &["-o", "out", "test.py"]).env("LOGFILE", "/no/log.xml"));
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("/no/log.xml cannot be written"));
    // The code says it, too, where nothing can be said.
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let status = driver(&place, &["-o", "out", "no.py"])
        .stderr(full)
        .status();
    assert_eq!(status.unwrap().code(), Some(1));
}

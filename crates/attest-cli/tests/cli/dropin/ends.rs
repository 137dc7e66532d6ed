//! How scripts end, and what the driver ends with then.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Stdio};

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::{driver, left, output, place, run_script};
use crate::support::{Place, adopt, all_ended, signal};

#[test]
fn failures_show_the_scripts_own_frames_and_lines() {
    for (script, words) in [
        (
            "x = (1,\n",
            &[
                "  File \"<string>\", line 1",
                "    x = (1,",
                "^",
                "SyntaxError: '(' was never closed",
            ][..],
        ),
        (
            "def check():\n    t.assertEqual(1, 2, 'one is two')\ncheck()\n",
            &[
                "Traceback (most recent call last):",
                "  File \"<string>\", line 3, in <module>",
                "    check()",
                "  File \"<string>\", line 2, in check",
                "RequestedAssertionFailed: 1 != 2 : one is two",
            ],
        ),
        (
            "web.succeed('x')\n",
            &["NameError: name 'web' is not defined"],
        ),
        (
            "m = create_machine('/bin/false', name='m')\nm.succeed(5)\n",
            &[
                "line 2, in <module>",
                "TypeError: succeed() takes shell commands as strings, not int: 5",
            ],
        ),
        (
            "m = create_machine('/bin/false', name='m')\nm.succeed('a\\0b')\n",
            &["has a NUL character at position 1"],
        ),
        (
            "m = create_machine('/bin/false', name='m')\nm.succeed('x', tiemout=1)\n",
            &["unexpected keyword argument 'tiemout'"],
        ),
        (
            "os.write(driver._client._fd, b'nonsense\\n' + b'x' * 10_000_000)\n",
            &["a line is not JSON"],
        ),
        (
            "m = create_machine('echo oh no >&2; exit 4 #', name='m')\nm.wait_for_unit('x')\n",
            &[
                "MachineError",
                "m: its start script ended with exit code 4",
                "oh no",
            ],
        ),
    ] {
        let place = place(script);
        let ended = run_script(&place, &["-o", "out"]);
        assert_eq!(ended.code, Some(1), "{script}: {}", ended.stderr);
        for word in words {
            let wanted = format!("!!! {word}");
            let found = ended.stderr.contains(&wanted)
                || ended
                    .stderr
                    .lines()
                    .any(|line| line.starts_with("!!! ") && line.contains(word));
            assert!(found, "{script}: no `{word}` in {}", ended.stderr);
        }
        assert!(
            !ended.stderr.contains("attest/"),
            "a frame of ours: {}",
            ended.stderr
        );
        assert_eq!(left(&place), Vec::<String>::new());
    }
}

#[test]
fn codes_of_scripts_are_codes_of_the_driver() {
    for (script, code) in [
        ("pass", 0),
        ("import sys; sys.exit(0)", 0),
        ("import sys; sys.exit(7)", 7),
        ("import sys; sys.exit('words')", 1),
        ("raise ValueError('x')", 1),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", 1),
        ("import os; os._exit(3)", 1),
    ] {
        let place = place(script);
        let ended = run_script(&place, &["-o", "out"]);
        assert_eq!(ended.code, Some(code), "{script}: {}", ended.stderr);
    }
}

#[test]
fn reports_have_subtests_and_the_log() {
    let script = "\
with subtest('first'):
    log.info('in the first')
with subtest('second'):
    t.assertTrue(False)
";
    let place = place(script);
    let mut command = driver(
        &place,
        &["-o", "out", "--junit-xml", "junit.xml", "test.py"],
    );
    command.env("LOGFILE", place.path("out").join("log.xml"));
    let ended = crate::support::run(&mut command);
    assert_eq!(ended.code, Some(1));
    let junit = output(&place, "junit.xml");
    for part in [
        "<testsuite name=\"NixOS integration test\" tests=\"3\" skipped=\"0\" errors=\"0\" failures=\"1\"",
        "<testcase name=\"first\"",
        "in the first",
        "<testcase name=\"second\"",
        "<failure message=\"test case failed\">False is not true",
    ] {
        assert!(junit.contains(part), "no `{part}` in {junit}");
    }
    let xml = output(&place, "log.xml");
    for part in [
        "<head>subtest: first</head><line>in the first</line>",
        "</logfile>",
    ] {
        assert!(xml.contains(part), "no `{part}` in {xml}");
    }
    for part in [
        "subtest: first",
        "(finished: subtest: first, in 0.",
        "cleanup",
    ] {
        assert!(
            ended.stderr.contains(part),
            "no `{part}` in {}",
            ended.stderr
        );
    }
}

/// A driver whose script has printed that it is there.
fn midway(place: &Place, arguments: &[&str]) -> Child {
    let mut command = driver(place, arguments);
    let mut child = command
        .arg("test.py")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "there"));
    child
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed())
}

const WAITS: &str = "\
import time
try:
    print('there', flush=True)
    time.sleep(1000)
finally:
    open('finally', 'w').close()
";

#[test]
fn the_global_timeout_ends_it_by_sigterm() {
    let place = place(WAITS);
    let mut child = midway(
        &place,
        &["-o", "out", "--global-timeout", "1", "--junit-xml", "j.xml"],
    );
    let status = child.wait().unwrap();
    assert_eq!(status.signal(), Some(Signal::SIGTERM as i32));
    assert!(output(&place, "j.xml").contains("its global time-out"));
    assert_eq!(left(&place), Vec::<String>::new());
}

#[test]
fn an_interrupt_reaches_the_script() {
    let place = place(WAITS);
    let mut child = midway(&place, &["-o", "out"]);
    signal(pid(&child), Signal::SIGINT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(place.path("finally").exists());
    assert_eq!(left(&place), Vec::<String>::new());
}

#[test]
fn nothing_is_left_of_it_when_it_is_killed() {
    adopt();
    let script = "\
m = create_machine(\"sh -c 'sleep 1000; true' #\", name='m')
import threading
threading.Thread(target=m.start, daemon=True).start()
print('there', flush=True)
import time
time.sleep(1000)
";
    for number in [Signal::SIGKILL, Signal::SIGTERM] {
        let place = place(script);
        let mut child = midway(&place, &["-o", "out", "--vlans", "1", "2", "--"]);
        signal(pid(&child), number);
        let status = child.wait().unwrap();
        assert_eq!(status.signal(), Some(number as i32));
        all_ended(pid(&child));
        assert_eq!(left(&place), Vec::<String>::new(), "{number}");
    }
}

/// Processes and threads of a script that are there when it has ended.
#[test]
#[expect(
    clippy::zombie_processes,
    reason = "all of them are waited for at once"
)]
fn what_a_script_leaves_running_holds_nothing_up() {
    adopt();
    for (script, code) in [
        // Its socket is the child's, too.
        ("import os, time\nif os.fork() == 0: time.sleep(1000)", 0),
        (
            "import os, time\nif os.fork() == 0: time.sleep(1000)\nos._exit(0)",
            0,
        ),
        // Its standard output is the child's, too.
        ("import subprocess\nsubprocess.Popen(['sleep', '1000'])", 0),
        (
            "import subprocess\nsubprocess.Popen('setsid sh -c \"sleep 1000; :\"; :', shell=True)",
            0,
        ),
        // It ends with the machine that it waits for.
        (
            "m = create_machine(\"sh -c 'sleep 1000; true' #\", name='m')\nimport threading\nthreading.Thread(target=m.start).start()",
            0,
        ),
    ] {
        let place = place(script);
        let child = driver(&place, &["-o", "out", "test.py"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        assert_eq!(all_ended(pid(&child)), Some(code), "{script}");
        assert_eq!(left(&place), Vec::<String>::new(), "{script}");
    }
}

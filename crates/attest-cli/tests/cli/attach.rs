//! `exec` and `shell`.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::Stdio;

use nix::pty::{Winsize, openpty};

use crate::support::{Place, run};

const ONE: &str = "[machines.a]\n";

#[test]
fn exec_is_the_command() {
    let place = Place::new(ONE);
    let script = "cat; echo err >&2; exit 9";
    let mut child = place
        .attest(&["exec", "--quiet", "a", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let all: Vec<u8> = (0..=255).cycle().take(200_000).collect();
    let mut stdin = child.stdin.take().unwrap();
    let writing = std::thread::spawn({
        let all = all.clone();
        move || stdin.write_all(&all).unwrap()
    });
    let output = child.wait_with_output().unwrap();
    writing.join().unwrap();
    assert_eq!(output.status.code(), Some(9));
    assert!(output.stdout == all);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "err\n");
}

#[test]
fn exec_takes_words_as_they_are() {
    let place = Place::new(ONE);
    let words = place.run(&[
        "exec", "-q", "a", "--", "printf", "%s|", "a b", "$HOME", "-q",
    ]);
    assert_eq!(
        (words.code, words.stdout.as_str()),
        (Some(0), "a b|$HOME|-q|"),
        "{words:?}"
    );
}

#[test]
fn exec_ends_as_its_command_does() {
    let place = Place::new(ONE);
    let killed = place.run(&["exec", "-q", "a", "sh", "-c", "kill -9 $$"]);
    assert_eq!(killed.code, Some(137), "{killed:?}");
    let late = place.run(&["exec", "-q", "--timeout", "100ms", "a", "sleep 1000"]);
    assert_eq!(late.code, Some(5), "{late:?}");
    assert!(late.stderr.contains("did not end within 100ms"), "{late:?}");
    let unknown = run(&mut place.attest(&["exec", "-q", "a", "no-such-program", "x"]));
    assert_eq!(unknown.code, Some(1), "{unknown:?}");
}

#[test]
fn shell_is_a_terminal() {
    let place = Place::new(ONE);
    let size = Winsize {
        ws_row: 33,
        ws_col: 101,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let terminal = openpty(&size, None).unwrap();
    let end = || Stdio::from(terminal.slave.try_clone().unwrap());
    let mut child = place
        .attest(&["shell", "a"])
        .stdin(end())
        .stdout(end())
        .stderr(end())
        .spawn()
        .unwrap();
    drop(terminal.slave);
    let mut master = File::from(terminal.master);
    master
        .write_all(b"stty size; echo $((40 + 2)); exit 7\n")
        .unwrap();
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    // It ends with an error (EIO) when the last holder of the other end is gone.
    while let Ok(count @ 1..) = master.read(&mut buffer) {
        seen.extend_from_slice(&buffer[..count]);
    }
    let seen = String::from_utf8_lossy(&seen);
    assert_eq!(child.wait().unwrap().code(), Some(7), "{seen}");
    assert!(seen.contains("33 101") && seen.contains("\n42\r"), "{seen}");
}

//! Runs what is in `inside`, each in a process of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use attest::events::{Event, EventKind, Phase};
use attest::run::{EVENTS_VARIABLE, KEEP_VARIABLE, OUTPUT_VARIABLE};
use tempfile::TempDir;

use crate::inside::TRAFFIC;

const TUN: &str = "ATTEST_TUN";
const DEVICE: &str = "/dev/net/tun";

struct Place(TempDir);

/// How a test ended.
struct Ended {
    is_passed: bool,
    text: String,
    events: Vec<EventKind>,
}

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The program that runs in guests; `None`, after saying so, where it cannot be made.
    fn traffic(&self, test: &str) -> Option<PathBuf> {
        let program = self.path("traffic");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cards/traffic.rs");
        let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let made = Command::new(compiler)
            .args(["--edition=2024", "-O", "-Cstrip=symbols", "-Cpanic=abort"])
            .args(["-Ctarget-feature=+crt-static", source, "-o"])
            .arg(&program)
            .status();
        if let Err(error) = made {
            eprintln!("skipped: {test}: there is no rustc for its program: {error}");
            return None;
        }
        assert!(made.is_ok_and(|status| status.success()), "{source}");
        Some(program)
    }

    /// Of `inside`, by way of these words.
    fn command(&self, by_way_of: &[&str], test: &str) -> Command {
        let program = std::env::current_exe().unwrap();
        let mut command = match by_way_of.split_first() {
            Some((first, words)) => {
                let mut command = Command::new(first);
                command.args(words).arg(program);
                command
            }
            None => Command::new(program),
        };
        command
            .args([&format!("inside::{test}"), "--exact", "--ignored"])
            .args(["--nocapture", "--test-threads=1"])
            .env("ATTEST_SNAPSHOTS", "auto")
            .env("ATTEST_SNAPSHOTS_DIR", self.path("snapshots"))
            .env(OUTPUT_VARIABLE, self.path("output"))
            .env(EVENTS_VARIABLE, self.path("events"))
            .env_remove(KEEP_VARIABLE)
            .env_remove(TUN)
            .stdin(Stdio::null());
        command
    }

    fn end(&self, mut command: Command) -> Ended {
        std::fs::write(self.path("events"), "").unwrap();
        let output = command.output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&said).into_owned();
        assert!(text.contains("running 1 test"), "{text}");
        let events = std::fs::read_to_string(self.path("events")).unwrap();
        let events = events.lines().map(serde_json::from_str);
        Ended {
            is_passed: output.status.success(),
            text,
            events: events
                .map(|event: Result<Event, _>| event.unwrap().kind)
                .collect(),
        }
    }

    fn run(&self, test: &str, tun: &str) -> Ended {
        let mut command = self.command(&[], test);
        command.env(TUN, tun);
        self.end(command)
    }
}

impl Ended {
    #[track_caller]
    fn passed(&self) {
        assert!(self.is_passed, "{}", self.text);
    }

    fn has(&self, phase: Phase) -> bool {
        let is = |event: &EventKind| matches!(event, EventKind::PhaseStarted { phase: began } if *began == phase);
        self.events.iter().any(is)
    }

    /// What was chosen for this, and why.
    fn chosen(&self, of: &str) -> Option<(&str, &str)> {
        self.events.iter().find_map(|event| match event {
            EventKind::Chosen {
                what,
                choice,
                reason,
            } if what == of => Some((choice.as_str(), reason.as_str())),
            _ => None,
        })
    }
}

fn with_traffic(test: &str) {
    let place = Place::new();
    let Some(traffic) = place.traffic(test) else {
        return;
    };
    let mut command = place.command(&[], test);
    command.env(TUN, "never").env(TRAFFIC, traffic);
    place.end(command).passed();
}

#[test]
fn much_passes_on_every_network_and_nothing_is_lost() {
    with_traffic("much_passes_on_every_network_and_nothing_is_lost");
}

#[test]
fn connections_go_on_from_a_snapshot() {
    with_traffic("connections_go_on_from_a_snapshot");
}

#[test]
fn labs_go_on_from_what_was_saved_the_same_way() {
    let place = Place::new();
    let test = "machines_reach_each_other";
    let first = place.run(test, "never");
    first.passed();
    let told = Some(("relayed frames", "ATTEST_TUN=never"));
    assert_eq!(first.chosen("network cards"), told);
    let second = place.run(test, "never");
    second.passed();
    assert!(second.has(Phase::Restore) && !second.has(Phase::Boot));
    if !Path::new(DEVICE).exists() {
        return eprintln!("skipped in part: {test}: there is no {DEVICE}");
    }
    let other = place.run(test, "always");
    other.passed();
    assert!(other.has(Phase::Boot) && !other.has(Phase::Restore));
    let (_, why) = other.chosen("snapshot").unwrap();
    let words = "way of the network cards of a: TAPs, was relayed frames";
    assert!(why.contains(words), "{why}");
    let third = place.run(test, "never");
    assert!(third.has(Phase::Restore) && !third.has(Phase::Boot));
}

#[test]
fn a_host_without_the_device_needs_nothing_said() {
    let place = Place::new();
    let test = "machines_reach_each_other";
    let without = "mount -t tmpfs none /dev/net && exec \"$@\"";
    let hidden = ["unshare", "--user", "--map-root-user", "--mount"];
    let words = [&hidden[..], &["sh", "-c", without, "sh"]].concat();
    let able = Command::new(words[0])
        .args(&words[1..])
        .args(["test", "!", "-e", DEVICE])
        .output();
    if !able.as_ref().is_ok_and(|output| output.status.success()) {
        return eprintln!("skipped: {test}: {DEVICE} cannot be hidden: {able:?}");
    }
    let ended = place.end(place.command(&words, test));
    ended.passed();
    let (choice, why) = ended.chosen("network cards").unwrap();
    assert_eq!(choice, "relayed frames");
    assert!(
        why.starts_with("no TAPs by /dev/net/tun: No such file"),
        "{why}"
    );
}

#[test]
fn other_words_are_refused() {
    let place = Place::new();
    let ended = place.run("machines_reach_each_other", "no");
    assert!(!ended.is_passed, "{}", ended.text);
    let words = "a: ATTEST_TUN is `no`, and must be `auto`, `never` or `always`";
    assert!(ended.text.contains(words), "{}", ended.text);
}

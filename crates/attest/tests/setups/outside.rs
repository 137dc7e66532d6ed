//! Runs what is in `inside`, each in a process of its own, with a place for snapshots that nobody else has.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use attest::events::{Event, EventKind, Phase};
use attest::run::{EVENTS_VARIABLE, KEEP_VARIABLE, OUTPUT_VARIABLE};
use tempfile::TempDir;

use crate::inside::{KEPT, RAN};

struct Place(TempDir);

/// How a test ended.
struct Ended {
    is_passed: bool,
    text: String,
    phases: Vec<Phase>,
}

struct Running {
    test: Child,
    events: PathBuf,
}

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn start(&self, test: &str, snapshots: &str) -> Running {
        self.start_with(test, snapshots, &[])
    }

    /// With more in its environment.
    fn start_with(&self, test: &str, snapshots: &str, more: &[(&str, &str)]) -> Running {
        let path = |name: &str| self.0.path().join(name);
        let events = path(&format!("{test}.events"));
        std::fs::write(&events, "").unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args([&format!("inside::{test}"), "--exact", "--ignored"])
            .args(["--nocapture", "--test-threads=1"])
            .env("ATTEST_SNAPSHOTS", snapshots)
            .env("ATTEST_SNAPSHOTS_DIR", path("snapshots"))
            .env(OUTPUT_VARIABLE, path("output"))
            .env(EVENTS_VARIABLE, &events)
            .env(RAN, path("ran"))
            .env_remove(KEEP_VARIABLE)
            .envs(more.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Running {
            test: command.spawn().unwrap(),
            events,
        }
    }

    fn run(&self, test: &str, snapshots: &str) -> Ended {
        self.start(test, snapshots).end()
    }

    /// The set-ups that have run so far.
    fn ran(&self) -> String {
        let ran = std::fs::read_to_string(self.0.path().join("ran"));
        ran.unwrap_or_default().replace('\n', " ")
    }
}

impl Running {
    fn end(self) -> Ended {
        let output = self.test.wait_with_output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&said).into_owned();
        assert!(text.contains("running 1 test"), "{text}");
        let events = std::fs::read_to_string(self.events).unwrap();
        let events = events.lines().map(serde_json::from_str);
        let phase = |event: Event| match event.kind {
            EventKind::PhaseStarted { phase } => Some(phase),
            _ => None,
        };
        Ended {
            is_passed: output.status.success(),
            text,
            phases: events
                .filter_map(|event: Result<Event, _>| phase(event.unwrap()))
                .collect(),
        }
    }
}

impl Ended {
    #[track_caller]
    fn passed(&self) {
        assert!(self.is_passed, "{}", self.text);
    }

    /// It has not passed, and says so with these words.
    #[track_caller]
    fn failed(&self, words: &[&str]) {
        assert!(!self.is_passed, "{}", self.text);
        for words in words {
            assert!(self.text.contains(words), "not {words:?}: {}", self.text);
        }
    }

    fn has(&self, phase: Phase) -> bool {
        self.phases.contains(&phase)
    }
}

#[test]
fn a_set_up_runs_once_for_all_processes() {
    let place = Place::new();
    let tests = ["has_one_line", "has_one_line_in_forks", "has_two_lines"];
    // All want the same at once: one makes it, and the others wait.
    let running = tests.map(|test| place.start(test, "auto"));
    for running in running {
        running.end().passed();
    }
    assert_eq!(place.ran(), "written more ");
    // The same program finds all of it again, and nothing boots.
    for test in tests {
        let again = place.run(test, "auto");
        again.passed();
        assert!(again.has(Phase::Restore), "{:?}", again.phases);
        assert!(!again.has(Phase::Boot), "{:?}", again.phases);
    }
    assert_eq!(place.ran(), "written more ");
    place.run("has_two_lines", "rebuild").passed();
    assert_eq!(place.ran().matches("more").count(), 2);
}

#[test]
fn without_snapshots_every_test_boots_and_runs_its_set_ups() {
    let place = Place::new();
    let never = place.run("has_two_lines", "never");
    never.passed();
    assert_eq!(place.ran(), "written more ");
    assert!(never.has(Phase::Boot) && !never.has(Phase::Restore));
    // As its attribute says.
    place
        .run("has_two_lines_on_a_lab_that_boots", "auto")
        .passed();
    assert_eq!(place.ran(), "written more written more ");
}

#[test]
fn a_set_up_that_fails_fails_its_tests() {
    let place = Place::new();
    let words = [
        "set-up `setups::inside::elsewhere::failing` failed: a: `echo no line 3 >&2; exit 3` ended with exit code 3",
        "soon over",
        "--- the end of its stderr:\nno line 3",
    ];
    place.run("has_a_set_up_that_fails", "auto").failed(&words);
    assert_eq!(place.ran(), "written more failing ");
    // What is before it stays; it is tried again.
    place.run("has_a_set_up_that_fails", "auto").failed(&words);
    assert_eq!(place.ran(), "written more failing failing ");
    place.run("has_a_set_up_that_fails", "never").failed(&words);
    place.run("has_a_set_up_that_panics", "auto").failed(&[
        "set-up `setups::inside::elsewhere::panicking` failed: assertion `left == right` failed: of rows",
        "inside.rs",
        "the end of a's console",
    ]);
}

#[test]
fn labs_of_failed_tests_are_kept_where_that_is_wanted() {
    let place = Place::new();
    let unasked = place.run("panics_after_writing", "auto");
    unasked.failed(&["lines are left"]);
    assert!(!unasked.text.contains("kept"), "{}", unasked.text);
    let keep = [(KEEP_VARIABLE, "failed")];
    let passed = place.start_with("has_no_set_up", "auto", &keep).end();
    passed.passed();
    assert!(!passed.text.contains("kept"), "{}", passed.text);
    for test in ["panics_after_writing", "ends_with_an_error_of_its_own"] {
        let ended = place.start_with(test, "auto", &keep).end();
        ended.failed(&["its lab is kept"]);
        let words = ended.text.split("attest shell --snapshot ").nth(1).unwrap();
        let name = words.split_whitespace().next().unwrap();
        let test = "goes_on_from_what_was_kept";
        place
            .start_with(test, "auto", &[(KEPT, name)])
            .end()
            .passed();
    }
}

#[test]
fn a_test_without_set_ups_goes_on_from_where_its_lab_had_booted() {
    let place = Place::new();
    let first = place.run("has_no_set_up", "auto");
    first.passed();
    assert!(first.has(Phase::Boot) && first.has(Phase::Snapshot));
    let second = place.run("has_no_set_up", "auto");
    second.passed();
    assert!(second.has(Phase::Restore) && !second.has(Phase::Boot));
}

//! The corpus of scripts, which covers all that the Python surface has, on real guests.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use attest_fixture::{Fixture, FixtureError, Node};

use super::{driver, left, place};
use crate::support::Place;

/// What runs on a guest of few words: busybox, bash, a backdoor.
const PLAIN: [&str; 16] = [
    "assertions",
    "commands",
    "console",
    "create",
    "files",
    "imports",
    "interactive",
    "log",
    "machines",
    "monitor",
    "names",
    "network",
    "polling",
    "retrying",
    "state",
    "threads",
];
/// Those that are run through the root shell alone, too.
const BY_SHELL: [&str; 5] = ["commands", "console", "files", "polling", "threads"];
/// What needs a systemd.
const SYSTEM: [&str; 4] = ["tty", "units", "users", "waits"];

fn corpus(name: &str) -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../python");
    package.join("tests/corpus").join(format!("{name}.py"))
}

/// What a script's head says: `# machines: one two`.
fn head(text: &str, key: &str) -> Option<String> {
    let prefix = format!("# {key}: ");
    let line = text.lines().find_map(|line| line.strip_prefix(&prefix));
    line.map(str::to_owned)
}

/// The guests that scripts get.
struct Guests {
    fixture: Fixture,
    is_system: bool,
}

impl Guests {
    fn plain() -> Option<Self> {
        Self::of(Fixture::new(), false)
    }

    fn systems() -> Option<Self> {
        Self::of(Fixture::system(), true)
    }

    fn of(fixture: Result<Fixture, FixtureError>, is_system: bool) -> Option<Self> {
        match fixture {
            Ok(fixture) => Some(Self { fixture, is_system }),
            Err(error) => {
                eprintln!("skipped: {error}: {:?}", std::error::Error::source(&error));
                None
            }
        }
    }

    /// A start script for each of these machines, and for one that a script makes.
    fn write(&self, place: &Place, names: &[&str]) -> Vec<String> {
        let write = |number: usize, name: &str| {
            let node = Node {
                memory: if self.is_system { 512 } else { 256 },
                // A script waits for the kernel's first words.
                kernel_arguments: vec!["loglevel=7".to_owned()],
                ..Node::new(name, u8::try_from(number + 1).unwrap()).on(&[1])
            };
            let path = self.fixture.write(&place.path(""), &node);
            path.unwrap().display().to_string()
        };
        write(names.len(), "made");
        let names = names.iter().enumerate();
        names.map(|(number, name)| write(number, name)).collect()
    }

    fn run(&self, name: &str, agent: &str) {
        let path = corpus(name);
        let text = fs::read_to_string(&path).unwrap();
        let machines = head(&text, "machines").unwrap_or_else(|| "machine".to_owned());
        let machines: Vec<&str> = machines.split_whitespace().collect();
        let typed = head(&text, "stdin")
            .unwrap_or_default()
            .replace("\\n", "\n");
        let place = place("");
        let scripts = self.write(&place, &machines);
        let mut command = driver(&place, &["-o", "out", "--global-timeout", "240"]);
        command
            .env("startScripts", scripts.join(" "))
            .env("vlans", "1")
            .env("testScript", &path)
            .env("ATTEST_AGENT", agent)
            .env("CORPUS_AGENT", if agent == "auto" { "1" } else { "0" })
            // The kernel has no 9p.
            .env("CORPUS_SHARED", "0")
            .env("CORPUS_SYSTEMD", if self.is_system { "1" } else { "" })
            .env("CORPUS_USER", "alice")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(typed.as_bytes()).unwrap();
        drop(input);
        let output = child.wait_with_output().unwrap();
        assert_eq!(
            output.status.code(),
            Some(0),
            "{name} with agent {agent}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert_eq!(left(&place), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn plain_guests_with_an_agent() {
    let Some(guests) = Guests::plain() else {
        return;
    };
    for name in PLAIN {
        guests.run(name, "auto");
    }
}

#[test]
fn plain_guests_by_their_shells() {
    let Some(guests) = Guests::plain() else {
        return;
    };
    for name in BY_SHELL {
        guests.run(name, "never");
    }
}

#[test]
fn systems_with_units_users_and_terminals() {
    let Some(guests) = Guests::systems() else {
        return;
    };
    for name in SYSTEM {
        guests.run(name, "auto");
    }
    // Units are asked for by commands then.
    guests.run("units", "never");
}

#[test]
fn systems_that_boot_again_and_again() {
    let Some(guests) = Guests::systems() else {
        return;
    };
    guests.run("life", "auto");
}

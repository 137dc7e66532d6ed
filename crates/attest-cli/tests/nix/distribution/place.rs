//! A version of Nix in a directory where nothing else is.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead as _, BufReader, Lines};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};
use serde_json::Value;
use tempfile::TempDir;

use attest_fixture::nix::programs;

/// Of the suite, those that wait at a gate.
const GATES: [&str; 3] = ["first", "second", "long"];

/// The place.
pub(super) struct Place {
    directory: TempDir,
    /// Nix.
    pub(super) program: PathBuf,
    pub(super) version: String,
}

/// How attest ended, and what it said.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) code: Option<i32>,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Place {
    /// One for each version of Nix that can build in the sandbox here. Says what is skipped, and why.
    pub(super) fn all() -> Vec<Self> {
        let programs = programs();
        if programs.is_empty() {
            eprintln!("skipped: there is no Nix: neither in $ATTEST_NIX nor on PATH");
        }
        let places = programs.iter().map(|program| (program, Self::new(program)));
        let skipping = places.filter_map(|(program, place)| {
            let skipped = |why| eprintln!("skipped: {}: {why}", program.display());
            place.map_err(skipped).ok()
        });
        skipping.collect()
    }

    fn new(program: &Path) -> Result<Self, String> {
        let busybox = attest_image::bare::busybox().map_err(|error| error.to_string())?;
        let said = Command::new(program).arg("--version").output();
        let said = said.map_err(|error| error.to_string())?;
        let version = String::from_utf8_lossy(&said.stdout).trim().to_owned();
        let place = Self {
            directory: TempDir::new().unwrap(),
            program: program.to_owned(),
            version,
        };
        fs::write(place.path("suite.nix"), include_str!("suite.nix")).unwrap();
        for name in ["gate", "tmp"] {
            fs::create_dir(place.path(name)).unwrap();
        }
        for name in GATES {
            mkfifo(&place.gate(name), Mode::S_IRWXU).unwrap();
        }
        let configuration = format!(
            "build-users-group =\nexperimental-features =\nsubstituters =\nsandbox = true\n\
             sandbox-fallback = false\nsandbox-paths = /bin/sh={} /gate={}\nsystem-features = nixos-test\n\
             max-jobs = 2\n",
            busybox.display(),
            place.path("gate").display()
        );
        fs::write(place.path("nix.conf"), configuration).unwrap();
        place.probe().map(|()| place)
    }

    /// Whether something is built here.
    fn probe(&self) -> Result<(), String> {
        let mut command = Command::new(&self.program);
        self.settle(&mut command);
        let words = [
            "build",
            "--no-link",
            "-f",
            "suite.nix",
            "plain",
            "--store",
            "./probe",
        ];
        let features = ["--extra-experimental-features", "nix-command"];
        let output = command.args(words).args(features).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        output
            .status
            .success()
            .then_some(())
            .ok_or_else(|| format!("it builds nothing here: {said}"))
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn gate(&self, name: &str) -> PathBuf {
        self.path("gate").join(name)
    }

    /// Lets one through who waits at this gate, or comes to it as long as this is held.
    pub(super) fn open(&self, name: &str) -> fs::File {
        use std::io::Write as _;
        let mut options = fs::File::options();
        // For reading, too: then nobody has to be there already.
        let mut gate = options
            .read(true)
            .write(true)
            .open(self.gate(name))
            .unwrap();
        gate.write_all(b"go\n").unwrap();
        gate
    }

    /// Let a command live here, with nothing of the host's configuration.
    pub(super) fn settle(&self, command: &mut Command) {
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("NIX_") || text.starts_with("XDG_") || text.starts_with("ATTEST_") {
                command.env_remove(&name);
            }
        }
        command
            .current_dir(self.directory.path())
            .env("HOME", self.directory.path())
            .env("NIX_CONF_DIR", self.directory.path())
            .env("NIX_USER_CONF_FILES", "/dev/null")
            .env("TMPDIR", self.path("tmp"))
            .env("ATTEST_NIX_PROGRAM", &self.program)
            .env_remove("CLICOLOR_FORCE")
            .stdin(Stdio::null());
    }

    /// The words of a command that builds tests of the suite: with these options of attest, and these of Nix.
    pub(super) fn words(&self, tests: &[&str], options: &[&str], of_nix: &[&str]) -> Vec<OsString> {
        let words = [
            &["nix", "build", "-o", "out"],
            options,
            tests,
            &["--", "-f", "suite.nix"],
        ]
        .concat();
        let words = words.into_iter().map(OsString::from);
        // Nix's helpers have another working directory.
        let store = ["--store".into(), self.path("store").into_os_string()];
        let of_nix = of_nix.iter().map(OsString::from);
        words.chain(store).chain(of_nix).collect()
    }

    /// The same as a command that lives here.
    pub(super) fn attest(&self, tests: &[&str], options: &[&str], of_nix: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_attest"));
        command.args(self.words(tests, options, of_nix));
        self.settle(&mut command);
        command
    }

    /// A file of the output directory.
    pub(super) fn output(&self, name: &str) -> String {
        let path = self.path("out").join(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// What `attempts.json` says of a shard.
    pub(super) fn shard(&self, name: &str) -> Value {
        let attempts: Value = serde_json::from_str(&self.output("attempts.json")).unwrap();
        let shards = attempts["shards"].as_array().unwrap();
        let found = shards.iter().find(|shard| shard["name"] == name);
        found
            .unwrap_or_else(|| panic!("{name} in {attempts}"))
            .clone()
    }

    /// What came of the attempts at a shard, in order.
    pub(super) fn outcomes(&self, name: &str) -> Vec<String> {
        let shard = self.shard(name);
        let attempts = shard["attempts"].as_array().unwrap().iter();
        attempts
            .map(|attempt| attempt["outcome"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Text with what differs each time replaced: also the order in which shards end.
    pub(super) fn same(&self, text: &str) -> String {
        let own = self.directory.path().display().to_string();
        let mut lines: Vec<&str> = text.lines().collect();
        let is_verdict = |line: &str| {
            ["   PASS", "   FAIL"]
                .iter()
                .any(|word| line.starts_with(word))
        };
        let first = lines
            .iter()
            .position(|line| is_verdict(line))
            .unwrap_or_default();
        let count = lines[first..]
            .iter()
            .take_while(|line| is_verdict(line))
            .count();
        lines[first..first + count].sort_by_key(|line| line.rsplit("  ").next());
        let mut text = lines.join("\n").replace(&own, "PLACE");
        for (what, by) in [
            (r"/nix/store/[0-9a-z]{32}-", "/nix/store/HASH-"),
            (r"\b\d+(\.\d+)? (µs|ms|s)\b", "TIME"),
            (r"(?m) +(TIME|0)  ", " TIME  "),
            (r#"(time|timestamp)="[^"]*""#, r#"$1="TIME""#),
            // Each version has words of its own.
            (r"local://PLACE", "PLACE"),
            (
                r#"(no output|it was not begun)( from \S+)?: [^"\n]*"#,
                "$1: REASON",
            ),
            (r"(?s)(Nix says:\n\n).*", "${1}REASON"),
        ] {
            text = regex::Regex::new(what)
                .unwrap()
                .replace_all(&text, by)
                .into_owned();
        }
        text
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Directories of stores cannot be written, not even to remove something.
        let mut left = vec![self.directory.path().to_owned()];
        while let Some(directory) = left.pop() {
            let _ = fs::set_permissions(&directory, fs::Permissions::from_mode(0o755));
            let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
            let directories =
                entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            left.extend(directories.map(|entry| entry.path()));
        }
    }
}

/// To its end.
pub(super) fn run(mut command: Command) -> Ended {
    let output = command.output().unwrap();
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A build that is watched through its events.
pub(super) struct Watched {
    pub(super) child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    pub(super) events: Vec<Value>,
}

impl Watched {
    /// The command has to ask for events.
    pub(super) fn start(mut command: Command) -> Self {
        command.stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self {
            child,
            lines,
            events: Vec::new(),
        }
    }

    pub(super) fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// Read on to the next event of which this holds.
    pub(super) fn until(&mut self, what: &str, holds: impl Fn(&Value) -> bool) {
        while let Some(event) = self.next() {
            if holds(&event) {
                return;
            }
        }
        panic!("{what}: not in {:#?}", self.events);
    }

    /// Read on until a shard waits at its gate.
    pub(super) fn until_waiting(&mut self, shard: &str) {
        let holds = |event: &Value| event["test"] == shard && event["line"] == "at the gate";
        if !self.events.iter().any(holds) {
            self.until(shard, holds);
        }
    }

    /// Read on until a shard is known to have no output.
    pub(super) fn until_lost(&mut self, shard: &str) {
        self.until(shard, |event| {
            event["test"] == shard && event["event"] == "try-ended"
        });
    }

    /// Read on to the end; attest's exit code.
    pub(super) fn end(mut self) -> Option<i32> {
        while self.next().is_some() {}
        self.child.wait().unwrap().code()
    }

    fn next(&mut self) -> Option<Value> {
        let line = self.lines.next()?.unwrap();
        let event: Value =
            serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        self.events.push(event.clone());
        Some(event)
    }
}

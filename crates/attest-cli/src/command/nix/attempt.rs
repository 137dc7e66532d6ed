//! Running tests in a builder: `attest run` as a process of its own, which may be killed without taking the builder
//! with it, and is tried again when what broke was not the test.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use attest::SnapshotUse;
use attest::events::{self, Event, EventKind, ExitCode};

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

use super::interrupts::Interrupts;
use super::refused;
use super::verdict::{Broken, Outcome, Verdict};
use crate::command::runtime;
use crate::failure::Failure;
use crate::orphans;

/// Nix makes a directory for each build, and names it in this.
const BUILD: &str = "NIX_BUILD_TOP";

/// Directories for everything that attest keeps, below that of the build.
pub(super) struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    pub(super) fn make() -> Result<Self, Failure> {
        let build = std::env::var_os(BUILD).filter(|path| !path.is_empty());
        let build = build.map_or_else(std::env::temp_dir, PathBuf::from);
        let mut named = tempfile::Builder::new();
        let made = named.prefix("attest-").tempdir_in(&build);
        let directory = made.map_err(super::unwritten(&build))?;
        let place = Self { directory };
        for path in [place.home(), place.cache()] {
            fs::create_dir(&path).map_err(super::unwritten(&path))?;
        }
        Ok(place)
    }

    fn home(&self) -> PathBuf {
        self.directory.path().join("home")
    }

    pub(super) fn cache(&self) -> PathBuf {
        self.directory.path().join("cache")
    }

    /// Bring in snapshots that were made elsewhere. One that cannot be read is no reason to fail: the lab boots.
    pub(super) fn import(&self, snapshots: &[PathBuf]) -> Result<(), Failure> {
        if snapshots.is_empty() {
            return Ok(());
        }
        let store = attest::images::snapshots(Some(&self.cache()))?;
        for snapshot in snapshots {
            if let Err(error) = store.unpack(snapshot, &mut |_| {}) {
                let why = attest::chain(&error);
                crate::terminal::tell(&format!(
                    "warning: {why}; labs boot in place of going on from it"
                ));
            }
        }
        Ok(())
    }
}

/// Tests that are to be run.
pub(super) struct Attempts<'a> {
    pub(super) place: &'a Place,
    /// Of `attest run`, but for the output directory.
    pub(super) arguments: Vec<OsString>,
    pub(super) output: &'a Path,
    pub(super) snapshots: SnapshotUse,
    /// Whether no test is right, as in the last of too many shards.
    pub(super) may_be_empty: bool,
    /// How often it is tried again when something beneath the tests breaks.
    pub(super) retries: u32,
}

/// What the events of a run tell.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    tests: usize,
    failed: Vec<String>,
    restored: usize,
    /// What broke beneath the tests.
    broken: Vec<String>,
}

impl Attempts<'_> {
    /// Run them until that says something about them; else what broke each time. The output directory has what the last
    /// try wrote.
    ///
    /// # Errors
    /// They cannot be run at all, or somebody interrupts.
    pub(super) fn run(&self) -> Result<Result<Verdict, Vec<Broken>>, Failure> {
        orphans::adopt();
        let runtime = runtime()?;
        let ended = runtime.block_on(self.until_told());
        orphans::end();
        ended
    }

    async fn until_told(&self) -> Result<Result<Verdict, Vec<Broken>>, Failure> {
        let mut interrupts = Interrupts::watch("the run ends in order")?;
        let mut attempts = Vec::new();
        for left in (0..=self.retries).rev() {
            let (status, words) = self.once(&mut interrupts).await?;
            if interrupts.came() {
                return Err(attest::Error::Interrupted.into());
            }
            let told = Told::of(super::events_in(self.output));
            let exit = status.code().and_then(|code| u8::try_from(code).ok());
            if let Some(exit) = exit
                && let Some(outcome) = self.outcome(exit, told.tests)
            {
                return self.verdict(outcome, exit, told, words, attempts).map(Ok);
            }
            let reason = told.reason(status);
            let next = match left {
                0 => "this was the last try",
                _ => "trying again",
            };
            crate::terminal::tell(&format!("infrastructure: {reason}; {next}"));
            attempts.push(Broken { exit, reason });
            if left > 0 {
                clear(self.output)?;
            }
        }
        Ok(Err(attempts))
    }

    fn verdict(
        &self,
        outcome: Outcome,
        exit: u8,
        mut told: Told,
        words: String,
        attempts: Vec<Broken>,
    ) -> Result<Verdict, Failure> {
        if outcome == Outcome::Refused {
            let written = refused::report(self.output, words);
            written.map_err(super::unwritten(self.output))?;
            told.failed = vec![refused::NAME.to_owned()];
        }
        Ok(Verdict {
            outcome,
            exit,
            tests: told.tests,
            failed: told.failed,
            restored: told.restored,
            attempts,
        })
    }

    /// What an exit code of `attest run` says about so many tests that ended, if anything.
    fn outcome(&self, exit: u8, tests: usize) -> Option<Outcome> {
        let is = |code: ExitCode| code.code() == exit;
        if is(ExitCode::Passed) || is(ExitCode::NothingToRun) && self.may_be_empty {
            Some(Outcome::Passed)
        } else if is(ExitCode::TestFailed) || is(ExitCode::TimedOut) {
            // A script that is no Python fails before any test of it begins.
            let begun = (tests > 0).then_some(Outcome::Failed);
            Some(begun.unwrap_or(Outcome::Refused))
        } else if is(ExitCode::Usage) || is(ExitCode::NothingToRun) {
            Some(Outcome::Refused)
        } else {
            None
        }
    }

    /// How it ended, and the end of what it said on stderr.
    async fn once(&self, interrupts: &mut Interrupts) -> Result<(ExitStatus, String), Failure> {
        let program = std::env::current_exe().map_err(|error| {
            Failure::infrastructure(format!("error: attest does not know its own file: {error}"))
        })?;
        let place = self.place;
        let mut command = Command::new(&program);
        command
            .arg("run")
            .args(&self.arguments)
            .arg("--output")
            .arg(self.output)
            .env("HOME", place.home())
            .env("ATTEST_CACHE", place.cache())
            .env("TMPDIR", place.directory.path())
            .env("ATTEST_SNAPSHOTS", self.snapshots.name());
        for name in ["XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR"] {
            command.env_remove(name);
        }
        let run = async {
            let mut child = command.stderr(Stdio::piped()).spawn()?;
            let words = child.stderr.take().expect("it is a pipe");
            let (status, words) = tokio::join!(interrupts.end_of(&mut child), told_on(words));
            Ok((status?, words))
        };
        run.await.map_err(|error: io::Error| {
            let program = program.display();
            Failure::infrastructure(format!("error: {program} cannot be started: {error}"))
        })
    }
}

/// Bytes of the end of what a try said.
const WORDS: usize = 16 << 10;

/// Say on stderr what is said here, and give the end of it.
async fn told_on(mut words: impl AsyncRead + Unpin) -> String {
    let (mut end, mut part) = (Vec::new(), [0; 4096]);
    // An end that is no end of the file is one, too.
    while let Ok(length @ 1..) = words.read(&mut part).await {
        let _ = io::stderr().write_all(&part[..length]);
        end.extend_from_slice(&part[..length]);
        end.drain(..end.len().saturating_sub(WORDS));
    }
    String::from_utf8_lossy(&end).trim_end().to_owned()
}

/// What a try left that said nothing.
fn clear(output: &Path) -> Result<(), Failure> {
    match fs::remove_dir_all(output) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(super::unwritten(output)(error))
        }
        _ => Ok(()),
    }
}

impl Told {
    fn of(events: impl Iterator<Item = Event>) -> Self {
        let mut told = Self::default();
        events.for_each(|event| told.add(event));
        told
    }

    fn add(&mut self, event: Event) {
        match event.kind {
            EventKind::Chosen { what, choice, .. } if what == "snapshot" && choice == "go on" => {
                self.restored += 1;
            }
            EventKind::TestEnded {
                verdict, failure, ..
            } => {
                let name = event.test.unwrap_or_default();
                self.tests += 1;
                match verdict {
                    events::Verdict::Passed | events::Verdict::Skipped => {}
                    events::Verdict::Failed | events::Verdict::TimedOut => self.failed.push(name),
                    events::Verdict::Infrastructure | events::Verdict::Interrupted => {
                        let message = failure.map(|failure| failure.message).unwrap_or_default();
                        self.broken.push(format!("{name}: {message}"));
                    }
                }
            }
            _ => {}
        }
    }

    fn reason(&self, status: ExitStatus) -> String {
        match (status.signal(), self.broken.first()) {
            // As the kernel does where memory runs out.
            (Some(signal), _) => format!("attest was killed by signal {signal}"),
            (None, Some(broken)) => broken.clone(),
            (None, None) => format!(
                "attest ended with exit code {} before any test did",
                status.code().unwrap_or_default()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{EVENTS, events_in};
    use super::*;

    #[test]
    fn exit_codes_say_something_about_tests_or_nothing() {
        let place = Place::make().unwrap();
        let mut attempts = Attempts {
            place: &place,
            arguments: Vec::new(),
            output: Path::new("out"),
            snapshots: SnapshotUse::Never,
            may_be_empty: false,
            retries: 0,
        };
        let outcomes = ExitCode::ALL.map(|code| (code.code(), attempts.outcome(code.code(), 1)));
        assert_eq!(
            outcomes,
            [
                (0, Some(Outcome::Passed)),
                (1, Some(Outcome::Failed)),
                (2, Some(Outcome::Refused)),
                (3, None),
                (4, Some(Outcome::Refused)),
                (5, Some(Outcome::Failed)),
                (130, None),
            ]
        );
        assert_eq!(attempts.outcome(101, 1), None);
        assert_eq!(attempts.outcome(1, 0), Some(Outcome::Refused));
        attempts.may_be_empty = true;
        assert_eq!(attempts.outcome(4, 0), Some(Outcome::Passed));
    }

    #[tokio::test]
    async fn the_end_of_long_words_is_kept() {
        assert_eq!(told_on(&b"no such key\n"[..]).await, "no such key");
        let long = [&vec![b'x'; WORDS * 2][..], b"end"].concat();
        let end = told_on(&long[..]).await;
        assert!(end.len() == WORDS && end.ends_with("xend"));
    }

    #[test]
    fn what_broke_is_told_from_what_failed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(EVENTS);
        let ended = |test: &str, verdict: &str, message: &str| {
            format!(
                r#"{{"at_ns":1,"test":"{test}","event":"test-ended","verdict":"{verdict}","duration_ns":1,"failure":{{"message":"{message}"}}}}"#
            )
        };
        let lines = [
            ended("a", "passed", ""),
            ended("b", "failed", "no"),
            ended("c", "infrastructure", "QEMU is missing"),
            "{ half a lin".to_owned(),
        ];
        fs::write(&path, lines.join("\n")).unwrap();
        let told = Told::of(events_in(directory.path()));
        assert_eq!(
            (told.tests, told.failed.as_slice()),
            (3, &["b".to_owned()][..])
        );
        let reason = |code| told.reason(ExitStatus::from_raw(code));
        assert_eq!(reason(3 << 8), "c: QEMU is missing");
        assert_eq!(reason(9), "attest was killed by signal 9");
        let nothing = Told::of(events_in(&directory.path().join("none")));
        assert_eq!(
            nothing.reason(ExitStatus::from_raw(3 << 8)),
            "attest ended with exit code 3 before any test did"
        );
    }
}

//! What can be asked for, and what each task does.

use std::ffi::OsString;
use std::fmt;
use std::io;

use crate::place::Place;
use crate::python;
use crate::setup::{self, SetupError};
use crate::step::{Step, Stopped};
use crate::tools::{self, Tool};
use crate::{nix, packages};

/// The target that every toolchain here has.
const STATIC_TARGET: &str = "x86_64-unknown-linux-gnu";

const USAGE: &str = "\
Usage: cargo xtask TASK

  demo                     set up, build, and run the example lab
  test [ARGUMENT…]         set up and run every test; arguments go to `cargo nextest run`
  bench [NAME…] [--json] [--full]
                           set up, build for release, and measure
  build [--static]         set up and build `attest` for users; --static: for any Linux, without
                           shared libraries
  fuzz [TARGET [SECONDS]]  set up and fuzz what reads from guests: each target for a minute
  check [--advisories]     format, lints, types of Python, documentation, licences, bans and sources;
                           --advisories fetches their database first
  ci                       check, then test

Exit codes: 0 all went well, 1 something failed, 2 wrong usage, 3 something is missing on this
host. `demo` ends with the exit code of `attest run`.";

/// A task with its arguments.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Task {
    Demo,
    Test(Vec<OsString>),
    Bench(Vec<OsString>),
    Build {
        linked_statically: bool,
    },
    Fuzz {
        target: Option<OsString>,
        seconds: u32,
    },
    Check {
        advisories: bool,
    },
    Ci,
    Help,
}

/// Why a task did not do what it should.
#[derive(Debug)]
pub(crate) enum Failure {
    Usage(String),
    Setup(SetupError),
    /// There is no directory for the snapshots of tests.
    Place(io::Error),
    Stopped(Stopped),
    /// Every step ran, and these did not go well.
    Steps(Vec<Stopped>),
}

impl Task {
    pub(crate) fn parse(arguments: Vec<OsString>) -> Result<Self, Failure> {
        let mut arguments = arguments.into_iter();
        let name = arguments.next().unwrap_or_else(|| "help".into());
        let rest: Vec<OsString> = arguments.collect();
        let only = |allowed: &[&str]| match rest
            .iter()
            .find(|given| !allowed.iter().any(|name| given == name))
        {
            None => Ok(()),
            Some(given) => Err(Failure::Usage(format!(
                "unexpected argument {}",
                given.display()
            ))),
        };
        match name.to_str() {
            Some("demo") => only(&[]).map(|()| Self::Demo),
            Some("test") => Ok(Self::Test(rest)),
            Some("bench") => Ok(Self::Bench(rest)),
            Some("build") => only(&["--static"]).map(|()| Self::Build {
                linked_statically: !rest.is_empty(),
            }),
            Some("fuzz") => fuzz_arguments(&rest),
            Some("check") => only(&["--advisories"]).map(|()| Self::Check {
                advisories: !rest.is_empty(),
            }),
            Some("ci") => only(&[]).map(|()| Self::Ci),
            Some("help" | "-h" | "--help") => Ok(Self::Help),
            _ => Err(Failure::Usage(format!(
                "there is no task {}",
                name.display()
            ))),
        }
    }

    pub(crate) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Demo => demo(),
            Self::Test(arguments) => {
                setup::ensure()?;
                let place = place()?;
                all(test(arguments, &place)?)
            }
            Self::Bench(arguments) => bench(arguments),
            Self::Build { linked_statically } => build(linked_statically),
            Self::Fuzz { target, seconds } => all(fuzz(target, seconds)?),
            Self::Check { advisories } => all(check(advisories)?),
            Self::Ci => {
                setup::ensure()?;
                let mut steps = check(false)?;
                let place = place()?;
                steps.extend(test(Vec::new(), &place)?);
                all(steps)
            }
            Self::Help => {
                println!("{USAGE}");
                Ok(())
            }
        }
    }
}

/// Becomes the example's run: signals and the exit code are attest's own.
fn demo() -> Result<(), Failure> {
    setup::ensure()?;
    let run = Step::cargo(["run", "--package", "attest-cli", "--bin", "attest", "--"]);
    Err(run.args(["run", "examples/web"]).replace_me().into())
}

fn bench(arguments: Vec<OsString>) -> Result<(), Failure> {
    setup::ensure()?;
    // It measures the command, too.
    Step::cargo([
        "build",
        "--release",
        "--package",
        "attest-cli",
        "--package",
        "attest-bench",
    ])
    .run()?;
    // Not by `cargo run`, which would build it again, for fewer packages with fewer features.
    Err(Step::become_built("release/attest-bench", arguments, nix::variable()).into())
}

/// The host's own target is named, so that the flag is not one of build scripts' and macros'.
fn build(linked_statically: bool) -> Result<(), Failure> {
    setup::ensure()?;
    let build = Step::cargo(["build", "--profile", "dist", "--package", "attest-cli"]);
    let build = if linked_statically {
        build
            .args(["--target", STATIC_TARGET])
            .env("RUSTFLAGS", "-C target-feature=+crt-static")
    } else {
        build
    };
    Ok(build.run()?)
}

fn fuzz_arguments(words: &[OsString]) -> Result<Task, Failure> {
    let (target, seconds) = match words {
        [] => (None, None),
        [target] => (Some(target), None),
        [target, seconds] => (Some(target), Some(seconds)),
        [_, _, more, ..] => {
            let what = format!("unexpected argument {}", more.display());
            return Err(Failure::Usage(what));
        }
    };
    let number = |text: &OsString| {
        let number = text.to_str().and_then(|text| text.parse().ok());
        let wrong = || Failure::Usage(format!("{} is no number of seconds", text.display()));
        number.filter(|number| *number > 0).ok_or_else(wrong)
    };
    Ok(Task::Fuzz {
        target: target.cloned(),
        seconds: seconds.map_or(Ok(60), number)?,
    })
}

/// Everything that reads what a guest says; the names are those of `fuzz/fuzz_targets`.
const FUZZ_TARGETS: [&str; 7] = [
    "frames", "host", "agent", "messages", "tree", "shell", "screen",
];

fn fuzz(target: Option<OsString>, seconds: u32) -> Result<Vec<Step>, Failure> {
    setup::ensure()?;
    tools::ensure(Tool::Fuzz)?;
    let mut steps = vec![Step::cargo([
        "run",
        "--package",
        "attest-fuzz",
        "--bin",
        "seeds",
    ])];
    let targets = match target {
        Some(target) => vec![target],
        None => FUZZ_TARGETS.map(OsString::from).to_vec(),
    };
    steps.extend(targets.into_iter().map(|target| {
        // The toolchain's own sanitizers need a nightly one; bounds and overflows are checked.
        Step::cargo(["fuzz", "run", "--sanitizer", "none", "--features", "fuzz"])
            .args([target])
            .args(["--", &format!("-max_total_time={seconds}"), "-timeout=10"])
            .env("RUSTC_BOOTSTRAP", "1")
    }));
    Ok(steps)
}

fn place() -> Result<Place, Failure> {
    Place::new().map_err(Failure::Place)
}

fn test(arguments: Vec<OsString>, place: &Place) -> Result<Vec<Step>, Failure> {
    tools::ensure(Tool::Nextest)?;
    let whole = arguments.is_empty();
    let mut steps = vec![
        Step::cargo(["nextest", "run", "--workspace"]).args(arguments),
        Step::cargo(["test", "--workspace", "--doc"]),
    ];
    // Arguments choose among the tests in Rust.
    if whole {
        steps.extend(python::tests()?);
    }
    let (name, value) = place.variable();
    let nix = nix::variable();
    let with = |step: Step| {
        let step = step.env(name, value);
        match &nix {
            Some((name, value)) => step.env(name, value),
            None => step,
        }
    };
    Ok(steps.into_iter().map(with).collect())
}

fn check(advisories: bool) -> Result<Vec<Step>, Failure> {
    tools::ensure(Tool::Deny)?;
    let mut steps = vec![
        Step::cargo(["fmt", "--all", "--check"]),
        Step::cargo([
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ]),
        // A program for no operating system is a part of no other build.
        Step::cargo([
            "clippy",
            "--profile",
            "embed",
            "--package",
            "attest-metal-guest",
            "--features",
            "metal",
            "--bin",
            "attest-metal-guest",
            "--",
            "-D",
            "warnings",
        ]),
        Step::cargo(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"),
        Step::cargo([
            "deny",
            "--workspace",
            "check",
            "licenses",
            "bans",
            "sources",
        ]),
    ];
    steps.extend(python::checks()?);
    for (tool, option) in [(Tool::Nixfmt, "--check"), (Tool::Deadnix, "--fail")] {
        tools::ensure(tool)?;
        let name = tool.program();
        let program = packages::find(name, &tools::path());
        let program = program.unwrap_or_else(|| name.into());
        steps.push(Step::program(name, program).args([option, "flake.nix", "nix"]));
    }
    if advisories {
        steps.push(Step::cargo(["deny", "--workspace", "check", "advisories"]));
    } else if tools::has_advisory_database() {
        steps.push(Step::cargo([
            "deny",
            "--workspace",
            "check",
            "--disable-fetch",
            "advisories",
        ]));
    } else {
        eprintln!(
            "advisories: not checked, their database is not here; `cargo xtask check --advisories` fetches it"
        );
    }
    Ok(steps)
}

/// Every step runs, so that one run tells all that is wrong.
fn all(steps: Vec<Step>) -> Result<(), Failure> {
    let stopped: Vec<_> = steps
        .into_iter()
        .filter_map(|step| step.run().err())
        .collect();
    if stopped.is_empty() {
        Ok(())
    } else {
        Err(Failure::Steps(stopped))
    }
}

impl Failure {
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Setup(_) | Self::Place(_) => 3,
            Self::Stopped(_) | Self::Steps(_) => 1,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(what) => write!(f, "xtask: {what}\n\n{USAGE}"),
            Self::Setup(error) => write!(f, "xtask: {error}"),
            Self::Place(error) => {
                write!(f, "xtask: no directory for the snapshots of tests: {error}")
            }
            Self::Stopped(stopped) => write!(f, "xtask: {stopped}"),
            Self::Steps(steps) => {
                for stopped in steps {
                    writeln!(f, "xtask: {stopped}")?;
                }
                write!(f, "xtask: {} of the steps failed", steps.len())
            }
        }
    }
}

impl From<SetupError> for Failure {
    fn from(error: SetupError) -> Self {
        Self::Setup(error)
    }
}

impl From<Stopped> for Failure {
    fn from(stopped: Stopped) -> Self {
        Self::Stopped(stopped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Task, u8> {
        let words = words.iter().map(OsString::from).collect();
        Task::parse(words).map_err(|failure| failure.code())
    }

    #[test]
    fn tasks_are_known_by_their_names() {
        assert_eq!(parse(&["demo"]), Ok(Task::Demo));
        assert_eq!(
            parse(&["test", "-p", "x"]),
            Ok(Task::Test(vec!["-p".into(), "x".into()]))
        );
        assert_eq!(parse(&["check"]), Ok(Task::Check { advisories: false }));
        assert_eq!(
            parse(&["check", "--advisories"]),
            Ok(Task::Check { advisories: true })
        );
        assert_eq!(
            parse(&["fuzz", "tree", "5"]),
            Ok(Task::Fuzz {
                target: Some("tree".into()),
                seconds: 5
            })
        );
        assert_eq!(
            parse(&["build", "--static"]),
            Ok(Task::Build {
                linked_statically: true
            })
        );
        assert_eq!(parse(&[]), Ok(Task::Help));
    }

    #[test]
    fn what_is_not_known_is_wrong_usage() {
        assert_eq!(parse(&["dmo"]), Err(2));
        assert_eq!(parse(&["demo", "now"]), Err(2));
        assert_eq!(parse(&["check", "--all"]), Err(2));
        assert_eq!(parse(&["fuzz", "tree", "soon"]), Err(2));
        assert_eq!(parse(&["build", "--dynamic"]), Err(2));
    }
}

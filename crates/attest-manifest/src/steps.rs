//! Tests and their steps, checked.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::check::{Problems, instead, place};
use crate::file::{ManifestFile, OneOrMany, RustTest, Step, Test, Wait};

/// A test.
#[derive(Debug, Clone, PartialEq)]
pub struct TestPlan {
    /// Its name.
    pub name: String,
    /// When it has one of its own.
    pub timeout: Option<Duration>,
    /// What it does.
    pub kind: TestKind,
}

/// What a test does.
#[derive(Debug, Clone, PartialEq)]
pub enum TestKind {
    /// Steps on the manifest's lab.
    Steps(Vec<StepPlan>),
    /// A Rust test binary; each of its tests brings its own lab.
    Rust(RustTestPlan),
}

/// A Rust test binary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RustTestPlan {
    /// Where it comes from.
    pub source: RustTestSource,
    /// Only tests whose name contains this.
    pub filter: Option<String>,
}

/// Where a Rust test binary comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RustTestSource {
    /// A file.
    Binary(PathBuf),
    /// Built by cargo.
    Package {
        /// The package.
        package: String,
        /// The test target.
        test: String,
    },
}

/// A step.
#[derive(Debug, Clone, PartialEq)]
pub struct StepPlan {
    /// Where: at once on all of them.
    pub machines: Vec<String>,
    /// What.
    pub action: ActionPlan,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq)]
pub enum ActionPlan {
    /// Run a command and look at its outcome.
    Command(Box<CommandPlan>),
    /// Wait for something.
    Wait(WaitPlan),
    /// Copy from the host.
    Upload {
        /// On the host.
        from: PathBuf,
        /// In the machine.
        to: PathBuf,
    },
    /// Copy to the run's artifacts.
    Download {
        /// In the machine.
        from: PathBuf,
        /// Below `artifacts/MACHINE/`.
        to: PathBuf,
    },
    /// Boot again.
    Reboot,
    /// Steps at once.
    Parallel(Vec<StepPlan>),
}

/// A command and what is expected of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandPlan {
    /// What to run.
    pub program: ProgramPlan,
    /// How it must end.
    pub status: ExpectedStatus,
    /// Exactly its stdout.
    pub stdout: Option<String>,
    /// In its stdout.
    pub stdout_contains: Option<String>,
    /// Matched by its stdout.
    pub stdout_matches: Option<String>,
    /// In its stderr.
    pub stderr_contains: Option<String>,
    /// Its stdin.
    pub stdin: Option<String>,
    /// Who runs it.
    pub user: Option<String>,
    /// Where it runs.
    pub directory: Option<String>,
    /// Added to its environment.
    pub environment: Vec<(String, String)>,
    /// When not the default.
    pub timeout: Option<Duration>,
}

/// A shell command, or a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProgramPlan {
    /// For the shell.
    Shell(String),
    /// Program and arguments.
    Argv(Vec<String>),
}

impl ProgramPlan {
    /// As the user wrote it.
    pub fn text(&self) -> String {
        match self {
            Self::Shell(text) => text.clone(),
            Self::Argv(argv) => argv.join(" "),
        }
    }
}

/// How a command must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpectedStatus {
    /// With this exit code.
    Code(i32),
    /// With any exit code but 0.
    Failure,
}

/// A wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitPlan {
    /// What for.
    pub target: WaitTarget,
    /// When not the default.
    pub timeout: Option<Duration>,
}

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WaitTarget {
    /// A TCP port.
    Port {
        /// As seen from the machine.
        host: String,
        /// Its number.
        port: u16,
        /// Whether it must refuse instead of accept.
        closed: bool,
    },
    /// A file.
    File {
        /// Its path.
        path: String,
        /// What its text must match.
        matches: Option<String>,
        /// Whether it must be gone.
        vanished: bool,
    },
    /// A Unix socket.
    Socket {
        /// Its path.
        path: String,
    },
    /// A command that succeeds.
    Succeeds(String),
    /// A command that fails.
    Fails(String),
    /// A process.
    Process {
        /// Matched by its command line.
        pattern: String,
        /// Whether it must be gone.
        vanished: bool,
    },
    /// Text on the console.
    Console(String),
}

impl StepPlan {
    /// One line for people.
    pub fn text(&self) -> String {
        let what = match &self.action {
            ActionPlan::Command(command) => command.program.text().split_whitespace().collect::<Vec<_>>().join(" "),
            ActionPlan::Wait(wait) => format!("wait for {}", wait.target.text()),
            ActionPlan::Upload { from, to } => format!("upload {} to {}", from.display(), to.display()),
            ActionPlan::Download { from, .. } => format!("download {}", from.display()),
            ActionPlan::Reboot => "reboot".to_owned(),
            ActionPlan::Parallel(steps) => return steps.iter().map(Self::text).collect::<Vec<_>>().join(" | "),
        };
        format!("{}: {what}", self.machines.join(", "))
    }
}

impl WaitTarget {
    fn text(&self) -> String {
        match self {
            Self::Port { host, port, closed: false } => format!("port {host}:{port}"),
            Self::Port { host, port, closed: true } => format!("port {host}:{port} closed"),
            Self::File { path, matches: Some(pattern), .. } => format!("{path} with /{pattern}/"),
            Self::File { path, vanished: true, .. } => format!("{path} gone"),
            Self::File { path, .. } | Self::Socket { path } => path.clone(),
            Self::Succeeds(command) => format!("`{command}` to succeed"),
            Self::Fails(command) => format!("`{command}` to fail"),
            Self::Process { pattern, vanished: false } => format!("process /{pattern}/"),
            Self::Process { pattern, vanished: true } => format!("process /{pattern}/ gone"),
            Self::Console(pattern) => format!("console text /{pattern}/"),
        }
    }
}

pub(crate) fn tests(file: &ManifestFile, directory: &Path, problems: &mut Problems) -> Vec<TestPlan> {
    let mut checker = Checker { file, directory, problems };
    file.tests.iter().filter_map(|(name, test)| checker.test(name, test)).collect()
}

struct Checker<'a> {
    file: &'a ManifestFile,
    directory: &'a Path,
    problems: &'a mut Problems,
}

impl Checker<'_> {
    fn test(&mut self, name: &str, test: &Test) -> Option<TestPlan> {
        let place = place!["tests", name];
        if name.is_empty() || name.contains(char::is_whitespace) || name.contains("::") {
            self.problems.add(place.clone(), format!("`{name}` is no name for a test"), "has spaces or `::`").on_key();
        }
        if test.timeout.is_some_and(|timeout| timeout.0.is_zero()) {
            self.problems.add(place!["tests", name, "timeout"], "a time-out of zero", "everything would be too late");
        }
        let kind = match (&test.steps, &test.rust) {
            (Some(steps), None) => TestKind::Steps(self.steps(steps, &place!["tests", name, "steps"])),
            (None, Some(rust)) => TestKind::Rust(self.rust(name, rust)?),
            _ => {
                self.problems
                    .add(place, format!("test `{name}` is either steps or Rust"), "which?")
                    .on_key()
                    .help("give `steps = […]` or `rust = { … }`, one of them");
                return None;
            }
        };
        Some(TestPlan { name: name.to_owned(), timeout: test.timeout.map(|timeout| timeout.0), kind })
    }

    fn rust(&mut self, name: &str, rust: &RustTest) -> Option<RustTestPlan> {
        let source = match (&rust.binary, &rust.package, &rust.test) {
            (Some(binary), None, None) => {
                let binary = self.directory.join(binary);
                if !binary.is_file() {
                    let message = format!("{} does not exist", binary.display());
                    self.problems.add(place!["tests", name, "rust", "binary"], message, "not found").help("build it first, or give `package` and `test`");
                }
                RustTestSource::Binary(binary)
            }
            (None, Some(package), Some(test)) => RustTestSource::Package { package: package.clone(), test: test.clone() },
            _ => {
                self.problems
                    .add(place!["tests", name, "rust"], "which Rust test?", "not clear")
                    .help("give `binary`, or `package` and `test`");
                return None;
            }
        };
        Some(RustTestPlan { source, filter: rust.filter.clone() })
    }

    fn steps(&mut self, steps: &[Step], place: &[String]) -> Vec<StepPlan> {
        if steps.is_empty() {
            self.problems.add(place.to_vec(), "no steps", "a test without steps tests nothing");
        }
        let steps = steps.iter().enumerate();
        steps.filter_map(|(at, step)| self.step(step, &[place, &place![at]].concat())).collect()
    }

    fn step(&mut self, step: &Step, place: &[String]) -> Option<StepPlan> {
        let action = self.action(step, place)?;
        let parallel = matches!(action, ActionPlan::Parallel(_));
        let machines = if parallel { Vec::new() } else { self.machines(step, place) };
        if parallel && step.on.is_some() {
            self.problems.add(inner(place, "on"), "`on` of parallel steps", "each has its own").help("move it into the steps");
        }
        Some(StepPlan { machines, action })
    }

    fn machines(&mut self, step: &Step, place: &[String]) -> Vec<String> {
        let known = &self.file.machines;
        let (names, single) = match &step.on {
            Some(OneOrMany::One(name)) => (vec![name.clone()], true),
            Some(OneOrMany::Many(names)) => (names.clone(), false),
            None if known.len() == 1 => return known.keys().cloned().collect(),
            None => {
                let help = instead("", known.keys().map(String::as_str));
                self.problems.add(place.to_vec(), "on which machine?", "`on` is missing").help(help);
                return Vec::new();
            }
        };
        for (at, name) in names.iter().enumerate() {
            if !known.contains_key(name) {
                let place = if single { inner(place, "on") } else { [place, &place!["on", at]].concat() };
                let help = instead(name, known.keys().map(String::as_str));
                self.problems.add(place, format!("no machine `{name}`"), "not declared").help(help);
            }
        }
        names
    }

    fn action(&mut self, step: &Step, place: &[String]) -> Option<ActionPlan> {
        let given = [
            step.run.is_some(),
            step.argv.is_some(),
            step.wait.is_some(),
            step.upload.is_some(),
            step.download.is_some(),
            step.reboot.is_some(),
            step.parallel.is_some(),
        ];
        if given.iter().filter(|given| **given).count() != 1 {
            self.problems
                .add(place.to_vec(), "a step has exactly one action", "none, or several")
                .help("give one of: run, argv, wait, upload, download, reboot, parallel");
            return None;
        }
        self.unused(step, place);
        if let Some(command) = self.command(step, place) {
            return Some(ActionPlan::Command(Box::new(command)));
        }
        if let Some(wait) = &step.wait {
            let target = self.wait(wait, &inner(place, "wait"))?;
            return Some(ActionPlan::Wait(WaitPlan { target, timeout: step.timeout.map(|timeout| timeout.0) }));
        }
        if let Some(copy) = &step.upload {
            let from = self.directory.join(&copy.from);
            if !from.exists() {
                let place = [place, &place!["upload", "from"]].concat();
                self.problems.add(place, format!("{} does not exist", from.display()), "not found");
            }
            self.absolute(&copy.to, [place, &place!["upload", "to"]].concat());
            return Some(ActionPlan::Upload { from, to: copy.to.clone() });
        }
        if let Some(copy) = &step.download {
            self.absolute(&copy.from, [place, &place!["download", "from"]].concat());
            let outside = copy.to.components().any(|part| !matches!(part, std::path::Component::Normal(_)));
            if outside {
                let place = [place, &place!["download", "to"]].concat();
                self.problems.add(place, format!("`{}` leaves the artifacts", copy.to.display()), "write a plain relative path");
            }
            return Some(ActionPlan::Download { from: copy.from.clone(), to: copy.to.clone() });
        }
        if let Some(steps) = &step.parallel {
            return Some(ActionPlan::Parallel(self.steps(steps, &inner(place, "parallel"))));
        }
        Some(ActionPlan::Reboot)
    }

    fn absolute(&mut self, path: &Path, place: Vec<String>) {
        if !path.is_absolute() {
            self.problems.add(place, format!("`{}` is no absolute path", path.display()), "where in the machine?");
        }
    }

    /// What is only for commands is no use elsewhere.
    fn unused(&mut self, step: &Step, place: &[String]) {
        if step.run.is_some() || step.argv.is_some() {
            return;
        }
        let given = [
            ("status", step.status.is_some()),
            ("fails", step.fails.is_some()),
            ("stdout", step.stdout.is_some()),
            ("stdout-contains", step.stdout_contains.is_some()),
            ("stdout-matches", step.stdout_matches.is_some()),
            ("stderr-contains", step.stderr_contains.is_some()),
            ("stdin", step.stdin.is_some()),
            ("user", step.user.is_some()),
            ("directory", step.directory.is_some()),
            ("environment", !step.environment.is_empty()),
            ("timeout", step.timeout.is_some() && step.wait.is_none()),
        ];
        for (key, _) in given.into_iter().filter(|(_, given)| *given) {
            self.problems.add(inner(place, key), format!("`{key}` is for commands"), "no use here").on_key();
        }
    }

    fn command(&mut self, step: &Step, place: &[String]) -> Option<CommandPlan> {
        let program = match (&step.run, &step.argv) {
            (Some(text), _) => ProgramPlan::Shell(text.clone()),
            (None, Some(argv)) => ProgramPlan::Argv(argv.clone()),
            (None, None) => return None,
        };
        if program.text().trim().is_empty() {
            let key = if step.run.is_some() { "run" } else { "argv" };
            self.problems.add(inner(place, key), "an empty command", "nothing to run");
        }
        if step.status.is_some() && step.fails == Some(true) {
            self.problems.add(inner(place, "fails"), "`status` and `fails` exclude each other", "give one of them");
        }
        if let Some(pattern) = &step.stdout_matches {
            self.regex(pattern, inner(place, "stdout-matches"));
        }
        let status = match (step.fails, step.status) {
            (Some(true), _) => ExpectedStatus::Failure,
            (_, code) => ExpectedStatus::Code(code.unwrap_or(0)),
        };
        Some(CommandPlan {
            program,
            status,
            stdout: step.stdout.clone(),
            stdout_contains: step.stdout_contains.clone(),
            stdout_matches: step.stdout_matches.clone(),
            stderr_contains: step.stderr_contains.clone(),
            stdin: step.stdin.clone(),
            user: step.user.clone(),
            directory: step.directory.clone(),
            environment: step.environment.clone().into_iter().collect(),
            timeout: step.timeout.map(|timeout| timeout.0),
        })
    }

    fn regex(&mut self, pattern: &str, place: Vec<String>) {
        if let Err(error) = regex::Regex::new(pattern) {
            let last = error.to_string().lines().next_back().unwrap_or("").trim_start_matches("error: ").to_owned();
            self.problems.add(place, format!("/{pattern}/ is no regular expression"), last);
        }
    }

    fn wait(&mut self, wait: &Wait, place: &[String]) -> Option<WaitTarget> {
        let vanished = wait.vanished.unwrap_or(false);
        let targets = [
            wait.port.map(|port| WaitTarget::Port {
                host: wait.host.clone().unwrap_or_else(|| "localhost".to_owned()),
                port,
                closed: wait.closed.unwrap_or(false),
            }),
            wait.file.clone().map(|path| WaitTarget::File { path, matches: wait.matches.clone(), vanished }),
            wait.socket.clone().map(|path| WaitTarget::Socket { path }),
            wait.succeeds.clone().map(WaitTarget::Succeeds),
            wait.fails.clone().map(WaitTarget::Fails),
            wait.process.clone().map(|pattern| WaitTarget::Process { pattern, vanished }),
            wait.console.clone().map(WaitTarget::Console),
        ];
        for (key, pattern) in [("matches", &wait.matches), ("process", &wait.process), ("console", &wait.console)] {
            if let Some(pattern) = pattern {
                self.regex(pattern, inner(place, key));
            }
        }
        let mut given = targets.into_iter().flatten();
        match (given.next(), given.next()) {
            (Some(target), None) => Some(target),
            _ => {
                self.problems
                    .add(place.to_vec(), "wait for exactly one thing", "nothing, or several")
                    .help("give one of: port, file, socket, succeeds, fails, process, console");
                None
            }
        }
    }
}

fn inner(place: &[String], key: &str) -> Vec<String> {
    [place, &place![key]].concat()
}

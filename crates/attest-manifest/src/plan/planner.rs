//! From a file to a plan, collecting what is wrong.

use std::path::{Path, PathBuf};
use std::time::Duration;

use indexmap::IndexMap;

use super::{LabPlan, RustTestPlan, RustTestSource, TestKind, TestPlan, TimeoutPlan};
use crate::model::{ManifestFile, RustTest, Test, TimeSpan, Timeouts};
use crate::problem::{At, Problems, did_you_mean};

/// Longest host name: RFC 1123, section 2.1, with the label limit of RFC 1035, section 2.3.4.
const NAME_MAX: usize = 63;

/// What is being planned, and what was found wrong with it.
#[derive(Debug)]
pub(super) struct Planner<'a> {
    pub(super) file: &'a ManifestFile,
    base: Option<&'a Path>,
    pub(super) problems: Problems,
}

/// Plan a file whose relative paths are below `base`. The plan is meaningful only without
/// problems.
pub(crate) fn plan(file: &ManifestFile, base: Option<&Path>) -> (LabPlan, Problems) {
    let mut planner = Planner {
        file,
        base,
        problems: Problems::default(),
    };
    let networks = planner.networks();
    let images = planner.images();
    let machines = planner.machines(&networks, &images);
    let setups = planner.setups();
    let tests = planner.tests();
    let timeouts = planner.timeouts();
    let plan = LabPlan {
        name: planner.name(),
        directory: base.map(Path::to_owned),
        networks,
        images,
        machines,
        isolation: file.isolation.unwrap_or_default(),
        setups,
        tests,
        timeouts,
    };
    (plan, planner.problems)
}

impl Planner<'_> {
    fn name(&mut self) -> String {
        let root = At::default();
        if let Some(name) = &self.file.name {
            if name.trim().is_empty() || name.chars().any(char::is_control) {
                let problem = root
                    .key("name")
                    .problem("the lab's name is empty or has control characters");
                self.problems
                    .push(problem.help("leave it out to take the directory's name"));
            }
            return name.clone();
        }
        let directory = self.base.and_then(Path::file_name);
        directory.map_or_else(
            || "lab".to_owned(),
            |name| name.to_string_lossy().into_owned(),
        )
    }

    fn timeouts(&mut self) -> TimeoutPlan {
        let root = At::default();
        let at = root.key("timeouts");
        let Timeouts {
            boot,
            test,
            run,
            shutdown,
            command,
        } = self.file.timeouts;
        let default = TimeoutPlan::default();
        let mut take = |key: &str, given: Option<TimeSpan>, default| {
            self.duration(&at.key(key), given).unwrap_or(default)
        };
        TimeoutPlan {
            boot: take("boot", boot, default.boot),
            test: take("test", test, default.test),
            run: take("run", run, default.run),
            shutdown: take("shutdown", shutdown, default.shutdown),
            command: take("command", command, default.command),
        }
    }

    pub(super) fn duration(&mut self, at: &At<'_>, given: Option<TimeSpan>) -> Option<Duration> {
        let duration = given?.get();
        if duration.is_zero() {
            let problem = at.problem("a time-out of zero ends everything before it begins");
            self.problems.push(
                problem
                    .label("zero")
                    .help("write how long it may take, as \"10s\""),
            );
        }
        Some(duration)
    }

    fn tests(&mut self) -> Vec<TestPlan> {
        let root = At::default();
        let tests = root.key("tests");
        let mut plans = Vec::with_capacity(self.file.tests.len());
        for (name, test) in &self.file.tests {
            let at = tests.key(name);
            if name.trim().is_empty() || name.contains("::") || name.chars().any(char::is_control) {
                let problem = at
                    .key_problem("a test's name is empty, or has `::` or control characters in it");
                self.problems
                    .push(problem.help("`::` is kept for the tests in a Rust test binary"));
            }
            if let Some(setup) = &test.setup {
                self.test_setup(&at, setup, test.rust.is_some());
            }
            let timeout = self.duration(&at.key("timeout"), test.timeout);
            if let Some(kind) = self.test_kind(&at, test) {
                plans.push(TestPlan {
                    name: name.clone(),
                    setup: test.setup.clone(),
                    timeout,
                    kind,
                });
            }
        }
        plans
    }

    fn test_kind(&mut self, at: &At<'_>, test: &Test) -> Option<TestKind> {
        let kinds = [
            ("steps", test.steps.is_some()),
            ("script", test.script.is_some()),
            ("rust", test.rust.is_some()),
        ];
        let given: Vec<&str> = kinds
            .into_iter()
            .filter_map(|(key, given)| given.then_some(key))
            .collect();
        if let [first, second, ..] = given.as_slice() {
            let problem = at.key(second).key_problem(format!(
                "a test has either `{first}` or `{second}`, not both"
            ));
            let place = at.key(first).place();
            self.problems.push(
                problem
                    .label("a second kind")
                    .related(place, crate::problem::Part::Key, "the first")
                    .help("make two tests of it"),
            );
            return None;
        }
        if let Some(steps) = &test.steps {
            return Some(TestKind::Steps(self.steps(&at.key("steps"), steps)));
        }
        if let Some(script) = &test.script {
            let path = self.existing(&at.key("script"), script);
            return Some(TestKind::Script(path));
        }
        if let Some(rust) = &test.rust {
            return self.rust_test(&at.key("rust"), rust).map(TestKind::Rust);
        }
        let problem = at.key_problem("a test without `steps`, `script` or `rust` tests nothing");
        self.problems.push(
            problem
                .label("nothing to do")
                .help("add `steps = [{ run = \"…\" }]`"),
        );
        None
    }

    fn rust_test(&mut self, at: &At<'_>, rust: &RustTest) -> Option<RustTestPlan> {
        let source = match (&rust.binary, &rust.package, &rust.test) {
            (Some(binary), None, None) => RustTestSource::Binary(self.resolve(binary)),
            (None, Some(package), Some(test)) => {
                for (key, name) in [("package", package), ("test", test)] {
                    if name.is_empty() || name.starts_with('-') {
                        self.problems
                            .push(at.key(key).problem(format!("this is no name of a {key}")));
                    }
                }
                RustTestSource::Package {
                    package: package.clone(),
                    test: test.clone(),
                }
            }
            _ => {
                let problem =
                    at.problem("a Rust test is given by `binary`, or by `package` and `test`");
                self.problems
                    .push(problem.help("write `rust = { package = \"web\", test = \"lab\" }`"));
                return None;
            }
        };
        Some(RustTestPlan {
            source,
            filter: rust.filter.clone(),
        })
    }

    /// A path of the host, absolute where there is a base.
    pub(super) fn resolve(&self, path: &Path) -> PathBuf {
        self.base
            .map_or_else(|| path.to_owned(), |base| base.join(path))
    }

    /// A path of the host that must exist.
    pub(super) fn existing(&mut self, at: &At<'_>, path: &Path) -> PathBuf {
        let resolved = self.resolve(path);
        if path.as_os_str().is_empty() {
            self.problems.push(at.problem("an empty path"));
        } else if let Err(error) = resolved.metadata() {
            let problem = at.problem(format!("`{}` cannot be read: {error}", path.display()));
            let help = self.base.filter(|_| path.is_relative()).map(|base| {
                format!(
                    "paths are relative to the manifest's directory, {}",
                    base.display()
                )
            });
            self.problems
                .push(problem.label("no such file").maybe_help(help));
        }
        resolved
    }

    /// As [`Self::existing`], and no directory.
    pub(super) fn existing_file(&mut self, at: &At<'_>, path: &Path) -> PathBuf {
        let resolved = self.existing(at, path);
        if !path.as_os_str().is_empty() && resolved.is_dir() {
            let problem = at.problem(format!("`{}` is a directory", path.display()));
            self.problems.push(problem.label("a file is needed here"));
        }
        resolved
    }

    /// A path in a machine.
    pub(super) fn guest_path(&mut self, at: &At<'_>, path: &Path, problem_of_key: bool) -> PathBuf {
        if !path.is_absolute() || path.as_os_str().as_encoded_bytes().contains(&0) {
            let message = format!("`{}` is no absolute path", path.display());
            let problem = if problem_of_key {
                at.key_problem(message)
            } else {
                at.problem(message)
            };
            self.problems
                .push(problem.label("a path in the machine begins with `/`"));
        }
        path.to_owned()
    }

    pub(super) fn environment(&mut self, at: &At<'_>, environment: &IndexMap<String, String>) {
        for (name, value) in environment {
            let at = at.key(name);
            if name.is_empty() || name.contains(['=', '\0']) {
                self.problems.push(
                    at.key_problem("the name of a variable is empty, or has `=` or NUL in it"),
                );
            }
            if value.contains('\0') {
                self.problems
                    .push(at.problem("the value of a variable cannot have a NUL in it"));
            }
        }
    }

    /// Machine and network names are host names.
    pub(super) fn host_name(&mut self, at: &At<'_>, name: &str, what: &str) {
        let legal = |each: char| each.is_ascii_lowercase() || each.is_ascii_digit() || each == '-';
        let edge = name.starts_with('-') || name.ends_with('-');
        if name.is_empty() || name.len() > NAME_MAX || edge || !name.chars().all(legal) {
            let better: String = name
                .to_lowercase()
                .chars()
                .map(|each| if legal(each) { each } else { '-' })
                .take(NAME_MAX)
                .collect();
            let better = better.trim_matches('-');
            let help = (!better.is_empty()).then(|| format!("write `{better}`"));
            let problem = at.key_problem(format!(
                "`{}` is no valid name of a {what}",
                shortened(name)
            ));
            let rule = format!("lowercase letters, digits and inner `-`, at most {NAME_MAX}");
            self.problems.push(problem.label(rule).maybe_help(help));
        }
    }

    pub(super) fn unknown_machine(&mut self, at: &At<'_>, name: &str) {
        let known = self.file.machines.keys().map(String::as_str);
        let help = did_you_mean(name, "the machines are", known);
        let problem = at.problem(format!("there is no machine `{}`", shortened(name)));
        self.problems
            .push(problem.label("not in `[machines]`").maybe_help(help));
    }
}

/// Names come from the file: a long one must not flood the message.
pub(super) fn shortened(name: &str) -> String {
    match name.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}

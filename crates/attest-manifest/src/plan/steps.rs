//! Steps: exactly one action each, with keys that belong to it.

use std::path::{Component, Path};

use regex::Regex;

use super::planner::{Planner, shortened};
use super::{ActionPlan, CommandPlan, ExpectedStatus, ProgramPlan, StepPlan, WaitPlan, WaitTarget};
use crate::model::{Copy, OneOrMany, Step, Wait};
use crate::problem::{At, Part};

/// What a wait's port is at when no host is given.
const LOCALHOST: &str = "localhost";
/// An exit status has eight bits.
const STATUS_MAX: i64 = 255;

impl Planner<'_> {
    pub(super) fn steps(&mut self, at: &At<'_>, steps: &[Step]) -> Vec<StepPlan> {
        steps
            .iter()
            .enumerate()
            .filter_map(|(index, step)| self.step(&at.index(index), step, false))
            .collect()
    }

    fn step(&mut self, at: &At<'_>, step: &Step, inside_parallel: bool) -> Option<StepPlan> {
        let actions = [
            ("run", step.run.is_some()),
            ("argv", step.argv.is_some()),
            ("wait", step.wait.is_some()),
            ("unit", step.unit.is_some()),
            ("upload", step.upload.is_some()),
            ("download", step.download.is_some()),
            ("reboot", step.reboot.is_some()),
            ("parallel", step.parallel.is_some()),
        ];
        let action = self.exactly_one(at, "a step", "action", &actions)?;
        if !matches!(action, "run" | "argv") {
            self.foreign_keys(at, action, &command_keys(step));
        }
        let here = at.key(action);
        let plan = match action {
            "run" | "argv" => self.command(at, step)?,
            "wait" => ActionPlan::Wait(self.wait(&here, step.wait.as_ref()?)?),
            "unit" => ActionPlan::Unit(self.unit_action(&here, step.unit.as_ref()?)?),
            "upload" => {
                let Copy { from, to } = step.upload.as_ref()?;
                let from = self.existing(&here.key("from"), from);
                ActionPlan::Upload {
                    from,
                    to: self.guest_path(&here.key("to"), to, false),
                }
            }
            "download" => {
                let Copy { from, to } = step.download.as_ref()?;
                let from = self.guest_path(&here.key("from"), from, false);
                self.artifact(&here.key("to"), to);
                ActionPlan::Download {
                    from,
                    to: to.clone(),
                }
            }
            "reboot" => {
                if step.reboot == Some(false) {
                    let problem = here.problem("a step that does not reboot does nothing");
                    self.problems
                        .push(problem.help("write `reboot = true`, or leave the step out"));
                }
                ActionPlan::Reboot
            }
            _ => return self.parallel(at, step, inside_parallel),
        };
        Some(StepPlan {
            machines: self.on(at, step),
            action: plan,
        })
    }

    /// The one key that is there; anything else is a problem.
    pub(super) fn exactly_one<'k>(
        &mut self,
        at: &At<'_>,
        what: &str,
        kind: &str,
        keys: &[(&'k str, bool)],
    ) -> Option<&'k str> {
        let mut given = keys.iter().filter(|(_, given)| *given).map(|(key, _)| *key);
        match (given.next(), given.next()) {
            (Some(one), None) => Some(one),
            (Some(first), Some(second)) => {
                let problem = at.key(second).key_problem(format!(
                    "{what} has one {kind}, not both `{first}` and `{second}`"
                ));
                let first = at.key(first).place();
                self.problems.push(problem.label("a second").related(
                    first,
                    Part::Key,
                    "the first",
                ));
                None
            }
            (None, _) => {
                let names: Vec<String> = keys.iter().map(|(key, _)| format!("`{key}`")).collect();
                let problem = at
                    .problem(format!("{what} needs one {kind}"))
                    .label("has none");
                self.problems
                    .push(problem.help(format!("one of {}", names.join(", "))));
                None
            }
        }
    }

    fn foreign_keys(&mut self, at: &At<'_>, action: &str, keys: &[(&str, bool)]) {
        for (key, _) in keys.iter().filter(|(_, given)| *given) {
            let problem = at
                .key(key)
                .key_problem(format!("`{key}` does not belong to `{action}`"));
            let problem = problem.label("only for `run` and `argv`");
            let inside = match (action, *key) {
                ("wait" | "unit", "timeout") => Some("\"5s\""),
                ("wait" | "unit", "user") => Some("\"alice\""),
                _ => None,
            };
            let help = inside
                .map(|value| format!("write it inside: `{action} = {{ …, {key} = {value} }}`"));
            self.problems.push(problem.maybe_help(help));
        }
    }

    fn on(&mut self, at: &At<'_>, step: &Step) -> Vec<String> {
        let here = at.key("on");
        let Some(on) = &step.on else {
            let mut machines = self.file.machines.keys();
            return match (machines.next(), machines.next()) {
                (Some(only), None) => vec![only.clone()],
                (None, _) => Vec::new(), // Reported: the lab has no machine.
                _ => {
                    let problem = at
                        .problem("which machine? The lab has several")
                        .label("`on` is missing");
                    let first = self.file.machines.keys().next().map(|name| shortened(name));
                    self.problems.push(
                        problem.maybe_help(first.map(|name| format!("add `on = \"{name}\"`"))),
                    );
                    Vec::new()
                }
            };
        };
        if on.names().is_empty() {
            self.problems.push(
                here.problem("a step on no machine does nothing")
                    .help("name one"),
            );
        }
        for (index, name) in on.names().iter().enumerate() {
            let element = here.index(index);
            let at = if matches!(on, OneOrMany::Many(_)) {
                &element
            } else {
                &here
            };
            if !self.file.machines.contains_key(name) {
                self.unknown_machine(at, name);
            } else if on.names()[..index].contains(name) {
                self.problems.push(
                    at.problem(format!("`{name}` is named twice"))
                        .label("again"),
                );
            }
            if self.problems.more > 0 {
                break;
            }
        }
        on.names().to_vec()
    }

    fn parallel(&mut self, at: &At<'_>, step: &Step, inside_parallel: bool) -> Option<StepPlan> {
        let here = at.key("parallel");
        if inside_parallel {
            let problem = here.key_problem("parallel steps cannot hold parallel steps");
            self.problems
                .push(problem.help("move its steps one level up: all of them run at once anyway"));
            return None;
        }
        if step.on.is_some() {
            let problem = at
                .key("on")
                .key_problem("`on` does not belong to `parallel`");
            self.problems
                .push(problem.help("give each of its steps its own `on`"));
        }
        let steps = step.parallel.as_deref().unwrap_or_default();
        if steps.is_empty() {
            self.problems.push(
                here.problem("nothing to do at once")
                    .help("give at least one step"),
            );
        }
        let plans = steps
            .iter()
            .enumerate()
            .filter_map(|(index, step)| self.step(&here.index(index), step, true));
        Some(StepPlan {
            machines: Vec::new(),
            action: ActionPlan::Parallel(plans.collect()),
        })
    }

    fn command(&mut self, at: &At<'_>, step: &Step) -> Option<ActionPlan> {
        let program = match (&step.run, &step.argv) {
            (Some(text), _) => {
                self.no_nul(&at.key("run"), text);
                if text.trim().is_empty() {
                    self.problems.push(
                        at.key("run")
                            .problem("an empty command")
                            .help("write a shell command"),
                    );
                }
                ProgramPlan::Shell(text.clone())
            }
            (None, argv) => {
                let argv = argv.clone().unwrap_or_default();
                if argv.first().is_none_or(String::is_empty) {
                    let problem = at.key("argv").problem("there is no program to run");
                    self.problems.push(
                        problem
                            .help("write the program and its arguments: `argv = [\"ls\", \"/\"]`"),
                    );
                    return None;
                }
                for (index, word) in argv.iter().enumerate() {
                    self.no_nul(&at.key("argv").index(index), word);
                }
                ProgramPlan::Argv(argv)
            }
        };
        let status = self.status(at, step);
        if let Some(pattern) = &step.stdout_matches {
            self.pattern(&at.key("stdout-matches"), pattern);
        }
        self.environment(&at.key("environment"), &step.environment);
        self.user_name(at, step.user.as_deref());
        let directory = step
            .directory
            .as_ref()
            .map(|path| self.guest_path(&at.key("directory"), Path::new(path), false));
        Some(ActionPlan::Command(Box::new(CommandPlan {
            program,
            status,
            stdout: step.stdout.clone(),
            stdout_contains: step.stdout_contains.clone(),
            stdout_matches: step.stdout_matches.clone(),
            stderr_contains: step.stderr_contains.clone(),
            stdin: step.stdin.clone(),
            user: step.user.clone(),
            directory,
            environment: step.environment.clone(),
            timeout: self.duration(&at.key("timeout"), step.timeout),
        })))
    }

    fn status(&mut self, at: &At<'_>, step: &Step) -> ExpectedStatus {
        let fails = step.fails == Some(true);
        if let Some(status) = step.status {
            if fails {
                let problem = at
                    .key("fails")
                    .key_problem("`fails` and `status` exclude each other");
                let status = at.key("status").place();
                let problem = problem.label("any code but 0").related(
                    status,
                    Part::Value,
                    "exactly this code",
                );
                self.problems.push(problem.help("leave one out"));
            }
            if !(0..=STATUS_MAX).contains(&status) {
                let problem = at
                    .key("status")
                    .problem(format!("{status} is no exit code"));
                let help = "0 to 255; a command that a signal ended has 128 + the signal's number";
                self.problems.push(problem.help(help));
            }
            return ExpectedStatus::Code(i32::try_from(status).unwrap_or(0));
        }
        if fails {
            ExpectedStatus::Failure
        } else {
            ExpectedStatus::Code(0)
        }
    }

    fn wait(&mut self, at: &At<'_>, wait: &Wait) -> Option<WaitPlan> {
        let targets = [
            ("port", wait.port.is_some()),
            ("file", wait.file.is_some()),
            ("socket", wait.socket.is_some()),
            ("unit", wait.unit.is_some()),
            ("succeeds", wait.succeeds.is_some()),
            ("fails", wait.fails.is_some()),
            ("process", wait.process.is_some()),
            ("console", wait.console.is_some()),
        ];
        let target = self.exactly_one(at, "a wait", "condition", &targets)?;
        let qualifiers = [
            ("host", wait.host.is_some(), &["port"][..]),
            ("closed", wait.closed.is_some(), &["port"][..]),
            ("matches", wait.matches.is_some(), &["file"][..]),
            ("user", wait.user.is_some(), &["unit"][..]),
            ("stopped", wait.stopped.is_some(), &["unit"][..]),
            (
                "vanished",
                wait.vanished.is_some(),
                &["file", "process"][..],
            ),
        ];
        for (key, _, of) in qualifiers
            .iter()
            .filter(|(_, given, of)| *given && !of.contains(&target))
        {
            let problem = at
                .key(key)
                .key_problem(format!("`{key}` does not belong to `{target}`"));
            let of: Vec<String> = of.iter().map(|key| format!("`{key}`")).collect();
            self.problems
                .push(problem.label(format!("only for {}", of.join(" and "))));
        }
        let plan = self.wait_target(at, target, wait)?;
        Some(WaitPlan {
            target: plan,
            timeout: self.duration(&at.key("timeout"), wait.timeout),
        })
    }

    fn wait_target(&mut self, at: &At<'_>, target: &str, wait: &Wait) -> Option<WaitTarget> {
        let here = at.key(target);
        let vanished = wait.vanished == Some(true);
        Some(match target {
            "port" => {
                let port = wait.port?;
                if port == 0 {
                    self.problems
                        .push(here.problem("there is no port 0").help("1 to 65535"));
                }
                let host = wait.host.clone().unwrap_or_else(|| LOCALHOST.to_owned());
                if host.is_empty()
                    || host.contains(|each: char| each.is_control() || each.is_whitespace())
                {
                    self.problems
                        .push(at.key("host").problem("this is no host name or address"));
                }
                WaitTarget::Port {
                    host,
                    port,
                    closed: wait.closed == Some(true),
                }
            }
            "file" => {
                if let Some(pattern) = &wait.matches {
                    self.pattern(&at.key("matches"), pattern);
                    if vanished {
                        let problem = at
                            .key("vanished")
                            .key_problem("a file that is gone matches nothing");
                        let matches = at.key("matches").place();
                        self.problems.push(
                            problem
                                .related(matches, Part::Key, "against this")
                                .help("leave one out"),
                        );
                    }
                }
                let path = self.guest_path(&here, Path::new(wait.file.as_ref()?), false);
                WaitTarget::File {
                    path,
                    matches: wait.matches.clone(),
                    vanished,
                }
            }
            "socket" => WaitTarget::Socket {
                path: self.guest_path(&here, Path::new(wait.socket.as_ref()?), false),
            },
            "unit" => {
                let unit = wait.unit.clone()?;
                self.unit_name(&here, &unit);
                self.user_name(at, wait.user.as_deref());
                WaitTarget::Unit {
                    unit,
                    user: wait.user.clone(),
                    stopped: wait.stopped == Some(true),
                }
            }
            "succeeds" => WaitTarget::Succeeds(self.shell(&here, wait.succeeds.as_ref()?)),
            "fails" => WaitTarget::Fails(self.shell(&here, wait.fails.as_ref()?)),
            "process" => {
                let pattern = wait.process.clone()?;
                self.pattern(&here, &pattern);
                WaitTarget::Process { pattern, vanished }
            }
            _ => {
                let pattern = wait.console.clone()?;
                self.pattern(&here, &pattern);
                WaitTarget::Console(pattern)
            }
        })
    }

    fn shell(&mut self, at: &At<'_>, text: &str) -> String {
        self.no_nul(at, text);
        text.to_owned()
    }

    fn no_nul(&mut self, at: &At<'_>, text: &str) {
        if text.contains('\0') {
            self.problems
                .push(at.problem("a command cannot have a NUL in it"));
        }
    }

    fn pattern(&mut self, at: &At<'_>, pattern: &str) {
        let Err(error) = Regex::new(pattern) else {
            return;
        };
        // The library draws the pattern over several lines; its last line is the reason.
        let text = error.to_string();
        let reason = text
            .lines()
            .last()
            .unwrap_or_default()
            .trim_start_matches("error: ")
            .to_owned();
        let problem = at.problem(format!(
            "the regular expression `{}` does not compile",
            shortened(pattern)
        ));
        self.problems.push(
            problem
                .label(reason)
                .help("in TOML, 'single quotes' keep backslashes as they are"),
        );
    }

    /// Where a download goes: it must stay below the artifacts.
    fn artifact(&mut self, at: &At<'_>, to: &Path) {
        let inside = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
        let named = to
            .components()
            .any(|part| matches!(part, Component::Normal(_)));
        if !named || !to.components().all(inside) {
            let problem = at.problem(format!(
                "`{}` is not below the run's artifacts",
                to.display()
            ));
            self.problems.push(
                problem
                    .label("relative, without `..`")
                    .help("write it as \"app.log\""),
            );
        }
    }
}

/// The keys that only commands have.
fn command_keys(step: &Step) -> [(&'static str, bool); 11] {
    [
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
        ("timeout", step.timeout.is_some()),
    ]
}

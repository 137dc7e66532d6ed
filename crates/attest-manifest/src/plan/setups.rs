//! Set-ups: their kinds, and the order in which they stand on each other.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::PathBuf;
use std::time::Duration;

use super::planner::{Planner, shortened};
use super::{LabPlan, StepPlan};
use crate::model::Setup;
use crate::problem::{At, Part, did_you_mean};

/// What brings a lab to the state that tests begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetupPlan {
    /// As in the manifest.
    pub name: String,
    /// The set-up that is done before this one; `None`: it begins with the lab as it booted.
    pub after: Option<String>,
    /// Its own limit, without those before it; else [`TimeoutPlan::test`](super::TimeoutPlan).
    pub timeout: Option<Duration>,
    /// Steps, or a script.
    pub kind: SetupKind,
}

/// What a set-up is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SetupKind {
    /// Steps, one after the other.
    Steps(Vec<StepPlan>),
    /// A Python script; absolute where the manifest is a file.
    Script(PathBuf),
}

impl LabPlan {
    /// The set-ups to do for the state that `name` stands for: the one that begins with the lab
    /// as it booted comes first, `name` itself last. Empty when there is no such set-up.
    pub fn setup_chain(&self, name: &str) -> Vec<&SetupPlan> {
        let mut chain: Vec<&SetupPlan> = Vec::new();
        let mut next = Some(name);
        while let Some(name) = next {
            let found = self.setups.iter().find(|setup| setup.name == name);
            // A plan of a manifest has no cycles; one that was made by hand must not hang.
            let Some(setup) =
                found.filter(|setup| !chain.iter().any(|seen| seen.name == setup.name))
            else {
                break;
            };
            chain.push(setup);
            next = setup.after.as_deref();
        }
        chain.reverse();
        chain
    }
}

impl Planner<'_> {
    pub(super) fn setups(&mut self) -> Vec<SetupPlan> {
        let file = self.file;
        let root = At::default();
        let setups = root.key("setups");
        let mut plans = Vec::with_capacity(file.setups.len());
        for (name, setup) in &file.setups {
            let at = setups.key(name);
            if name.trim().is_empty() || name.chars().any(char::is_control) {
                let problem =
                    at.key_problem("a set-up's name is empty, or has control characters in it");
                self.problems.push(problem);
            }
            if let Some(after) = &setup.after {
                self.known_setup(&at.key("after"), after);
            }
            let timeout = self.duration(&at.key("timeout"), setup.timeout);
            if let Some(kind) = self.setup_kind(&at, setup) {
                plans.push(SetupPlan {
                    name: name.clone(),
                    after: setup.after.clone(),
                    timeout,
                    kind,
                });
            }
        }
        self.cycles(&setups);
        plans
    }

    fn setup_kind(&mut self, at: &At<'_>, setup: &Setup) -> Option<SetupKind> {
        let kinds = [
            ("steps", setup.steps.is_some()),
            ("script", setup.script.is_some()),
        ];
        self.exactly_one(at, "a set-up", "kind", &kinds)?;
        if let Some(script) = &setup.script {
            let path = self.existing(&at.key("script"), script);
            return Some(SetupKind::Script(path));
        }
        let steps = setup.steps.as_deref()?;
        Some(SetupKind::Steps(self.steps(&at.key("steps"), steps)))
    }

    /// The set-up that a test names.
    pub(super) fn test_setup(&mut self, at: &At<'_>, name: &str, is_rust: bool) {
        let here = at.key("setup");
        if is_rust {
            let problem = here.key_problem("tests in Rust name their set-ups in code");
            let rust = at.key("rust").place();
            self.problems.push(
                problem
                    .label("does not belong to `rust`")
                    .related(rust, Part::Key, "these tests")
                    .help("leave it out"),
            );
        } else {
            self.known_setup(&here, name);
        }
    }

    /// That a set-up of this name is there.
    fn known_setup(&mut self, at: &At<'_>, name: &str) {
        if self.file.setups.contains_key(name) {
            return;
        }
        // To look for the name that was meant costs time, and what is not shown needs none.
        let help = (self.problems.more == 0).then(|| {
            let known = self.file.setups.keys().map(String::as_str);
            did_you_mean(name, "the set-ups are", known)
                .unwrap_or_else(|| format!("declare it: `[setups.{}]`", shortened(name)))
        });
        let problem = at.problem(format!("there is no set-up `{}`", shortened(name)));
        self.problems
            .push(problem.label("not in `[setups]`").maybe_help(help));
    }

    /// Each set-up stands on at most one other, so that every walk ends, or comes to a set-up
    /// where it was before.
    fn cycles(&mut self, setups: &At<'_>) {
        let file = self.file;
        let mut walks: HashMap<&str, usize> = HashMap::with_capacity(file.setups.len());
        for (walk, first) in file.setups.keys().enumerate() {
            let mut path: Vec<&str> = Vec::new();
            let mut next = Some(first.as_str());
            while let Some((name, setup)) = next.and_then(|name| file.setups.get_key_value(name)) {
                match walks.entry(name) {
                    Entry::Vacant(vacant) => vacant.insert(walk),
                    Entry::Occupied(earlier) => {
                        if *earlier.get() == walk {
                            let start = path.iter().position(|seen| *seen == name);
                            self.cycle(setups, &path[start.unwrap_or_default()..]);
                        }
                        break;
                    }
                };
                path.push(name);
                next = setup.after.as_deref();
            }
        }
    }

    fn cycle(&mut self, setups: &At<'_>, cycle: &[&str]) {
        /// Names that are shown: a long cycle must not flood the message.
        const SHOWN: usize = 8;
        let Some(first) = cycle.first() else { return };
        let mut names: Vec<String> = cycle
            .iter()
            .take(SHOWN)
            .map(|name| shortened(name))
            .collect();
        if cycle.len() > SHOWN {
            names.push("…".to_owned());
        }
        names.push(shortened(first));
        let setup = setups.key(first);
        let problem = setup.key("after").problem(format!(
            "set-ups wait for each other: {}",
            names.join(" → ")
        ));
        let problem = problem.label("none of them can be the first");
        self.problems.push(
            problem.help("leave `after` out of the one that begins with the lab as it booted"),
        );
    }
}

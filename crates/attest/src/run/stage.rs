//! The state of a lab that a test begins from: which machines, and what was done to them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use attest_manifest::{Isolation, LabPlan, SetupKind, SetupPlan, StepPlan};

use super::rust_function::RustSetup;
use super::script_test::{ScriptOutline, ScriptSetup};

/// The state of a lab that a test begins from.
#[derive(Debug, Clone, PartialEq)]
pub struct Stage {
    /// The lab's machines and networks.
    pub plan: Arc<LabPlan>,
    /// What was done once they had booted, in its order.
    pub setups: Vec<StageSetup>,
}

/// One thing that was done to a lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageSetup {
    /// As in the manifest or in the script.
    pub name: String,
    /// How long it may take.
    pub timeout: Duration,
    /// What it does.
    pub kind: StageKind,
}

/// What a set-up does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StageKind {
    /// Steps of the manifest.
    Steps(Vec<StepPlan>),
    /// A whole script that the manifest names.
    Script(PathBuf),
    /// A function of a script. What it returns is given to what comes next.
    Function {
        /// The script's file.
        script: PathBuf,
        /// Digest of the code that makes this state.
        key: String,
    },
    /// A function of this program, of which the same is true.
    Rust(RustSetup),
}

impl fmt::Display for StageSetup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "set-up `{}`", self.name)
    }
}

impl StageSetup {
    /// The script that does it, wholly or with one of its functions.
    pub(super) fn script(&self) -> Option<&Path> {
        match &self.kind {
            StageKind::Script(script) | StageKind::Function { script, .. } => Some(script),
            StageKind::Steps(_) | StageKind::Rust(_) => None,
        }
    }
}

impl Stage {
    /// Whether none of its labs can be saved, as far as that is known before there is one.
    pub(super) fn always_boots(&self) -> bool {
        let machines = &self.plan.machines;
        self.plan.isolation == Isolation::Boot
            || !machines.iter().all(|machine| machine.backend.is_virtual())
    }

    /// Whether `other`, with only the first so many of its set-ups, is on the way to this one.
    pub(crate) fn begins_with(&self, other: &Self, set_ups: usize) -> bool {
        let reached = other.setups.get(..set_ups);
        self.plan == other.plan && reached.is_some_and(|reached| self.setups.starts_with(reached))
    }
}

/// A set-up of the manifest.
pub(super) fn of_manifest(setup: &SetupPlan, plan: &LabPlan) -> StageSetup {
    StageSetup {
        name: setup.name.clone(),
        timeout: setup.timeout.unwrap_or(plan.timeouts.test),
        kind: match &setup.kind {
            SetupKind::Steps(steps) => StageKind::Steps(steps.clone()),
            SetupKind::Script(script) => StageKind::Script(script.clone()),
        },
    }
}

/// The set-ups of a script that lead to this one, and this one.
pub(super) fn of_script(
    outline: &ScriptOutline,
    name: &str,
    script: &std::path::Path,
    timeout: Duration,
) -> Vec<StageSetup> {
    let find = |name: &str| outline.setups.iter().find(|setup| setup.name == name);
    let before = |setup: &&ScriptSetup| find(setup.after.as_deref()?);
    let chain = std::iter::successors(find(name), before);
    // A circle is refused by who made the outline; here it only must not be for ever.
    let mut chain: Vec<StageSetup> = chain
        .take(outline.setups.len())
        .map(|setup| StageSetup {
            name: setup.name.clone(),
            timeout,
            kind: StageKind::Function {
                script: script.to_owned(),
                key: setup.key.clone(),
            },
        })
        .collect();
    chain.reverse();
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup(name: &str) -> StageSetup {
        StageSetup {
            name: name.to_owned(),
            timeout: Duration::from_secs(1),
            kind: StageKind::Steps(Vec::new()),
        }
    }

    fn stage(names: &[&str]) -> Stage {
        let plan = crate::Lab::builder().machine("a").plan().unwrap();
        Stage {
            plan: Arc::new(plan),
            setups: names.iter().map(|name| setup(name)).collect(),
        }
    }

    #[test]
    fn a_stage_begins_with_what_is_on_its_way() {
        let stage_of_two = stage(&["one", "two"]);
        assert!(stage_of_two.begins_with(&stage(&["one", "else"]), 1));
        assert!(!stage_of_two.begins_with(&stage(&["one", "else"]), 2));
        assert!(stage_of_two.begins_with(&stage(&["else"]), 0));
        assert!(!stage(&["one"]).begins_with(&stage_of_two, 2));
        let mut elsewhere = stage(&["one"]);
        elsewhere.plan = Arc::new(crate::Lab::builder().machine("b").plan().unwrap());
        assert!(!stage_of_two.begins_with(&elsewhere, 0));
    }

    #[test]
    fn functions_come_in_the_order_in_which_they_run() {
        let setup = |name: &str, after: Option<&str>| ScriptSetup {
            name: name.to_owned(),
            after: after.map(str::to_owned),
            key: format!("key of {name}"),
        };
        let outline = ScriptOutline {
            setups: vec![
                setup("filled", Some("database")),
                setup("database", None),
                setup("other", Some("filled")),
            ],
            tests: Vec::new(),
        };
        let script = std::path::Path::new("/t.py");
        let chain = of_script(&outline, "filled", script, Duration::from_secs(7));
        let names: Vec<_> = chain.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["set-up `database`", "set-up `filled`"]);
        assert!(matches!(
            &chain[1].kind,
            StageKind::Function { key, .. } if key == "key of filled"
        ));
        assert_eq!(of_script(&outline, "nowhere", script, Duration::ZERO), []);
    }
}

//! Which tests of which manifests a run takes.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use attest_manifest::{Accelerator, Backend, KernelPlan, LabPlan, Manifest, TestKind, TestPlan};

use super::job;
use super::rust_test;
use super::script_test::{ScriptOutline, ScriptRunner};
use super::stage::{self, Stage, StageSetup};
use crate::error::Result;
use crate::schedule::{History, Shard};

/// What the command line changes in every manifest.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// Boot this kernel.
    pub kernel: Option<PathBuf>,
    /// Use this accelerator.
    pub accelerator: Option<Accelerator>,
    /// Run every machine with this backend.
    pub backend: Option<Backend>,
}

impl Overrides {
    /// Apply them.
    pub fn apply(&self, plan: &mut LabPlan) {
        for machine in &mut plan.machines {
            if let Some(kernel) = &self.kernel {
                machine.image.kernel = KernelPlan::Path(kernel.clone());
            }
            if let Some(accelerator) = self.accelerator {
                machine.accelerator = accelerator;
            }
            if let Some(backend) = self.backend {
                machine.backend = backend;
                if backend == Backend::Ssh {
                    // Those of the lab; it has networks of its own.
                    machine.cards.clear();
                }
            }
        }
    }
}

/// The tests of a run, by their labs.
#[derive(Debug, Default)]
pub struct Selection {
    /// In the order of the command line.
    pub labs: Vec<LabRun>,
}

/// One manifest's lab and the tests that were selected of it.
#[derive(Debug)]
pub struct LabRun {
    /// The manifest's file.
    pub manifest: PathBuf,
    /// Its plan.
    pub plan: Arc<LabPlan>,
    /// The tests, in the manifest's order.
    pub tests: Vec<SelectedTest>,
}

/// One test of a run.
#[derive(Debug, Clone)]
pub struct SelectedTest {
    /// Unique in the run where the manifests differ in name.
    pub name: String,
    /// For the test alone, without the boot of its lab.
    pub timeout: Duration,
    /// Steps, a script, or Rust.
    pub kind: TestKind,
    stage: Stage,
    /// The test's place in what `kind` names.
    within: Within,
}

/// Which part of a test of a manifest is a test of a run.
#[derive(Debug, Clone)]
enum Within {
    Whole,
    /// A function of a script.
    Function(String),
    /// A test of a binary.
    Rust {
        binary: PathBuf,
        name: String,
    },
}

impl SelectedTest {
    /// What it begins from; for Rust tests, which say that in code, only a guess.
    pub fn stage(&self) -> &Stage {
        &self.stage
    }

    /// The function of the script that it is; `None`: all of it.
    pub fn function(&self) -> Option<&str> {
        match &self.within {
            Within::Function(name) => Some(name),
            Within::Whole | Within::Rust { .. } => None,
        }
    }

    /// The binary and the test's name in it.
    pub(super) fn rust_test(&self) -> (&Path, &str) {
        match &self.within {
            Within::Rust { binary, name } => (binary, name),
            Within::Whole | Within::Function(_) => unreachable!("only Rust tests are asked"),
        }
    }

    /// One of steps, that begins from the lab as it has booted.
    #[cfg(test)]
    pub(super) fn of_steps(name: &str, plan: &Arc<LabPlan>) -> Self {
        Self {
            name: name.to_owned(),
            timeout: Duration::from_secs(1),
            kind: TestKind::Steps(Vec::new()),
            stage: Stage {
                plan: Arc::clone(plan),
                setups: Vec::new(),
            },
            within: Within::Whole,
        }
    }

    #[cfg(test)]
    pub(super) fn with_setups(mut self, setups: Vec<StageSetup>) -> Self {
        self.stage.setups = setups;
        self
    }
}

impl Selection {
    /// Read the manifests, check them all, and take the tests whose names contain `filter`. Scripts
    /// are one test each.
    ///
    /// # Errors
    /// A manifest is wrong, or a Rust test cannot be built or listed.
    pub fn load(paths: &[PathBuf], filter: Option<&str>, overrides: &Overrides) -> Result<Self> {
        let mut selection = Self::default();
        for path in paths {
            let plan = plan(path, overrides)?;
            let tests = tests(&plan, &Outlines::new())?;
            selection.add(path, plan, tests, filter);
        }
        Ok(selection)
    }

    /// The same, but the tests of a script are tests.
    ///
    /// # Errors
    /// As [`Selection::load`]; a script cannot be read.
    pub async fn load_with_scripts(
        paths: &[PathBuf],
        filter: Option<&str>,
        overrides: &Overrides,
        scripts: &dyn ScriptRunner,
    ) -> Result<Self> {
        let mut selection = Self::default();
        for path in paths {
            let plan = plan(path, overrides)?;
            let outlines = outlines(&plan, scripts).await?;
            let tests = tests(&plan, &outlines)?;
            selection.add(path, plan, tests, filter);
        }
        Ok(selection)
    }

    fn add(
        &mut self,
        manifest: &Path,
        plan: Arc<LabPlan>,
        mut tests: Vec<SelectedTest>,
        filter: Option<&str>,
    ) {
        tests.retain(|test| filter.is_none_or(|filter| test.name.contains(filter)));
        if !tests.is_empty() {
            self.labs.push(LabRun {
                manifest: manifest.to_owned(),
                plan,
                tests,
            });
        }
    }

    /// Keep only the tests of this shard. Tests that share a lab stay together.
    pub fn keep_shard(&mut self, shard: Shard, history: &History) {
        let mut units = Vec::new();
        for lab in &self.labs {
            for unit in job::units(lab) {
                let name = format!("{} {}", lab.plan.name, unit[0].name);
                units.push((name, job::expected(lab, &unit, history), unit.len()));
            }
        }
        let named: Vec<_> = units
            .iter()
            .map(|(name, took, _)| (&**name, *took))
            .collect();
        let mut mine = shard.takes(&named).into_iter();
        for lab in &mut self.labs {
            let kept: Vec<String> = job::units(lab)
                .into_iter()
                .filter(|_| mine.next().unwrap_or(false))
                .flat_map(|unit| unit.into_iter().map(|test| test.name.clone()))
                .collect();
            lab.tests.retain(|test| kept.contains(&test.name));
        }
        self.labs.retain(|lab| !lab.tests.is_empty());
    }

    /// The names of all tests.
    pub fn names(&self) -> Vec<String> {
        self.labs
            .iter()
            .flat_map(|lab| lab.tests.iter().map(|test| test.name.clone()))
            .collect()
    }
}

/// What is in scripts, by their files; one that is not there is one test.
type Outlines = HashMap<PathBuf, ScriptOutline>;

/// All at once: each is a process.
async fn outlines(plan: &LabPlan, scripts: &dyn ScriptRunner) -> Result<Outlines> {
    let script = |test: &TestPlan| match &test.kind {
        TestKind::Script(script) => Some(script.clone()),
        TestKind::Steps(_) | TestKind::Rust(_) => None,
    };
    let all: HashSet<PathBuf> = plan.tests.iter().filter_map(script).collect();
    let outlines = all.into_iter().map(|script| async move {
        let outline = scripts.outline(&script).await?;
        Ok::<_, crate::Error>((script, outline))
    });
    let outlines = futures_util::future::try_join_all(outlines).await?;
    Ok(outlines.into_iter().collect())
}

fn plan(path: &Path, overrides: &Overrides) -> Result<Arc<LabPlan>> {
    let mut plan = Manifest::load(path)?.plan()?;
    overrides.apply(&mut plan);
    Ok(Arc::new(plan))
}

fn tests(plan: &Arc<LabPlan>, outlines: &Outlines) -> Result<Vec<SelectedTest>> {
    let mut tests = Vec::new();
    let mut labs = Vec::new();
    let whole = ScriptOutline::default();
    for test in &plan.tests {
        let timeout = test.timeout.unwrap_or(plan.timeouts.test);
        let setups = setups(test, plan);
        let lab = lab_for(test, plan, &mut labs);
        let selected = |name: Option<&str>, more: Vec<StageSetup>, within| SelectedTest {
            name: match name {
                Some(name) => format!("{}::{name}", test.name),
                None => test.name.clone(),
            },
            timeout,
            kind: test.kind.clone(),
            stage: Stage {
                plan: Arc::clone(&lab),
                setups: setups.iter().cloned().chain(more).collect(),
            },
            within,
        };
        match &test.kind {
            TestKind::Steps(_) => tests.push(selected(None, Vec::new(), Within::Whole)),
            TestKind::Script(script) => {
                let outline = outlines.get(script).unwrap_or(&whole);
                if outline.tests.is_empty() {
                    tests.push(selected(None, Vec::new(), Within::Whole));
                }
                for function in &outline.tests {
                    let chain = function
                        .setup
                        .as_ref()
                        .map(|setup| stage::of_script(outline, setup, script, plan.timeouts.test));
                    let within = Within::Function(function.name.clone());
                    tests.push(selected(
                        Some(&function.name),
                        chain.unwrap_or_default(),
                        within,
                    ));
                }
            }
            TestKind::Rust(rust) => {
                let binary = rust_test::binary(rust, plan.directory.as_deref())?;
                let filter = rust.filter.as_deref();
                for name in rust_test::list(&binary)? {
                    if filter.is_none_or(|filter| name.contains(filter)) {
                        let binary = binary.clone();
                        let within = Within::Rust {
                            binary,
                            name: name.clone(),
                        };
                        tests.push(selected(Some(&name), Vec::new(), within));
                    }
                }
            }
        }
    }
    Ok(tests)
}

/// The lab that a test needs, without the tests: two that need the same machines have the same one.
fn lab_for(test: &TestPlan, plan: &LabPlan, labs: &mut Vec<Arc<LabPlan>>) -> Arc<LabPlan> {
    let mut lab = plan.for_test(test);
    lab.tests.clear();
    lab.setups.clear();
    if let Some(known) = labs.iter().find(|known| ***known == lab) {
        return Arc::clone(known);
    }
    let lab = Arc::new(lab);
    labs.push(Arc::clone(&lab));
    lab
}

/// What the manifest wants to be done before this test.
fn setups(test: &TestPlan, plan: &LabPlan) -> Vec<StageSetup> {
    let chain = test.setup.as_ref().map(|setup| plan.setup_chain(setup));
    let of_manifest = |setup| stage::of_manifest(setup, plan);
    chain.into_iter().flatten().map(of_manifest).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use attest_manifest::Isolation;

    use super::super::script_test::{ScriptSetup, ScriptTest};
    use super::*;

    fn selection() -> Selection {
        let lab = |name: &str, isolation, tests: &[&str]| {
            let mut plan = crate::Lab::builder().machine("a").plan().unwrap();
            plan.name = name.to_owned();
            plan.isolation = isolation;
            let plan = Arc::new(plan);
            LabRun {
                manifest: PathBuf::from(name),
                tests: tests
                    .iter()
                    .map(|name| SelectedTest::of_steps(name, &plan))
                    .collect(),
                plan,
            }
        };
        let labs = vec![
            lab("web", Isolation::Auto, &["a", "b", "c"]),
            lab("shared", Isolation::Shared, &["d", "e", "f"]),
        ];
        Selection { labs }
    }

    #[test]
    fn shards_are_all_tests_and_those_of_one_lab_stay_together() {
        let mut seen = BTreeSet::new();
        for shard in ["1/3", "2/3", "3/3"] {
            let mut selection = selection();
            selection.keep_shard(shard.parse().unwrap(), &History::default());
            let names = selection.names();
            let of_shared = names.iter().filter(|name| name.as_str() >= "d").count();
            assert!([0, 3].contains(&of_shared), "{names:?}");
            for name in names {
                assert!(seen.insert(name.clone()), "{name}");
            }
        }
        assert_eq!(seen.len(), 6);
    }

    #[test]
    fn a_script_with_tests_is_these_tests() {
        let directory = tempfile::tempdir().unwrap();
        let manifest = "[machines.a]\n[setups.base]\nsteps = [{ run = \"true\" }]\n\
             [tests.s]\nscript = \"s.py\"\nsetup = \"base\"\n";
        let path = directory.path().join("attest.toml");
        std::fs::write(&path, manifest).unwrap();
        std::fs::write(directory.path().join("s.py"), "").unwrap();
        let plan = plan(&path, &Overrides::default()).unwrap();
        let test = |name: &str, setup: Option<&str>| ScriptTest {
            name: name.to_owned(),
            setup: setup.map(str::to_owned),
        };
        let setup = |name: &str| ScriptSetup {
            name: name.to_owned(),
            after: None,
            key: "k".to_owned(),
        };
        let outline = ScriptOutline {
            setups: vec![setup("filled")],
            tests: vec![test("reads", Some("filled")), test("boots", None)],
        };
        let outlines = [(directory.path().join("s.py"), outline)];
        let tests = tests(&plan, &outlines.into()).unwrap();
        let described: Vec<_> = tests
            .iter()
            .map(|test| {
                let setups = &test.stage().setups;
                let setups: Vec<_> = setups.iter().map(|setup| setup.name.as_str()).collect();
                (test.name.as_str(), test.function(), setups.join(" "))
            })
            .collect();
        let expected = [
            ("s::reads", Some("reads"), "base filled".to_owned()),
            ("s::boots", Some("boots"), "base".to_owned()),
        ];
        assert_eq!(described, expected);
    }
}

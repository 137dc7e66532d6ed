//! Which tests of which manifests a run takes.

use std::collections::{HashMap, HashSet};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use attest_events::Part;
use attest_manifest::{Accelerator, Backend, KernelPlan, LabPlan, Manifest, TestKind, TestPlan};

use serde::{Deserialize, Serialize};

use super::job;
use super::rust_test;
use super::script_test::{ScriptOutline, ScriptRunner};
use super::stage::{self, Stage, StageSetup};
use crate::error::{Error, Result};
use crate::schedule::{History, Shard};

/// Tells a Rust test what the command line of its run changes in every manifest, as JSON.
const OVERRIDES_VARIABLE: &str = "ATTEST_OVERRIDES";

/// What the command line changes in every manifest.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Overrides {
    /// Boot this kernel.
    pub kernel: Option<PathBuf>,
    /// Use this accelerator.
    pub accelerator: Option<Accelerator>,
    /// Run every machine with this backend.
    pub backend: Option<Backend>,
    /// Build Rust tests with this profile of cargo; by default with that of `cargo test`.
    pub cargo_profile: Option<String>,
}

impl Overrides {
    /// Those of the run that started this program as a test; none where no run did.
    ///
    /// # Errors
    /// They are not what a run writes.
    pub(crate) fn of_run() -> Result<Self> {
        let Some(text) = std::env::var_os(OVERRIDES_VARIABLE) else {
            return Ok(Self::default());
        };
        serde_json::from_slice(text.as_bytes()).map_err(|error| Error::Program {
            program: format!("${OVERRIDES_VARIABLE}"),
            reason: format!("{error}; only `attest run` sets it, so unset it"),
        })
    }

    /// What [`Overrides::of_run`] reads, as a variable of the environment.
    pub(super) fn variable(&self) -> (&'static str, String) {
        let text = serde_json::to_string(self);
        (OVERRIDES_VARIABLE, text.expect("paths were arguments"))
    }

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
    /// What took the time until there was one, each since then.
    pub(super) parts: Vec<(Part, Instant)>,
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
        /// It reads its manifest itself.
        overrides: Overrides,
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

    /// The binary, the test's name in it, and what the command line changes.
    pub(super) fn rust_test(&self) -> (&Path, &str, &Overrides) {
        match &self.within {
            Within::Rust {
                binary,
                name,
                overrides,
            } => (binary, name, overrides),
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
            selection.enter(Part::Plan);
            let plan = plan(path, overrides)?;
            let all: Vec<&TestPlan> = plan.tests.iter().collect();
            let tests = selection.tests(&plan, &all, overrides, &Outlines::new())?;
            selection.add(path, plan, tests, filter);
        }
        Ok(selection)
    }

    /// The same, but the tests of a script are tests. Where there are `names`, what is in no test of a manifest that one
    /// of them names is left out, so that it need not be read or built; [`Selection::keep_tests`] leaves out the rest.
    ///
    /// # Errors
    /// As [`Selection::load`]; a script cannot be read.
    pub async fn load_with_scripts(
        paths: &[PathBuf],
        filter: Option<&str>,
        names: &[String],
        overrides: &Overrides,
        scripts: &dyn ScriptRunner,
    ) -> Result<Self> {
        let mut selection = Self::default();
        for path in paths {
            selection.enter(Part::Plan);
            let plan = plan(path, overrides)?;
            let mut wanted: Vec<&TestPlan> = plan.tests.iter().collect();
            wanted.retain(|test| {
                names.is_empty() || names.iter().any(|name| is_in(name, &test.name))
            });
            let files = scripts_of(&wanted);
            if !files.is_empty() {
                selection.enter(Part::Outline);
            }
            let outlines = outlines(files, scripts).await?;
            let tests = selection.tests(&plan, &wanted, overrides, &outlines)?;
            selection.add(path, plan, tests, filter);
        }
        Ok(selection)
    }

    fn enter(&mut self, part: Part) {
        if self.parts.last().is_none_or(|(last, _)| *last != part) {
            self.parts.push((part, Instant::now()));
        }
    }

    /// Those of a manifest; what is written in Rust is built.
    fn tests(
        &mut self,
        plan: &Arc<LabPlan>,
        wanted: &[&TestPlan],
        overrides: &Overrides,
        outlines: &Outlines,
    ) -> Result<Vec<SelectedTest>> {
        let is_rust = |test: &&TestPlan| matches!(test.kind, TestKind::Rust(_));
        let builds = wanted.iter().any(is_rust);
        self.enter(if builds { Part::Build } else { Part::Plan });
        let tests = tests(plan, wanted, overrides, outlines)?;
        self.enter(Part::Plan);
        Ok(tests)
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

/// Whether the test that has this name is this one of a manifest, or a part of it.
pub(super) fn is_in(name: &str, test: &str) -> bool {
    let rest = name.strip_prefix(test);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn scripts_of(tests: &[&TestPlan]) -> HashSet<PathBuf> {
    let script = |test: &&TestPlan| match &test.kind {
        TestKind::Script(script) => Some(script.clone()),
        TestKind::Steps(_) | TestKind::Rust(_) => None,
    };
    tests.iter().filter_map(script).collect()
}

/// All at once: each is a process.
async fn outlines(files: HashSet<PathBuf>, scripts: &dyn ScriptRunner) -> Result<Outlines> {
    let outlines = files.into_iter().map(|script| async move {
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

fn tests(
    plan: &Arc<LabPlan>,
    wanted: &[&TestPlan],
    overrides: &Overrides,
    outlines: &Outlines,
) -> Result<Vec<SelectedTest>> {
    let mut tests = Vec::new();
    let mut labs = Vec::new();
    let whole = ScriptOutline::default();
    for &test in wanted {
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
                let profile = overrides.cargo_profile.as_deref();
                let binary = rust_test::binary(rust, plan.directory.as_deref(), profile)?;
                let filter = rust.filter.as_deref();
                for name in rust_test::list(&binary)? {
                    if filter.is_none_or(|filter| name.contains(filter)) {
                        let binary = binary.clone();
                        let within = Within::Rust {
                            binary,
                            name: name.clone(),
                            overrides: overrides.clone(),
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
        Selection {
            labs,
            ..Selection::default()
        }
    }

    #[test]
    fn a_rust_test_is_told_what_the_command_line_changes() {
        let overrides = Overrides {
            kernel: Some("/boot/vmlinuz".into()),
            accelerator: Some(Accelerator::Tcg),
            backend: Some(Backend::Nspawn),
            cargo_profile: Some("release".to_owned()),
        };
        let (_, told) = overrides.variable();
        assert_eq!(serde_json::from_str::<Overrides>(&told).unwrap(), overrides);
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
        let wanted: Vec<&TestPlan> = plan.tests.iter().collect();
        let tests = tests(&plan, &wanted, &Overrides::default(), &outlines.into()).unwrap();
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

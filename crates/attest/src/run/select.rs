//! Which tests of which manifests a run takes.

use std::path::PathBuf;
use std::time::Duration;

use attest_manifest::{Accelerator, Backend, KernelPlan, LabPlan, Manifest, TestKind};

use super::rust_test;
use crate::error::Result;

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
    pub plan: LabPlan,
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
    rust: Option<(PathBuf, String)>,
}

impl SelectedTest {
    /// The binary and the test's name in it.
    pub(super) fn rust_test(&self) -> (PathBuf, String) {
        self.rust.clone().expect("only Rust tests are asked")
    }
}

impl Selection {
    /// Read the manifests, check them all, and take the tests whose names contain `filter`.
    pub fn load(paths: &[PathBuf], filter: Option<&str>, overrides: &Overrides) -> Result<Self> {
        let mut labs = Vec::with_capacity(paths.len());
        for path in paths {
            let manifest = Manifest::load(path)?;
            let mut plan = manifest.plan()?;
            overrides.apply(&mut plan);
            let mut tests = tests(&plan)?;
            tests.retain(|test| filter.is_none_or(|filter| test.name.contains(filter)));
            if !tests.is_empty() {
                labs.push(LabRun {
                    manifest: path.clone(),
                    plan,
                    tests,
                });
            }
        }
        Ok(Self { labs })
    }

    /// The names of all tests.
    pub fn names(&self) -> Vec<String> {
        self.labs
            .iter()
            .flat_map(|lab| lab.tests.iter().map(|test| test.name.clone()))
            .collect()
    }
}

fn tests(plan: &LabPlan) -> Result<Vec<SelectedTest>> {
    let mut tests = Vec::new();
    for test in &plan.tests {
        let timeout = test.timeout.unwrap_or(plan.timeouts.test);
        let selected = |name: String, rust| SelectedTest {
            name,
            timeout,
            kind: test.kind.clone(),
            rust,
        };
        match &test.kind {
            TestKind::Steps(_) | TestKind::Script(_) => {
                tests.push(selected(test.name.clone(), None));
            }
            TestKind::Rust(rust) => {
                let binary = rust_test::binary(rust, plan.directory.as_deref())?;
                for name in rust_test::list(&binary)? {
                    if rust
                        .filter
                        .as_ref()
                        .is_none_or(|filter| name.contains(filter))
                    {
                        tests.push(selected(
                            format!("{}::{name}", test.name),
                            Some((binary.clone(), name)),
                        ));
                    }
                }
            }
        }
    }
    Ok(tests)
}

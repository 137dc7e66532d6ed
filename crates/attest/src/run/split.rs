//! The jobs that a selection falls into, for several hosts.

use std::sync::Arc;

use attest_manifest::LabPlan;

use super::select::{LabRun, SelectedTest, Selection, is_in};

/// Tests of one manifest that use exactly the same machines.
#[derive(Debug)]
pub struct SelectedJob<'a> {
    /// From 1, over all manifests.
    pub number: usize,
    /// Whose it is.
    pub lab: &'a LabRun,
    /// At least one, in the manifest's order.
    pub tests: Vec<&'a SelectedTest>,
}

impl SelectedJob<'_> {
    /// The machines that its tests use, and their networks: no other job's can talk to them.
    pub fn plan(&self) -> &Arc<LabPlan> {
        &self.tests[0].stage().plan
    }
}

/// A number that no job has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no job {number}: these tests are {}; see `attest plan`", jobs(*count))]
pub struct UnknownJob {
    /// It.
    pub number: usize,
    /// How many there are.
    pub count: usize,
}

fn jobs(count: usize) -> String {
    match count {
        1 => "1 job".to_owned(),
        count => format!("{count} jobs"),
    }
}

/// A name that no test has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no test `{name}`; see `attest list`")]
pub struct UnknownTest {
    /// It.
    pub name: String,
}

impl Selection {
    /// Keep only the tests of these names, each as a manifest has it: also all functions of a script of that name, or
    /// `SCRIPT::FUNCTION`.
    ///
    /// # Errors
    /// There is none of a name; all are kept then.
    pub fn keep_tests(&mut self, names: &[String]) -> Result<(), UnknownTest> {
        let all = self.names();
        let is_unknown = |name: &&String| !all.iter().any(|test| is_in(test, name));
        if let Some(name) = names.iter().find(is_unknown) {
            let name = name.clone();
            return Err(UnknownTest { name });
        }
        for lab in &mut self.labs {
            lab.tests
                .retain(|test| names.iter().any(|name| is_in(&test.name, name)));
        }
        self.labs.retain(|lab| !lab.tests.is_empty());
        Ok(())
    }

    /// The jobs, manifest by manifest, those of one in the order of their first tests.
    pub fn jobs(&self) -> Vec<SelectedJob<'_>> {
        let mut jobs: Vec<SelectedJob<'_>> = Vec::new();
        for lab in &self.labs {
            let first = jobs.len();
            for test in &lab.tests {
                // Equal ones of a manifest are the same one.
                let is_its =
                    |job: &&mut SelectedJob<'_>| Arc::ptr_eq(job.plan(), &test.stage().plan);
                if let Some(job) = jobs[first..].iter_mut().find(is_its) {
                    job.tests.push(test);
                    continue;
                }
                jobs.push(SelectedJob {
                    number: jobs.len() + 1,
                    lab,
                    tests: vec![test],
                });
            }
        }
        jobs
    }

    /// Keep only the tests of this job.
    ///
    /// # Errors
    /// There is none of this number; all are kept then.
    pub fn keep_job(&mut self, number: usize) -> Result<(), UnknownJob> {
        let jobs = self.jobs();
        let Some(job) = jobs.iter().find(|job| job.number == number) else {
            let count = jobs.len();
            return Err(UnknownJob { number, count });
        };
        let (plan, lab) = (Arc::clone(job.plan()), Arc::clone(&job.lab.plan));
        // The same manifest may be there twice: then each has a plan of its own.
        self.labs.retain(|each| Arc::ptr_eq(&each.plan, &lab));
        for lab in &mut self.labs {
            lab.tests
                .retain(|test| Arc::ptr_eq(&test.stage().plan, &plan));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// Manifests, each with tests, and the machine that each of those uses.
    fn selection(manifests: &[&[(&str, &str)]]) -> Selection {
        let lab = |tests: &&[(&str, &str)]| {
            let plan =
                |machine: &str| Arc::new(crate::Lab::builder().machine(machine).plan().unwrap());
            let plans: Vec<_> = ["a", "b"].map(|machine| (machine, plan(machine))).into();
            let tests = tests.iter().map(|(name, machine)| {
                let (_, plan) = plans.iter().find(|(name, _)| name == machine).unwrap();
                SelectedTest::of_steps(name, plan)
            });
            LabRun {
                manifest: PathBuf::new(),
                plan: plan("a"),
                tests: tests.collect(),
            }
        };
        Selection {
            labs: manifests.iter().map(lab).collect(),
            ..Selection::default()
        }
    }

    const TWICE: &[(&str, &str)] = &[("one", "a"), ("two", "b"), ("three", "a")];

    #[test]
    fn jobs_are_numbered_over_all_manifests() {
        let selection = selection(&[TWICE, TWICE]);
        let jobs = selection.jobs();
        let described = jobs.iter().map(|job| {
            let names: Vec<_> = job.tests.iter().map(|test| test.name.as_str()).collect();
            format!("{} {}", job.number, names.join(" "))
        });
        let expected = ["1 one three", "2 two", "3 one three", "4 two"];
        assert_eq!(described.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn each_test_is_in_one_job() {
        for (number, expected) in [
            (1, &["one", "three"][..]),
            (2, &["two"]),
            (3, &["one", "three"]),
        ] {
            let mut selection = selection(&[TWICE, TWICE]);
            selection.keep_job(number).unwrap();
            assert_eq!(selection.names(), expected);
            assert_eq!(selection.labs.len(), 1);
        }
    }

    #[test]
    fn tests_are_kept_by_their_names() {
        let keep = |names: &[&str]| {
            let mut selection = selection(&[TWICE, &[("one::a", "a"), ("oneself", "b")]]);
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            let kept = selection.keep_tests(&names);
            kept.map(|()| selection.names())
                .map_err(|error| error.to_string())
        };
        assert_eq!(keep(&["one"]).unwrap(), ["one", "one::a"]);
        assert_eq!(keep(&["three", "oneself"]).unwrap(), ["three", "oneself"]);
        assert_eq!(
            keep(&["one", "on"]).unwrap_err(),
            "there is no test `on`; see `attest list`"
        );
    }

    #[test]
    fn a_job_that_is_not_there_names_how_many_are() {
        for number in [0, 3] {
            let mut selection = selection(&[TWICE]);
            let unknown = selection.keep_job(number).unwrap_err();
            assert_eq!(
                unknown.to_string(),
                format!("there is no job {number}: these tests are 2 jobs; see `attest plan`")
            );
            assert_eq!(selection.names().len(), 3);
        }
        let one = selection(&[&TWICE[..1]]).keep_job(2).unwrap_err();
        assert!(one.to_string().contains(" are 1 job;"), "{one}");
    }
}

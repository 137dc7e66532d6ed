//! Tests that are scripts. What runs them is another crate's, for it needs more than a library of
//! labs should.

use std::fmt;
use std::path::Path;

use attest_events::FailureDetail;
use attest_vmm::BoxFuture;

use crate::error::{Error, Result};
use crate::lab::Lab;
use crate::recorder::Recorder;

/// Runs scripts that drive labs.
pub trait ScriptRunner: fmt::Debug + Send + Sync {
    /// Run this script on this lab, whose machines are ready. What it copies out goes to
    /// `artifacts`. Dropping the future ends it.
    ///
    /// # Errors
    /// It could not be run.
    fn run<'a>(
        &'a self,
        lab: &'a Lab,
        recorder: &'a Recorder,
        script: &'a Path,
        artifacts: &'a Path,
    ) -> BoxFuture<'a, Result<ScriptVerdict>>;
}

/// How a script ended.
#[derive(Debug)]
pub enum ScriptVerdict {
    /// Well.
    Passed,
    /// The test failed, with why.
    Failed(Box<FailureDetail>),
    /// A machine, or something else beneath it, did.
    Infrastructure(Box<FailureDetail>),
}

pub(super) async fn run(
    runner: Option<&dyn ScriptRunner>,
    lab: &Lab,
    script: &Path,
    artifacts: &Path,
) -> Result<()> {
    let Some(runner) = runner else {
        return Err(Error::Program {
            program: script.display().to_string(),
            reason: "nothing here runs scripts; use `attest run`".to_owned(),
        });
    };
    match runner.run(lab, lab.recorder(), script, artifacts).await? {
        ScriptVerdict::Passed => Ok(()),
        ScriptVerdict::Failed(detail) => Err(Error::Script {
            detail,
            is_test: true,
        }),
        ScriptVerdict::Infrastructure(detail) => Err(Error::Script {
            detail,
            is_test: false,
        }),
    }
}

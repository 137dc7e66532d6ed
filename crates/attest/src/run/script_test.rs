//! Tests that are scripts. What runs them is another crate's, for it needs more than a library of
//! labs should.

use std::fmt;
use std::path::Path;

use attest_events::FailureDetail;
use attest_vmm::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::lab::Lab;
use crate::recorder::Recorder;

/// Runs scripts that drive labs.
pub trait ScriptRunner: fmt::Debug + Send + Sync {
    /// What is in this script. It is read, not run.
    ///
    /// # Errors
    /// It cannot be read or parsed, or its set-ups do not fit together: [`Error::Script`].
    fn outline<'a>(&'a self, script: &'a Path) -> BoxFuture<'a, Result<ScriptOutline>>;

    /// So many parts of this script will be run, this many at once: what takes a time and needs no lab may begin.
    fn expect(&self, _script: &Path, _parts: usize, _at_once: usize) {}

    /// Run this part of this script on this lab, whose machines are ready. What it copies out goes
    /// to `artifacts`. Dropping the future ends it.
    ///
    /// # Errors
    /// It could not be run.
    fn run<'a>(
        &'a self,
        lab: &'a Lab,
        recorder: &'a Recorder,
        script: &'a Path,
        part: &'a ScriptPart,
        artifacts: &'a Path,
    ) -> BoxFuture<'a, Result<ScriptVerdict>>;
}

/// What is in a script.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScriptOutline {
    /// Its set-ups, in the order of the file.
    pub setups: Vec<ScriptSetup>,
    /// Its tests, in the order of the file. Without any, the script is one test.
    pub tests: Vec<ScriptTest>,
}

/// A function that brings a lab to a state that tests want.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScriptSetup {
    /// The function's name, which no other set-up or test of the script has.
    pub name: String,
    /// The set-up whose state it goes on from; a lab that has just booted when there is none.
    pub after: Option<String>,
    /// Digest of the code that makes this state: that of the set-up, of those before it, and of all
    /// that they may use. Two of equal keys make the same of the same lab.
    pub key: String,
}

/// A function that is a test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScriptTest {
    /// The function's name.
    pub name: String,
    /// The set-up whose state it wants; a lab that has just booted when there is none.
    pub setup: Option<String>,
}

/// What of a script is to be run.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum ScriptPart {
    /// All of it, from its first line to its last.
    #[default]
    Whole,
    /// One of its set-ups.
    Setup {
        /// Its name.
        name: String,
        /// What the set-up before it returned; null when there is none.
        value: Value,
    },
    /// One of its tests.
    Test {
        /// Its name.
        name: String,
        /// What its set-up returned; null when there is none.
        value: Value,
    },
}

/// How a script, or a part of it, ended.
#[derive(Debug)]
pub enum ScriptVerdict {
    /// Well, with what a set-up returned; null for all else.
    Passed(Value),
    /// The test failed, with why.
    Failed(Box<FailureDetail>),
    /// A machine, or something else beneath it, did.
    Infrastructure(Box<FailureDetail>),
}

/// Run a part of a script on this lab; gives what it returned.
pub(super) async fn run_part(
    runner: Option<&dyn ScriptRunner>,
    lab: &Lab,
    script: &Path,
    part: &ScriptPart,
    artifacts: &Path,
) -> Result<Value> {
    let Some(runner) = runner else {
        return Err(Error::Program {
            program: script.display().to_string(),
            reason: "nothing here runs scripts; use `attest run`".to_owned(),
        });
    };
    let ran = runner.run(lab, lab.recorder(), script, part, artifacts);
    match ran.await? {
        ScriptVerdict::Passed(value) => Ok(value),
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

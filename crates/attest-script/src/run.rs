//! Tests of manifests that are scripts.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use attest::events::{FailureDetail, Part as Waited, ProcessKind, Verdict};
use attest::run::{ScriptOutline, ScriptPart, ScriptRunner, ScriptVerdict};
use attest::{Error, Lab, Recorder};
use attest_rpc::types::{Description, Part, PartKind, Script, ScriptEnd, Surface};
use attest_rpc::{Served, Session};
use attest_vmm::BoxFuture;
use tokio::net::unix::pipe;
use tokio::sync::oneshot;

use crate::error::ScriptError;
use crate::outline::outline;
use crate::output::follow;
use crate::package::Package;
use crate::process::{Ending, ScriptProcess};
use crate::python::Python;

/// Runs scripts for [`attest::run`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Scripts;

impl ScriptRunner for Scripts {
    fn outline<'a>(&'a self, script: &'a Path) -> BoxFuture<'a, attest::Result<ScriptOutline>> {
        Box::pin(async move {
            let found = outline(script).await.map_err(broken(script))?;
            found.map_err(|detail| Error::Script {
                detail,
                is_test: true,
            })
        })
    }

    fn run<'a>(
        &'a self,
        lab: &'a Lab,
        recorder: &'a Recorder,
        script: &'a Path,
        part: &'a ScriptPart,
        artifacts: &'a Path,
    ) -> BoxFuture<'a, attest::Result<ScriptVerdict>> {
        Box::pin(async move {
            let ran = run(lab, recorder, script, part, artifacts).await;
            ran.map_err(broken(script))
        })
    }
}

fn broken(script: &Path) -> impl FnOnce(ScriptError) -> Error {
    |error| Error::Program {
        program: script.display().to_string(),
        reason: attest::chain(&error),
    }
}

async fn run(
    lab: &Lab,
    recorder: &Recorder,
    script: &Path,
    part: &ScriptPart,
    artifacts: &Path,
) -> Result<ScriptVerdict, ScriptError> {
    let failed = |source| ScriptError::Output {
        path: artifacts.to_owned(),
        source,
    };
    recorder.part(Waited::Client);
    std::fs::create_dir_all(artifacts).map_err(failed)?;
    let python = Python::find()?;
    let package = Package::place(attest::images::default_place().as_deref())?;
    let (output, output_end) = io::pipe().map_err(failed)?;
    let errors_end = output_end.try_clone().map_err(failed)?;
    let ends = (output_end.into(), errors_end.into());
    let (mut process, socket) =
        ScriptProcess::start(&python, package, script.parent(), Some(ends))?;
    let session = Arc::new(Session::new(
        description(script, part, artifacts),
        recorder.clone(),
    ));
    session.add(lab.clone());
    let output = pipe::Receiver::from_owned_fd(output.into()).map_err(failed)?;
    let serving = socket.serve(Arc::clone(&session));
    let (over, is_over) = oneshot::channel();
    let told = Arc::clone(&session);
    let ended = async move {
        // Its end, which follows, takes next to nothing; and then nobody knows any more.
        let ending = tokio::select! {
            _ = told.script_ended() => {
                let used = process.pid().and_then(attest::cpu_of_process);
                recorder.cpu_used(ProcessKind::Python, used, Duration::ZERO);
                process.ended().await
            }
            ending = process.ended() => ending,
        };
        // It is heard for as long as anybody listens.
        let _ = over.send(());
        ending
    };
    let following = follow(output, is_over, recorder);
    let (said, served, ending) = tokio::join!(following, serving, ended);
    Ok(judge(session.script_end(), &served, ending?, &said))
}

fn description(script: &Path, part: &ScriptPart, artifacts: &Path) -> Description {
    Description {
        surface: Surface::Attest,
        output: artifacts.to_owned(),
        script: Some(Script {
            path: script.to_owned(),
            name: script.display().to_string(),
        }),
        part: told_part(part),
        ..Description::default()
    }
}

fn told_part(part: &ScriptPart) -> Option<Part> {
    let (kind, name, value) = match part {
        ScriptPart::Whole => return None,
        ScriptPart::Setup { name, value } => (PartKind::Setup, name, value),
        ScriptPart::Test { name, value } => (PartKind::Test, name, value),
    };
    Some(Part {
        kind,
        function: name.clone(),
        value: value.clone(),
    })
}

fn judge(
    told: Option<ScriptEnd>,
    served: &Served,
    ending: Ending,
    said: &[String],
) -> ScriptVerdict {
    let detail = |message: String| {
        Box::new(FailureDetail {
            message,
            stdout: Some(said.join("\n")).filter(|said| !said.is_empty()),
            ..FailureDetail::default()
        })
    };
    let Some(told) = told else {
        let message = match served {
            Served::Unreadable(error) => attest::chain(error),
            Served::Left => ending.unexplained(),
        };
        return ScriptVerdict::Infrastructure(detail(message));
    };
    let message = || {
        if told.traceback.is_empty() {
            let ended = || format!("the script ended itself with code {}", told.code);
            return told.message.clone().unwrap_or_else(ended);
        }
        // Its last lines are the message.
        told.traceback.join("\n")
    };
    match told.verdict() {
        Verdict::Passed => ScriptVerdict::Passed(told.value.clone()),
        Verdict::Infrastructure => ScriptVerdict::Infrastructure(detail(message())),
        _ => ScriptVerdict::Failed(detail(message())),
    }
}

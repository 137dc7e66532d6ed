//! Tests of manifests that are scripts.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
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
use crate::process::{Ending, ScriptProcess, ScriptSocket};
use crate::python::Python;

/// Runs scripts for [`attest::run`].
#[derive(Debug, Default)]
pub struct Scripts {
    ahead: Mutex<Ahead>,
}

/// Pythons that are started before they have anything to do.
#[derive(Debug, Default)]
struct Ahead {
    ready: Vec<Ready>,
    /// How many parts of scripts in a directory will be run yet.
    expected: HashMap<PathBuf, usize>,
}

impl Ahead {
    /// Start what will be wanted, this many at most. Why one cannot be started is told when it has to be.
    fn fill(&mut self, script: &Path, at_once: usize) {
        let Some(directory) = script.parent() else {
            return;
        };
        let expected = self.expected.get(directory).copied().unwrap_or(0);
        let waiting = self.ready.iter().filter(|ready| ready.is_for(script));
        for _ in waiting.count()..expected.min(at_once) {
            let Ok(started) = Ready::start(script) else {
                return;
            };
            self.ready.push(started);
        }
    }
}

impl Scripts {
    /// One that was started ahead in the script's directory, else a new one.
    fn take(&self, script: &Path) -> Result<Ready, ScriptError> {
        let mut ahead = self.ahead.lock().expect("not poisoned");
        if let Some(expected) = script
            .parent()
            .and_then(|directory| ahead.expected.get_mut(directory))
        {
            *expected = expected.saturating_sub(1);
        }
        let found = ahead.ready.iter().position(|ready| ready.is_for(script));
        match found {
            Some(found) => Ok(ahead.ready.swap_remove(found)),
            None => Ready::start(script),
        }
    }

    /// Start the next, now that the last one is no longer waited for.
    fn start_ahead(&self, script: &Path) {
        self.ahead.lock().expect("not poisoned").fill(script, 1);
    }
}

/// A Python that imports attest's package, and waits to be told what to do.
#[derive(Debug)]
struct Ready {
    directory: Option<PathBuf>,
    process: ScriptProcess,
    socket: ScriptSocket,
    output: io::PipeReader,
}

impl Ready {
    fn start(script: &Path) -> Result<Self, ScriptError> {
        let failed = |source| ScriptError::Output {
            path: script.to_owned(),
            source,
        };
        let python = Python::find()?;
        let package = Package::place(attest::images::default_place().as_deref())?;
        let (output, output_end) = io::pipe().map_err(failed)?;
        let errors_end = output_end.try_clone().map_err(failed)?;
        let ends = (output_end.into(), errors_end.into());
        let directory = script.parent();
        let (process, socket) = ScriptProcess::start(&python, package, directory, Some(ends))?;
        Ok(Self {
            directory: directory.map(Path::to_owned),
            process,
            socket,
            output,
        })
    }

    fn is_for(&self, script: &Path) -> bool {
        self.directory.as_deref() == script.parent()
    }
}

impl ScriptRunner for Scripts {
    fn expect(&self, script: &Path, parts: usize, at_once: usize) {
        let Some(directory) = script.parent() else {
            return;
        };
        let mut ahead = self.ahead.lock().expect("not poisoned");
        *ahead.expected.entry(directory.to_owned()).or_default() += parts;
        ahead.fill(script, at_once);
    }

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
            let ran = self.run_on(lab, recorder, script, part, artifacts).await;
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

impl Scripts {
    async fn run_on(
        &self,
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
        let Ready {
            mut process,
            socket,
            output,
            ..
        } = self.take(script)?;
        let session = Arc::new(Session::new(
            description(script, part, artifacts),
            recorder.clone(),
        ));
        session.add(lab.clone());
        let output = pipe::Receiver::from_owned_fd(output.into()).map_err(failed)?;
        let serving = socket.serve(Arc::clone(&session));
        let (over, is_over) = oneshot::channel();
        let (gone, is_gone) = oneshot::channel::<()>();
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
            drop(gone);
            ending
        };
        let following = follow(output, is_over, recorder);
        let running = Arc::clone(&session);
        let next = async move {
            tokio::select! {
                () = running.script_runs() => self.start_ahead(script),
                // It ended before that.
                _ = is_gone => {}
            }
        };
        let (said, served, ending, ()) = tokio::join!(following, serving, ended, next);
        Ok(judge(session.script_end(), &served, ending?, &said))
    }
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

//! Tests of manifests that are scripts.

use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use attest::events::{EventKind, FailureDetail, LogLevel};
use attest::run::{ScriptRunner, ScriptVerdict};
use attest::{Error, Lab, Recorder};
use attest_rpc::types::{Description, Script, ScriptEnd, ScriptOutcome, Surface};
use attest_rpc::{Served, Session};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::net::unix::pipe;

use crate::error::ScriptError;
use crate::package::Package;
use crate::process::{Ending, ScriptProcess};
use crate::python::Python;

/// Lines of a script's own output that its report shows.
const SHOWN: usize = 200;
/// A longer line is cut there, bytes.
const LONGEST_LINE: u64 = 16 * 1024;

/// Runs scripts for [`attest::run`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Scripts;

impl ScriptRunner for Scripts {
    fn run<'a>(
        &'a self,
        lab: &'a Lab,
        recorder: &'a Recorder,
        script: &'a Path,
        artifacts: &'a Path,
    ) -> Pin<Box<dyn Future<Output = attest::Result<ScriptVerdict>> + Send + 'a>> {
        Box::pin(async move {
            let ran = run(lab, recorder, script, artifacts).await;
            ran.map_err(|error| Error::Program {
                program: script.display().to_string(),
                reason: attest::chain(&error),
            })
        })
    }
}

async fn run(
    lab: &Lab,
    recorder: &Recorder,
    script: &Path,
    artifacts: &Path,
) -> Result<ScriptVerdict, ScriptError> {
    let failed = |source| ScriptError::Output {
        path: artifacts.to_owned(),
        source,
    };
    std::fs::create_dir_all(artifacts).map_err(failed)?;
    let python = Python::find()?;
    let package = Package::place(attest::images::default_place().as_deref())?;
    let (output, output_end) = io::pipe().map_err(failed)?;
    let errors_end = output_end.try_clone().map_err(failed)?;
    let ends = (output_end.into(), errors_end.into());
    let (mut process, socket) =
        ScriptProcess::start(&python, package, script.parent(), Some(ends))?;
    let session = Arc::new(Session::new(
        description(script, artifacts),
        recorder.clone(),
    ));
    session.add(lab.clone());
    let output = pipe::Receiver::from_owned_fd(output.into()).map_err(failed)?;
    let (reader, writer) = socket.into_split();
    let serving = attest_rpc::serve(reader, writer, Arc::clone(&session));
    let (said, served, ending) = tokio::join!(follow(output, recorder), serving, process.ended());
    Ok(judge(session.script_end(), &served, ending?, &said))
}

fn description(script: &Path, artifacts: &Path) -> Description {
    Description {
        surface: Surface::Attest,
        output: artifacts.to_owned(),
        script: Some(Script {
            path: script.to_owned(),
            name: script.display().to_string(),
        }),
        ..Description::default()
    }
}

/// Every line becomes an event; the last ones are given back.
async fn follow(output: impl AsyncRead + Unpin, recorder: &Recorder) -> Vec<String> {
    use tokio::io::AsyncReadExt as _;
    let mut reader = BufReader::new(output);
    let mut kept = std::collections::VecDeque::new();
    loop {
        let mut line = Vec::new();
        let read = (&mut reader)
            .take(LONGEST_LINE)
            .read_until(b'\n', &mut line)
            .await;
        if !matches!(read, Ok(1..)) {
            return kept.into();
        }
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        recorder.record(EventKind::Log {
            level: LogLevel::Info,
            message: line.clone(),
            attributes: attest::events::Attributes::new(),
        });
        if kept.len() == SHOWN {
            kept.pop_front();
        }
        kept.push_back(line);
    }
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
        let message = match (served, ending) {
            (Served::Unreadable(error), _) => attest::chain(error),
            (_, Ending::Code(code)) => {
                format!("the script's Python ended with exit code {code}, and did not say why")
            }
            (_, Ending::Signal(signal)) => {
                format!("the script's Python was ended by signal {signal}")
            }
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
    match told.outcome {
        ScriptOutcome::Passed => ScriptVerdict::Passed,
        ScriptOutcome::Exit if told.code == 0 => ScriptVerdict::Passed,
        ScriptOutcome::MachineError => ScriptVerdict::Infrastructure(detail(message())),
        _ => ScriptVerdict::Failed(detail(message())),
    }
}

//! A run of the drop-in: machines, VLANs, the script's Python, the log.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use attest::events::{EventKind, LogLevel, Summary, Verdict, nanoseconds};
use attest::scripts::{AgentUse, ScriptsPlan, shared_directory};
use attest::{Lab, LabContext, Recorder, SnapshotUse};
use attest_report::{NixosJunit, NixosTerminal, NixosXml, Readers};
use attest_rpc::Session;
use attest_rpc::types::{Description, Script, Surface};
use attest_script::{Package, Python, ScriptProcess};

use super::arguments::Agent;
use super::base::Base;
use super::config::Configuration;
use super::end::{self, Refusal};
use super::script::{Done, Over, ScriptRun};
use crate::signals::Signals;
use crate::{orphans, output};

/// The script's name in tracebacks, as the NixOS test driver has it.
const SCRIPT_NAME: &str = "<string>";

/// Run it and give the exit code.
pub(super) fn run(configuration: Configuration, began: Instant) -> ExitCode {
    let runtime = match crate::command::runtime() {
        Ok(runtime) => runtime,
        Err(failure) => return failure.report(),
    };
    orphans::adopt();
    let over = runtime.block_on(run_async(configuration, began));
    orphans::end();
    runtime.shutdown_background();
    match over {
        Ok(Over::Code(code)) => ExitCode::from(u8::try_from(code & 0xff).unwrap_or(end::FAILED)),
        Ok(Over::Signal(signal)) => end::by_signal(signal),
        Err(refusal) => refusal.report(),
    }
}

async fn run_async(configuration: Configuration, began: Instant) -> Result<Over, Refusal> {
    let signals = Signals::watch()?;
    check_script(&configuration)?;
    // It starts while the lab is made.
    let python = Python::find()?;
    let package = Package::place(attest::images::default_place().as_deref())?;
    let (process, socket) = ScriptProcess::start(&python, package, None, None)?;
    let names: Vec<&str> = configuration
        .machines
        .iter()
        .map(|machine| machine.name.as_str())
        .collect();
    let base = Base::take(&names, configuration.keep_state)?;
    let (recorder, events) = Recorder::new(began);
    let readers = readers(&configuration)?;
    let consoles = tempfile::tempdir()?;
    let session = Arc::new(Session::new(
        description(&configuration, &base),
        recorder.clone(),
    ));
    let pumping = {
        let session = Arc::clone(&session);
        output::pump_with(events, readers, move |event| session.publish(event))
    };
    announce(&configuration, &base, &recorder);
    let made = make_lab(&configuration, &base, consoles.path(), &recorder).await;
    let done = match made {
        Ok(lab) => {
            session.add(lab);
            let run = ScriptRun {
                configuration: &configuration,
                session: Arc::clone(&session),
                recorder: recorder.clone(),
                process,
                signals,
            };
            run.drive(socket).await
        }
        Err(error) => {
            log(&recorder, LogLevel::TestError, &error.chain());
            Done {
                over: Over::Code(i32::from(end::FAILED)),
                verdict: Verdict::Infrastructure,
                took: began.elapsed(),
                failure: Some(error.detail()),
            }
        }
    };
    recorder.record(EventKind::TestEnded {
        verdict: done.verdict,
        duration_ns: nanoseconds(done.took),
        failure: done.failure,
        tries: 1,
    });
    clean_up(&session, &recorder).await;
    let mut summary = Summary::default();
    summary.count(done.verdict);
    recorder.own_cpu_used();
    recorder.end(summary);
    let written = pumping.await.expect("readers do not panic");
    written.map_err(|error| Refusal::failed(format!("a report cannot be written: {error}")))?;
    Ok(done.over)
}

/// It is known before anything is started, as far as it can be.
fn check_script(configuration: &Configuration) -> Result<(), Refusal> {
    let Some(path) = &configuration.script else {
        return Ok(());
    };
    std::fs::File::open(path)
        .and_then(|file| file.metadata())
        .and_then(|metadata| {
            if metadata.is_dir() {
                Err(std::io::ErrorKind::IsADirectory.into())
            } else {
                Ok(())
            }
        })
        .map_err(|error| {
            Refusal::failed(format!(
                "the test script {} cannot be read: {error}",
                path.display()
            ))
        })
}

fn readers(configuration: &Configuration) -> Result<Readers, Refusal> {
    let least = configuration.log_level;
    let mut readers = Readers::new();
    readers.add(NixosTerminal::new(anstream::stderr(), least));
    let unwritable = |path: &Path| {
        let path = path.display().to_string();
        move |error: std::io::Error| Refusal::failed(format!("{path} cannot be written: {error}"))
    };
    if let Some(path) = std::env::var_os("LOGFILE").filter(|path| !path.is_empty()) {
        let path = Path::new(&path);
        readers.add(NixosXml::create(path, least).map_err(unwritable(path))?);
    }
    if let Some(path) = &configuration.junit {
        readers.add(NixosJunit::create(path, least).map_err(unwritable(path))?);
    }
    Ok(readers)
}

fn description(configuration: &Configuration, base: &Base) -> Description {
    Description {
        surface: Surface::Nixos,
        output: configuration.output.clone(),
        script: configuration.script.as_ref().map(|path| Script {
            path: std::path::absolute(path).unwrap_or_else(|_| path.clone()),
            name: SCRIPT_NAME.to_owned(),
        }),
        part: None,
        interactive: configuration.interactive,
        global_timeout: Some(configuration.timeout.into()),
        debug_hook: configuration.debug_hook.clone(),
        log_level: configuration.log_level,
        base_dir: Some(base.path().to_owned()),
        shared_dir: Some(shared_directory(base.path())),
        keep_state: configuration.keep_state,
        ssh_offset: configuration.ssh_offset,
        lab: None,
    }
}

fn announce(configuration: &Configuration, base: &Base, recorder: &Recorder) {
    if !configuration.keep_state {
        let told = "Machine state will be reset. To keep it, pass --keep-machine-state";
        log(recorder, LogLevel::Info, told);
    }
    if let Some(reason) = &base.unusual {
        let told = format!(
            "the machines' state is in {}: {reason}",
            base.path().display()
        );
        log(recorder, LogLevel::Warning, &told);
    }
    if !configuration.unknown.is_empty() {
        let told = format!(
            "the configuration has what this driver does not know, and leaves out: {}",
            configuration.unknown.join(", ")
        );
        log(recorder, LogLevel::Warning, &told);
    }
}

async fn make_lab(
    configuration: &Configuration,
    base: &Base,
    consoles: &Path,
    recorder: &Recorder,
) -> attest::Result<Lab> {
    let mut plan = ScriptsPlan::new(base.path());
    plan.machines.clone_from(&configuration.machines);
    plan.vlans.clone_from(&configuration.vlans);
    plan.keep_state = configuration.keep_state;
    plan.agent = match configuration.agent {
        Agent::Auto => AgentUse::Auto,
        Agent::Never => AgentUse::Never,
    };
    // The script's own limits, and the global one, are all that there are.
    plan.timeouts.boot = configuration.timeout;
    plan.timeouts.shutdown = configuration.timeout;
    plan.timeouts.command = configuration.timeout;
    let context = LabContext {
        recorder: recorder.clone(),
        output: consoles.to_owned(),
        cache: None,
        snapshots: SnapshotUse::default(),
    };
    Lab::of_scripts(plan, context).await
}

/// The machines end, whoever is still in them.
async fn clean_up(session: &Session, recorder: &Recorder) {
    let began = Instant::now();
    recorder.record(EventKind::LogBegan {
        id: u64::MAX,
        message: "cleanup".to_owned(),
        subtest: false,
        attributes: attest::events::Attributes::new(),
    });
    session.close().await;
    recorder.record(EventKind::LogEnded {
        id: u64::MAX,
        duration_ns: nanoseconds(began.elapsed()),
        error: None,
    });
}

pub(super) fn log(recorder: &Recorder, level: LogLevel, message: &str) {
    recorder.record(EventKind::Log {
        level,
        message: message.to_owned(),
        attributes: attest::events::Attributes::new(),
    });
}

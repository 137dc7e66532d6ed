//! Virtual machines by start scripts of their own, as NixOS makes them (`run-NAME-vm`): attest adds
//! the arguments and the environment of the contract between such scripts and the NixOS test driver,
//! and takes the monitors, the console and the guest's root shell.

mod backdoor;
mod command;
mod ending;
mod monitor;
mod running;
mod sockets;

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use attest_lab::ProcessExit;
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::sync::mpsc;

use crate::output::Output;
use crate::probe::{self, KvmProbe};
use crate::qemu::console;
use crate::qmp::{Qmp, QmpError, QmpEvent};
use crate::{
    Ability, Backend, Body, BoxFuture, Choice, Launched, Launcher, MachineConfig, Program, SIGKILL,
    ScriptConfig, StartTimings, Started, Told, VmmError, Wanted,
};

use command::Paths;
use monitor::HumanMonitor;
use running::{Machine, Parts};
use sockets::{Connected, Sockets};

/// Runs the line. Every host has it.
const SHELL: &str = "/bin/sh";
/// A script that has closed its stderr has ended within milliseconds.
const ENDS: Duration = Duration::from_secs(1);
/// Bytes of its stdout that the words of a script that failed are taken from.
const PRINTED: usize = 64 * 1024;

/// Lines of its stderr that are told; all of them are in its log.
const TOLD_LINES: usize = 1000;

/// Runs machines by start scripts.
#[derive(Debug, Default)]
pub struct StartScript;

impl Backend for StartScript {
    fn name(&self) -> &'static str {
        "vm-script"
    }

    fn lacks(&self, ability: Ability) -> Option<&'static str> {
        match ability {
            Ability::Image
            | Ability::Kernel
            | Ability::Size
            | Ability::Disks
            | Ability::Networks => Some("its start script decides what it is made of"),
            Ability::Clock => Some("its clock and its entropy are its own"),
            Ability::Console | Ability::Reboot | Ability::PowerOff | Ability::Pause => None,
        }
    }

    /// What a script needs, nobody knows before it runs.
    fn host(&self, _: &Wanted) -> Result<(), VmmError> {
        Ok(())
    }

    fn start<'a>(
        &'a self,
        machine: MachineConfig,
        launcher: &'a dyn Launcher,
    ) -> BoxFuture<'a, Result<Started, VmmError>> {
        Box::pin(start(machine, launcher))
    }
}

/// Ends a script whose start is given up, and what it started.
struct Unfinished(Option<Arc<dyn Launched>>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(process) = &self.0 {
            process.signal_group(SIGKILL);
        }
    }
}

async fn start(machine: MachineConfig, launcher: &dyn Launcher) -> Result<Started, VmmError> {
    let began = Instant::now();
    let MachineConfig {
        name,
        body: Body::Script(script),
        log,
    } = machine
    else {
        return Err(VmmError::WrongBody {
            machine: machine.name,
            backend: "vm-script",
        });
    };
    let paths = Paths::of(&script);
    let sockets = Sockets::listen(&name, &paths)?;
    let failed = |action| VmmError::host(&name, action);
    let (program, ends) = program(&script, &paths).map_err(failed("its pipes cannot be made"))?;
    let (tell, told) = mpsc::unbounded_channel();
    let output = Output::follow(ends.words, log, Box::new(words(tell.clone())))
        .map_err(failed("its start script's output cannot be read"))?;
    let (ours, driver) = UnixStream::pair().map_err(failed("its sockets cannot be made"))?;
    let prepare = began.elapsed();
    let process = launcher
        .launch(program)
        .await
        .map_err(|source| VmmError::Lab {
            machine: name.clone(),
            source,
        })?;
    let mut unfinished = Unfinished(Some(Arc::clone(&process)));
    let mut script_run = Run {
        name,
        process,
        output,
        console: console::tee(ends.printed, ends.typed, ours),
        driver,
        within: script.connects_within,
    };
    let (events_sender, events) = mpsc::unbounded_channel();
    let reached = reach(sockets, &paths, events_sender);
    let reached = tokio::select! {
        reached = tokio::time::timeout(script.connects_within, reached) => match reached {
            Ok(Ok(reached)) => Ok(reached),
            Ok(Err(_)) => Err(script_run.failure().await),
            Err(_) => Err(script_run.idle()),
        },
        exit = script_run.process.exited() => Err(script_run.ended(exit).await),
    };
    let reached = reached?;
    let vmm = began.elapsed().saturating_sub(prepare);
    unfinished.0 = None;
    let chosen = accelerator(&reached.qmp).await.into_iter().collect();
    let Run {
        name,
        process,
        output,
        console,
        driver,
        ..
    } = script_run;
    let (agent, host) =
        UnixStream::pair().map_err(VmmError::host(&name, "its stream cannot be made"))?;
    let parts = Parts {
        name,
        process,
        qmp: reached.qmp,
        human: reached.human,
        events,
        console,
        output,
        may_reboot: script.allow_reboot,
        serving: backdoor::serve((reached.shell, reached.port), script.agent, tell, host),
    };
    Ok(Started {
        running: Box::new(Machine::new(parts)),
        agent,
        console: driver,
        chosen,
        told,
        timings: StartTimings { prepare, vmm },
    })
}

/// Tells the lines of a script's stderr, as far as they are not too many for people.
fn words(tell: mpsc::UnboundedSender<Told>) -> impl FnMut(&str) + Send {
    let mut left = TOLD_LINES;
    move |line| {
        if left > 0 && !line.is_empty() {
            left -= 1;
            // Whoever listens may be done.
            let _ = tell.send(Told::Words(line.to_owned()));
        }
    }
}

/// Our ends of what the script has as stdin, stdout and stderr.
struct Ends {
    typed: pipe::Sender,
    printed: pipe::Receiver,
    words: OwnedFd,
}

/// Pipes, as scripts expect: a socket cannot be opened by the name `/dev/stdout`.
fn program(script: &ScriptConfig, paths: &Paths) -> io::Result<(Program, Ends)> {
    let (input, typed) = io::pipe()?;
    let (printed, output) = io::pipe()?;
    let (words, errors) = io::pipe()?;
    let program = Program {
        path: PathBuf::from(SHELL),
        args: vec!["-c".into(), command::line(script, paths)],
        environment: command::environment(script),
        directory: Some(script.state.clone()),
        input: Some(input.into()),
        output: output.into(),
        errors: Some(errors.into()),
        fds: Vec::new(),
        listens: false,
    };
    let ends = Ends {
        typed: pipe::Sender::from_owned_fd(typed.into())?,
        printed: pipe::Receiver::from_owned_fd(printed.into())?,
        words: words.into(),
    };
    Ok((program, ends))
}

/// A QEMU that runs.
struct Reached {
    qmp: Qmp,
    human: HumanMonitor,
    shell: UnixStream,
    port: Option<UnixStream>,
}

async fn reach(
    sockets: Sockets,
    paths: &Paths,
    events: mpsc::UnboundedSender<QmpEvent>,
) -> io::Result<Reached> {
    let Connected {
        qmp,
        monitor,
        shell,
        port,
    } = sockets.accept(paths).await?;
    let qmp = async {
        let connected = Qmp::connect(qmp, events).await;
        connected.map_err(|error: QmpError| io::Error::other(error))
    };
    let (qmp, human) = tokio::try_join!(qmp, HumanMonitor::connect(monitor))?;
    Ok(Reached {
        qmp,
        human,
        shell,
        port,
    })
}

/// What executes the guest's instructions: the script decided.
async fn accelerator(qmp: &Qmp) -> Option<Choice> {
    let kvm = qmp.command("query-kvm", json!({})).await.ok()?;
    let is_kvm = kvm["enabled"].as_bool()?;
    let reason = match probe::kvm() {
        _ if is_kvm => "as the start script asks".to_owned(),
        KvmProbe::Usable => "the start script asks for no KVM".to_owned(),
        KvmProbe::Doubtful(reason) | KvmProbe::Unusable(reason) => reason,
    };
    Some(Choice {
        what: "accelerator",
        choice: if is_kvm { "kvm" } else { "tcg" }.to_owned(),
        reason,
    })
}

/// A script that was started, until its QEMU runs.
struct Run {
    name: String,
    process: Arc<dyn Launched>,
    output: Output,
    console: console::Watch,
    driver: UnixStream,
    within: Duration,
}

impl Run {
    /// It connected, and went no further: most often because it ends.
    async fn failure(&mut self) -> VmmError {
        match tokio::time::timeout(ENDS, self.process.exited()).await {
            Ok(exit) => self.ended(exit).await,
            Err(_) => self.idle(),
        }
    }

    fn idle(&self) -> VmmError {
        VmmError::ScriptIdle {
            machine: self.name.clone(),
            within: self.within,
            words: self.output.last_words(),
        }
    }

    async fn ended(&mut self, exit: ProcessExit) -> VmmError {
        let machine = self.name.clone();
        let how = match exit {
            ProcessExit::LabEnded => return VmmError::LabEnded { machine },
            ProcessExit::Code(code) => format!("exit code {code}"),
            ProcessExit::Signal(signal) => format!("signal {signal}"),
        };
        // What it left running may hold them open.
        let read = async {
            self.output.at_end().await;
            self.console.at_end().await;
        };
        let _ = tokio::time::timeout(ENDS, read).await;
        let mut words = self.output.last_words();
        let printed = self.printed().await;
        if !printed.is_empty() {
            words = format!("{words}; on stdout: {printed}");
        }
        VmmError::ScriptEnded {
            advice: ending::advice(&words),
            machine,
            how,
            words,
        }
    }

    /// The end of what it printed on stdout, as one line.
    async fn printed(&mut self) -> String {
        let mut printed = Vec::new();
        let mut stream = (&mut self.driver).take(PRINTED as u64);
        // The end follows, unless something of the script's lives on.
        let _ = tokio::time::timeout(ENDS, stream.read_to_end(&mut printed)).await;
        let printed = String::from_utf8_lossy(&printed);
        let lines: Vec<_> = printed
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        lines[lines.len().saturating_sub(5)..].join("; ")
    }
}

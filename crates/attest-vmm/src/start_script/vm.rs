//! Virtual machines by start scripts (`run-NAME-vm`).

use std::io;
use std::time::Instant;

use serde_json::json;
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use super::backdoor;
use super::command::{self, Paths};
use super::run::{self, Follow, Run, Up};
use super::running::{Machine, Parts};
use super::sockets::{Connected, Sockets};
use crate::human_monitor::HumanMonitor;
use crate::output::Output;
use crate::probe::{self, KvmProbe};
use crate::qmp::{Qmp, QmpError, QmpEvent};
use crate::{
    Ability, AgentStreams, Backend, Body, BoxFuture, Choice, Launcher, MachineConfig, StartTimings,
    Started, VmmError, Wanted,
};

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
            | Ability::Networks
            | Ability::RateLimits => Some("its start script decides what it is made of"),
            Ability::Clock => Some("its clock and its entropy are its own"),
            Ability::Balloon => Some("its start script decides which devices it has"),
            Ability::Jailer => Some("its start script decides what it runs in"),
            Ability::Snapshots => Some("its start script decides where its memory is"),
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

async fn start(machine: MachineConfig, launcher: &dyn Launcher) -> Result<Started, VmmError> {
    let began = Instant::now();
    let MachineConfig {
        name,
        body: Body::Script(script),
        log,
        tell,
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
    let (mut program, ends) = run::program().map_err(failed("its pipes cannot be made"))?;
    program.args = vec!["-c".into(), command::line(&script, &paths)];
    program.environment = command::environment(&script);
    program.directory = Some(script.state.clone());
    program.on_host_network = true;
    let output = Output::follow(ends.words, log, run::words(tell.clone()))
        .map_err(failed("its start script's output cannot be read"))?;
    let (agent, host) = UnixStream::pair().map_err(failed("its stream cannot be made"))?;
    let prepare = began.elapsed();
    let follow = Follow {
        name,
        printed: ends.printed,
        typed: ends.typed,
        output,
        within: script.connects_within,
    };
    let mut run = Run::start(program, follow, launcher).await?;
    let (events_sender, events) = mpsc::unbounded_channel();
    let reached = reach(sockets, &paths, events_sender);
    let reached = run.until(async { reached.await.ok() }).await?;
    let vmm = began.elapsed().saturating_sub(prepare);
    let chosen = accelerator(&reached.qmp).await.into_iter().collect();
    let Up {
        name,
        process,
        output,
        console,
        driver,
    } = run.up();
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
        agent: AgentStreams::One(agent),
        console: driver,
        chosen,
        timings: StartTimings { prepare, vmm },
    })
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

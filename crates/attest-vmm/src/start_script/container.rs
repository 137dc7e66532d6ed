//! Containers by start scripts (`run-NAME-nspawn`). attest's agent is started beside the script, and
//! enters the container when its init runs.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe;
use tokio::sync::{Mutex, watch};

use super::contained::{Contained, Control, Parts};
use super::run::{self, Follow, Run};
use super::scan::{Said, Scanned};
use crate::output::Output;
use crate::socket::pair;
use crate::{
    Ability, AgentStreams, Backend, Body, BoxFuture, ContainerScriptConfig, Launched, Launcher,
    MachineConfig, Program, StartTimings, Started, VmmError, Wanted,
};

/// Runs containers by start scripts.
#[derive(Debug, Default)]
pub struct ContainerScript;

impl Backend for ContainerScript {
    fn name(&self) -> &'static str {
        "container-script"
    }

    fn lacks(&self, ability: Ability) -> Option<&'static str> {
        match ability {
            Ability::Image
            | Ability::Kernel
            | Ability::Size
            | Ability::Disks
            | Ability::Networks
            | Ability::RateLimits => Some("its start script decides what it is made of"),
            Ability::Clock => Some("a container has the host's clock"),
            Ability::Pause => Some("a container cannot be paused"),
            Ability::Balloon => Some("a container takes of the host's memory what it uses"),
            Ability::Jailer => Some(crate::nspawn::NO_JAILER),
            Ability::Snapshots => Some(crate::nspawn::CANNOT_BE_SAVED),
            Ability::Console | Ability::Reboot | Ability::PowerOff => None,
        }
    }

    fn host(&self, wanted: &Wanted) -> Result<(), VmmError> {
        if nix::unistd::geteuid().is_root() {
            return Ok(());
        }
        Err(VmmError::Unable {
            machine: wanted.machine.clone(),
            reason: "start scripts of containers need root: run attest as root".to_owned(),
        })
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
        body: Body::ContainerScript(script),
        log,
        tell,
    } = machine
    else {
        return Err(VmmError::WrongBody {
            machine: machine.name,
            backend: "container-script",
        });
    };
    let failed = |action| VmmError::host(&name, action);
    let (mut program, ends) = run::program().map_err(failed("its pipes cannot be made"))?;
    program.args = vec!["-c".into(), (&script.command).into()];
    program.environment = vec![
        ("RUN_NSPAWN_ROOT_DIR".into(), script.state.clone().into()),
        ("RUN_NSPAWN_SHARED_DIR".into(), script.shared.clone().into()),
    ];
    let output = Output::follow(ends.words, log, run::words(tell.clone()))
        .map_err(failed("its start script's output cannot be read"))?;
    let (agent, agent_end) = pair().map_err(failed("its socket cannot be made"))?;
    let (entering, control, words) =
        entering(&script, agent_end).map_err(failed("its agent cannot be started"))?;
    Output::follow(words, None, run::words(tell)).map_err(failed("its agent cannot be heard"))?;
    let prepare = began.elapsed();
    let (printed, mut said) = Scanned::new(ends.printed);
    let follow = Follow {
        name,
        printed,
        typed: ends.typed,
        output,
        within: script.connects_within,
    };
    let mut run = Run::start(program, follow, launcher).await?;
    run.until(async {
        said.wait_for(|said| said.monitor.is_some())
            .await
            .ok()
            .map(drop)
    })
    .await?;
    let entering: Arc<dyn Launched> = launcher
        .launch(entering)
        .await
        .map_err(VmmError::lab(&run.name))?;
    let control = Arc::new(Mutex::new(Some(control)));
    tokio::spawn(let_in(said, Arc::clone(&control)));
    let vmm = began.elapsed().saturating_sub(prepare);
    let up = run.up();
    Ok(Started {
        running: Box::new(Contained::new(Parts {
            process: up.process,
            entering,
            control,
            console: up.console,
            output: up.output,
        })),
        agent: AgentStreams::One(agent),
        console: up.driver,
        chosen: Vec::new(),
        timings: StartTimings { prepare, vmm },
    })
}

/// The agent, which enters the container that it is told on its stdin; our end of that, and of what
/// it says.
fn entering(
    script: &ContainerScriptConfig,
    stream: OwnedFd,
) -> io::Result<(Program, pipe::Sender, OwnedFd)> {
    let (input, control) = io::pipe()?;
    let (words, errors) = io::pipe()?;
    let mut program = Program {
        path: script.agent.clone(),
        args: Vec::new(),
        environment: Vec::new(),
        directory: None,
        input: Some(input.into()),
        output: errors.into(),
        errors: None,
        fds: Vec::new(),
        listens: false,
        on_host_network: false,
        own_group: false,
    };
    let number = program.pass(stream);
    program.args = vec!["--enter".into(), number.to_string().into()];
    let control = pipe::Sender::from_owned_fd(control.into())?;
    Ok((program, control, words.into()))
}

/// Say which container to enter, as soon as there is one inside.
async fn let_in(mut said: watch::Receiver<Said>, control: Control) {
    // An error means that the script has ended before.
    let Ok(said) = said.wait_for(|said| said.is_up).await.map(|said| *said) else {
        return;
    };
    if let (Some(monitor), Some(control)) = (said.monitor, &mut *control.lock().await) {
        // One that is gone has said why.
        let _ = control.write_all(format!("{monitor}\n").as_bytes()).await;
    }
}

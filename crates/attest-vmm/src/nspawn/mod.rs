//! The `nspawn` backend: containers of systemd-nspawn.

mod arguments;
mod console;
mod running;

use std::path::PathBuf;
use std::time::Instant;

use crate::socket::pair;
use crate::{
    Ability, AgentStreams, Backend, Body, BoxFuture, Launcher, MachineConfig, Program,
    StartTimings, Started, VmmError, Wanted, installed_program,
};

pub(crate) use running::REBOOTS;

use running::Container;

/// The program's name.
pub const PROGRAM: &str = "systemd-nspawn";
/// Which packages have it.
const PACKAGES: &str = "install it: `apt install systemd-container` (Debian), `dnf install systemd-container` \
     (Fedora); Arch and NixOS have it";

/// Why no container is saved.
pub(crate) const CANNOT_BE_SAVED: &str = "processes of the host's kernel cannot be saved; a fresh container boots from the same \
     image";

/// Why there is no jailer around a container.
pub(crate) const NO_JAILER: &str = "it is Firecracker's; there is no VMM that could be put into it";

/// Runs machines as containers of systemd-nspawn.
#[derive(Debug, Default)]
pub struct Nspawn;

/// Whether containers can be run here, and with what; else why not, and what to do.
///
/// # Errors
/// The reason, for people.
pub fn probe() -> Result<PathBuf, String> {
    if !nix::unistd::geteuid().is_root() {
        return Err(
            "systemd-nspawn needs root: run attest as root, or choose the backend `qemu`"
                .to_owned(),
        );
    }
    installed_program(PROGRAM, PACKAGES)
}

impl Backend for Nspawn {
    fn name(&self) -> &'static str {
        "nspawn"
    }

    fn lacks(&self, ability: Ability) -> Option<&'static str> {
        match ability {
            Ability::Kernel => {
                Some("a container runs on the host's kernel; choose the backend `qemu`")
            }
            Ability::Disks => Some("a container has no disks; choose the backend `qemu`"),
            Ability::Clock => Some("a container has the host's clock"),
            Ability::Pause => Some("a container cannot be paused"),
            Ability::RateLimits => {
                Some("attest does not slow the host's own network and disks down for a container")
            }
            Ability::Balloon => Some("a container takes of the host's memory what it uses"),
            Ability::Jailer => Some(NO_JAILER),
            Ability::Snapshots => Some(CANNOT_BE_SAVED),
            Ability::Image
            | Ability::Size
            | Ability::Networks
            | Ability::Console
            | Ability::Reboot
            | Ability::PowerOff => None,
        }
    }

    fn host(&self, wanted: &Wanted) -> Result<(), VmmError> {
        probe().map(drop).map_err(VmmError::unable(&wanted.machine))
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
        body: Body::Container(container),
        log,
        ..
    } = machine
    else {
        return Err(VmmError::WrongBody {
            machine: machine.name,
            backend: "nspawn",
        });
    };
    let path = probe().map_err(VmmError::unable(&name))?;
    let failed = |action| VmmError::host(&name, action);
    let terminal = console::Terminal::open().map_err(failed("its console cannot be made"))?;
    let (agent, agent_end) = pair().map_err(failed("its socket cannot be made"))?;
    let (words, words_end) = std::io::pipe().map_err(failed("its pipe cannot be made"))?;
    let input = terminal
        .guest
        .try_clone()
        .map_err(failed("its console cannot be made"))?;
    let program = Program {
        path,
        args: arguments::build(&name, &container),
        environment: arguments::environment(),
        directory: None,
        input: Some(input),
        output: terminal.guest,
        errors: Some(words_end.into()),
        fds: vec![agent_end],
        listens: true,
        on_host_network: false,
        own_group: true,
    };
    let prepare = began.elapsed();
    let process = launcher
        .launch(program)
        .await
        .map_err(VmmError::lab(&name))?;
    let vmm = began.elapsed().saturating_sub(prepare);
    let console = terminal
        .driver
        .carry()
        .map_err(failed("its console cannot be read"))?;
    let running = Container::follow(process, words.into(), log)
        .map_err(failed("systemd-nspawn's output cannot be read"))?;
    Ok(Started {
        running: Box::new(running),
        agent: AgentStreams::One(agent),
        console,
        chosen: Vec::new(),
        timings: StartTimings { prepare, vmm },
    })
}

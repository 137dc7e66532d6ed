//! The `cloud-hypervisor` backend.
//!
//! Where a machine's memory is in a file that it was given, saving it writes no memory. Else Cloud Hypervisor has it in
//! a file of its own, of which it saves what was ever touched; such memory has no transparent huge pages, unless the
//! host gives them to files in memory, too. What goes on maps what was saved privately, so that all that go on from the
//! same share what they do not write. One that is saved again writes all of its memory, and the balloon of one gives the
//! host nothing back.

mod balloon;
mod calls;
mod command;
mod ending;
mod events;
mod landlock;
mod memory;
mod plan;
mod running;
mod save;
mod saved;
mod version;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use attest_lab::LastingTap;

use crate::limits;
use crate::microvm::agent::AgentListener;
use crate::microvm::api::Api;
use crate::microvm::control::{Control, refused};
use crate::microvm::given::{Given, MEMORY};
use crate::microvm::launch::{Starting, listening};
use crate::microvm::place::{Place, Use};
use crate::microvm::serial::{Console, Pipes};
use crate::output::Output;
use crate::probe;
use crate::{
    Ability, AgentStreams, Backend, BoxFuture, Choice, Launcher, MachineConfig, Reach,
    StartTimings, Started, VirtualConfig, VmmError, Wanted,
};

use calls::{Confinement, Zone};
use command::Inherited;
use memory::Memory;
use running::{Machine, Own, Parts};

pub use version::{CloudHypervisorProgram, PROGRAM, find};

/// As people know it.
const NAME: &str = "Cloud Hypervisor";
/// The name of its API's socket in the place.
const API: &str = "api";
/// What all paths of its API begin with.
const ROOT: &str = "/api/v1";

/// Runs machines under Cloud Hypervisor.
#[derive(Debug)]
pub struct CloudHypervisor {
    program: PathBuf,
    memo: PathBuf,
}

impl CloudHypervisor {
    /// The one on `PATH`. What is found out about it is remembered in this directory.
    pub fn new(memo: &Path) -> Self {
        Self::of(Path::new(PROGRAM), memo)
    }

    /// This one.
    pub fn of(program: &Path, memo: &Path) -> Self {
        Self {
            program: program.to_owned(),
            memo: memo.to_owned(),
        }
    }

    /// What there is.
    ///
    /// # Errors
    /// Why there is none that can be used.
    pub fn found(&self) -> Result<CloudHypervisorProgram, String> {
        find(&self.program, &self.memo)
    }

    /// Whether it runs guests here, for people.
    ///
    /// # Errors
    /// Why not.
    pub fn probe(&self) -> Result<String, String> {
        let found = self.found()?;
        probe::kvm_runs(&found.path)?;
        Ok(format!("{} {}", found.path.display(), found.version))
    }

    fn found_for(&self, machine: &str) -> Result<CloudHypervisorProgram, VmmError> {
        self.found().map_err(VmmError::unable(machine))
    }
}

impl Backend for CloudHypervisor {
    fn name(&self) -> &'static str {
        "cloud-hypervisor"
    }

    fn lacks(&self, ability: Ability) -> Option<&'static str> {
        match ability {
            Ability::Image
            | Ability::Kernel
            | Ability::Size
            | Ability::Disks
            | Ability::Networks
            | Ability::RateLimits
            | Ability::Console
            | Ability::Clock
            | Ability::Reboot
            | Ability::PowerOff
            | Ability::Pause
            | Ability::Balloon
            | Ability::Snapshots => None,
            Ability::Jailer => Some("Landlock confines it; a jailer is Firecracker's"),
        }
    }

    fn host(&self, wanted: &Wanted) -> Result<(), VmmError> {
        self.found_for(&wanted.machine)?;
        limits::check(&command::LIMITS, wanted)?;
        probe::kvm_for(&wanted.machine, NAME, wanted.accelerator)
    }

    fn identity<'a>(
        &'a self,
        wanted: &'a Wanted,
    ) -> BoxFuture<'a, Result<Vec<(&'static str, String)>, VmmError>> {
        Box::pin(async {
            let found = self.found_for(&wanted.machine)?;
            let program = format!("{} ({})", found.version, found.path.display());
            Ok(vec![
                (NAME, program),
                ("processor of the host", probe::processor()),
                ("kernel of the host", probe::kernel()),
            ])
        })
    }

    fn start<'a>(
        &'a self,
        machine: MachineConfig,
        launcher: &'a dyn Launcher,
    ) -> BoxFuture<'a, Result<Started, VmmError>> {
        Box::pin(self.start_machine(machine, launcher))
    }
}

impl CloudHypervisor {
    async fn start_machine(
        &self,
        machine: MachineConfig,
        launcher: &dyn Launcher,
    ) -> Result<Started, VmmError> {
        let began = Instant::now();
        let (name, log) = (machine.name.clone(), machine.log.clone());
        let found = self.found_for(&name)?;
        let (mut machine, Reach::Names(names)) = machine.into_virtual(self.name())? else {
            return Err(VmmError::WrongBody {
                machine: name,
                backend: self.name(),
            });
        };
        let place = Arc::new(Place::open(names.directory));
        let ends = Ends::new(&name, log, &place, machine.waits)?;
        let mut program = command::program(&found, &place, ends.inherited);
        let ram = std::mem::take(&mut machine.ram);
        let memory = Memory::new(ram, machine.memory);
        let is_confined = landlock::is_there() && memory.takes_rule();
        let chosen = chosen(is_confined);
        let sees_interfaces = !machine.cards.is_empty() && Path::new(plan::INTERFACES).is_dir();
        let confinement = plan::confinement(is_confined, sees_interfaces);
        let given = Given {
            name: &name,
            vmm: NAME,
            place: &place,
            launcher,
        };
        if let Some(file) = &memory.file {
            let file = file.try_clone();
            let file = file.map_err(VmmError::host(&name, "its memory cannot be opened again"))?;
            given.file(MEMORY, file, Use::Writes, &mut program).await?;
        }
        // Also what goes on may boot again.
        given.kernel(&machine, &mut program).await?;
        given.disks(&mut machine, &mut program).await?;
        let prepare = began.elapsed();
        let process = launcher.launch(program).await;
        let process = process.map_err(VmmError::lab(&name))?;
        let starting = Starting::new(&name, NAME, process, ends.output);
        let control = Control {
            api: Api::new(ends.api, ROOT, calls::words)
                .await
                .map_err(refused(&name, NAME, "open its API"))?,
            name,
            vmm: NAME,
        };
        let runs = begin(&control, &machine, &names.taps, memory.zone(), &confinement).await;
        if let Err(error) = runs {
            return Err(starting.failure(error).await);
        }
        let vmm = began.elapsed().saturating_sub(prepare);
        let (process, output) = starting.started();
        let parts = Parts {
            process,
            output,
            events: ends.events,
            off: ends.off,
            console: ends.console.watch,
            own: Own {
                control,
                place,
                memory,
                taps: names.taps,
                confinement,
                balloon: machine.balloon,
            },
        };
        Ok(Started {
            running: Box::new(Machine::new(parts)),
            agent: AgentStreams::Many(ends.agent),
            console: ends.console.drivers,
            chosen,
            timings: StartTimings { prepare, vmm },
        })
    }
}

/// Our ends of all that Cloud Hypervisor inherits, and theirs.
struct Ends {
    inherited: Inherited,
    api: tokio::net::UnixStream,
    events: tokio::sync::mpsc::UnboundedReceiver<events::Event>,
    off: Arc<AtomicBool>,
    output: Output,
    console: Console,
    agent: AgentListener,
}

impl Ends {
    fn new(
        machine: &str,
        log: Option<PathBuf>,
        place: &Arc<Place>,
        waits: bool,
    ) -> Result<Self, VmmError> {
        let failed = || VmmError::host(machine, "its sockets cannot be made");
        let agent = AgentListener::new(Arc::clone(place)).map_err(failed())?;
        // A guest is told nothing of that it goes on: its agent is called.
        let agent = if waits { agent.calling() } else { agent };
        let (console, (input, output)) = Pipes::with_terminal()
            .and_then(Console::of_pipes)
            .map_err(VmmError::host(machine, "its console cannot be made"))?;
        let (listener, api) = listening(&place.entry(API)).map_err(failed())?;
        let (happens, happened) = std::io::pipe().map_err(failed())?;
        let (said, errors) = std::io::pipe().map_err(failed())?;
        let off = Arc::<AtomicBool>::default();
        let is_off = Arc::clone(&off);
        let hear = Box::new(move |line: &str| {
            if ending::tells_of_off(line) {
                is_off.store(true, Ordering::SeqCst);
            }
        });
        Ok(Self {
            inherited: Inherited {
                api: listener,
                events: happened.into(),
                input,
                output,
                errors: errors.into(),
            },
            api,
            events: events::follow(happens.into()).map_err(failed())?,
            off,
            output: Output::follow(said.into(), log, hear).map_err(failed())?,
            console,
            agent,
        })
    }
}

/// Let the machine run. One that waits for what it is to be only has to be there.
async fn begin(
    control: &Control,
    machine: &VirtualConfig,
    taps: &[LastingTap],
    memory: Zone,
    confinement: &Confinement,
) -> Result<(), VmmError> {
    if machine.waits {
        let ping: Result<serde_json::Value, _> = control.api.get("/vmm.ping").await;
        return ping.map(drop).map_err(control.refused("answer"));
    }
    let config = plan::machine(machine, taps, memory, confinement.clone());
    control
        .put("/vm.create", &config, "take the machine")
        .await?;
    let booted = control.api.put_nothing("/vm.boot").await;
    booted.map_err(control.refused("start the guest"))
}

fn chosen(is_confined: bool) -> Vec<Choice> {
    let (choice, reason) = if is_confined {
        ("Landlock", "it may open nothing but what is its machine's")
    } else {
        (
            "no",
            "the kernel has no Landlock, or not that of Linux 6.2, or the machine's memory is in a file without a name",
        )
    };
    vec![Choice {
        what: "confinement",
        choice: choice.to_owned(),
        reason: reason.to_owned(),
    }]
}

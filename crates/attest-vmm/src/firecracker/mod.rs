//! The `firecracker` backend.

mod balloon;
mod boot;
mod calls;
mod command;
mod ending;
mod plan;
mod running;
mod save;
mod version;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc::UnboundedSender;

use crate::limits;
use crate::microvm::agent::AgentListener;
use crate::microvm::api::Api;
use crate::microvm::control::{Control, refused};
use crate::microvm::given::Given;
use crate::microvm::launch::{Appearing, Starting};
use crate::microvm::place::Place;
use crate::microvm::serial::{Console, Pipes};
use crate::output::Output;
use crate::probe;
use crate::{
    Ability, AgentStreams, Backend, BoxFuture, Choice, Launcher, MachineConfig, Program, Reach,
    StartTimings, Started, Told, VirtualConfig, VmmError, Wanted,
};

use running::{Machine, Own, Parts};
use save::{Memory, SavedMemory};

pub use version::{FirecrackerProgram, PROGRAM, find};

/// As people know it.
pub(super) const NAME: &str = "Firecracker";
/// Runs machines under Firecracker.
#[derive(Debug)]
pub struct Firecracker {
    program: PathBuf,
    jailer: PathBuf,
    memo: PathBuf,
}

impl Firecracker {
    /// The one on `PATH`. What is found out about it is remembered in this directory.
    pub fn new(memo: &Path) -> Self {
        Self::of(Path::new(PROGRAM), Path::new(command::JAILER), memo)
    }

    /// This one, with its jailer.
    pub fn of(program: &Path, jailer: &Path, memo: &Path) -> Self {
        Self {
            program: program.to_owned(),
            jailer: jailer.to_owned(),
            memo: memo.to_owned(),
        }
    }

    /// What there is.
    ///
    /// # Errors
    /// Why there is none that can be used.
    pub fn found(&self) -> Result<FirecrackerProgram, String> {
        find(&self.program, &self.memo)
    }

    /// Whether it runs guests here, for people.
    ///
    /// # Errors
    /// Why not.
    pub fn probe(&self) -> Result<String, String> {
        let found = self.found()?;
        probe::kvm_runs(&found.path)?;
        let saves = found.cannot_pause().map(|reason| format!("; {reason}"));
        let (path, version) = (found.path.display(), found.version);
        Ok(format!("{path} {version}{}", saves.unwrap_or_default()))
    }

    /// Whether it can be put into jails here, for people.
    ///
    /// # Errors
    /// Why not.
    pub fn probe_jail(&self) -> Result<String, String> {
        command::why_no_jail(&self.program, &self.jailer)
            .map_or_else(|| Ok("chosen by default".to_owned()), Err)
    }

    fn found_for(&self, machine: &str) -> Result<FirecrackerProgram, VmmError> {
        self.found().map_err(VmmError::unable(machine))
    }
}

impl Backend for Firecracker {
    fn name(&self) -> &'static str {
        "firecracker"
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
            | Ability::Jailer
            | Ability::Snapshots => None,
        }
    }

    fn host(&self, wanted: &Wanted) -> Result<(), VmmError> {
        let machine = wanted.machine.as_str();
        let found = self.found_for(machine)?;
        limits::check(&command::limits(&found), wanted)?;
        probe::kvm_for(machine, NAME, wanted.accelerator)?;
        let pauses = [Ability::Pause, Ability::Snapshots];
        if wanted
            .abilities
            .iter()
            .any(|wanted| pauses.contains(wanted))
            && let Some(reason) = found.cannot_pause()
        {
            return Err(VmmError::unable(machine)(reason));
        }
        self.jailed_as(wanted).map(drop)
    }

    fn identity<'a>(
        &'a self,
        wanted: &'a Wanted,
    ) -> BoxFuture<'a, Result<Vec<(&'static str, String)>, VmmError>> {
        Box::pin(async {
            let found = self.found_for(&wanted.machine)?;
            let program = format!("{} ({})", found.version, found.path.display());
            Ok(vec![
                ("Firecracker", program),
                ("format of its snapshots", found.snapshots),
                ("processor of the host", probe::processor()),
                ("kernel of the host", probe::kernel()),
            ])
        })
    }

    fn jailed_as(&self, wanted: &Wanted) -> Result<Option<u32>, VmmError> {
        command::jailed_as(&self.program, &self.jailer, wanted)
    }

    fn start<'a>(
        &'a self,
        machine: MachineConfig,
        launcher: &'a dyn Launcher,
    ) -> BoxFuture<'a, Result<Started, VmmError>> {
        Box::pin(self.start_machine(machine, launcher))
    }
}

impl Firecracker {
    async fn start_machine(
        &self,
        machine: MachineConfig,
        launcher: &dyn Launcher,
    ) -> Result<Started, VmmError> {
        let began = Instant::now();
        let name = machine.name.clone();
        let found = self.found_for(&name)?;
        let (log, tell) = (machine.log.clone(), machine.tell.clone());
        let (mut machine, Reach::Names(names)) = machine.into_virtual(self.name())? else {
            return Err(VmmError::WrongBody {
                machine: name,
                backend: self.name(),
            });
        };
        let jailer = names.jailed_as.map(|user| (self.jailer.as_path(), user));
        let failed = || VmmError::host(&name, "its sockets cannot be made");
        let place = command::place(&found, names.directory, names.jailed_as).map_err(failed())?;
        let ends = Ends::new(&name, Arc::new(place), (log, tell))?;
        let mut program = command::program(&found, jailer, &ends.place, &machine);
        let memory = ends.give_all(&mut machine, &mut program, launcher).await?;
        let Ends {
            place,
            agent,
            console,
            output,
            theirs,
            errors,
            ..
        } = ends;
        (program.input, program.output, program.errors) = (Some(theirs.0), theirs.1, Some(errors));
        let appearing = Appearing::in_directory(&place.entry(".")).map_err(failed())?;
        let prepare = began.elapsed();
        let process = launcher.launch(program).await;
        let process = process.map_err(VmmError::lab(&name))?;
        let starting = Starting::new(&name, NAME, process, output);
        let socket = starting.api(appearing, &place.entry(plan::API)).await?;
        let api = Api::new(socket, "", calls::words).await;
        let control = Control {
            name: name.clone(),
            vmm: NAME,
            api: api.map_err(refused(&name, NAME, "open its API"))?,
        };
        let pci = command::needs_pci(&machine);
        if !machine.waits {
            let source = plan::boot(&machine, found.boot_timer(), pci);
            if let Err(error) = boot::boot(&control, &machine, &names.taps, source).await {
                return Err(starting.failure(error).await);
            }
        }
        let vmm = began.elapsed().saturating_sub(prepare);
        let no_jail = jailer.is_none().then(|| {
            let reason = command::why_no_jail(&self.program, &self.jailer);
            reason.unwrap_or_else(|| "as asked".to_owned())
        });
        let (process, output) = starting.started();
        let parts = Parts {
            process,
            output,
            console: console.watch,
            runs: !machine.waits,
            own: Own {
                control,
                place,
                cannot_pause: found.cannot_pause(),
                memory,
                knows_touched: found.knows_what_was_touched(version::has_swap()),
                taps: names.taps,
                balloon: machine.balloon,
            },
        };
        Ok(Started {
            running: Box::new(Machine::new(parts)),
            agent: AgentStreams::Many(agent),
            console: console.drivers,
            chosen: chosen(no_jail.as_deref(), pci),
            timings: StartTimings { prepare, vmm },
        })
    }
}

/// What is there before a Firecracker is: its place, and the ends of all that goes to and fro.
struct Ends {
    name: String,
    place: Arc<Place>,
    agent: AgentListener,
    console: Console,
    output: Output,
    /// For its stdin and stdout.
    theirs: (OwnedFd, OwnedFd),
    /// For its stderr.
    errors: OwnedFd,
}

impl Ends {
    /// With where its log goes, and who hears what is to be told of it.
    fn new(
        name: &str,
        place: Arc<Place>,
        (log, tell): (Option<PathBuf>, UnboundedSender<Told>),
    ) -> Result<Self, VmmError> {
        let failed = || VmmError::host(name, "its sockets cannot be made");
        let agent = AgentListener::new(Arc::clone(&place)).map_err(failed())?;
        let (console, theirs) = Pipes::new()
            .and_then(Console::of_pipes)
            .map_err(VmmError::host(name, "its console cannot be made"))?;
        let (words, errors) = command::log(&place).map_err(failed())?;
        let output = Output::follow(words, log, hear_boot_timer(tell)).map_err(failed())?;
        Ok(Self {
            name: name.to_owned(),
            place,
            agent,
            console,
            output,
            theirs,
            errors,
        })
    }

    /// Let it find memory, kernel, initramfs and disks.
    async fn give_all(
        &self,
        machine: &mut VirtualConfig,
        program: &mut Program,
        launcher: &dyn Launcher,
    ) -> Result<SavedMemory, VmmError> {
        let given = Given {
            name: &self.name,
            vmm: NAME,
            place: &self.place,
            launcher,
        };
        let memory = Memory::of(machine).map_err(VmmError::host(
            &self.name,
            "its memory cannot be opened again",
        ))?;
        let memory = memory.give(&given, program).await?;
        if !machine.waits {
            // What goes on has its kernel in its memory.
            given.kernel(machine, program).await?;
        }
        given.disks(machine, program).await?;
        Ok(memory)
    }
}

/// Tells how long a guest took to boot, as Firecracker measured it.
fn hear_boot_timer(tell: UnboundedSender<Told>) -> Box<dyn FnMut(&str) + Send> {
    Box::new(move |line| {
        if let Some(time) = ending::boot_time(line) {
            // Nobody listens to a machine that is given up.
            let _ = tell.send(Told::Booted(time));
        }
    })
}

fn chosen(no_jail: Option<&str>, pci: bool) -> Vec<Choice> {
    let jail = match no_jail {
        None => (
            "yes",
            "attest is root, and firecracker and jailer are static",
        ),
        Some(reason) => ("no", reason),
    };
    let bus = if pci {
        ("PCI", "it has more devices than fit on MMIO")
    } else {
        ("MMIO", "the fastest to boot")
    };
    let choice = |what, (choice, reason): (&str, &str)| Choice {
        what,
        choice: choice.to_owned(),
        reason: reason.to_owned(),
    };
    vec![choice("jail", jail), choice("bus of its devices", bus)]
}

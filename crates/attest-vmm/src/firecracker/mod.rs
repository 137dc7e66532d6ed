//! The `firecracker` backend.

mod balloon;
mod calls;
mod command;
mod ending;
mod plan;
mod running;
mod save;
mod version;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use attest_lab::LastingTap;

use crate::limits;
use crate::microvm::agent::{AgentListener, SOCKET};
use crate::microvm::api::Api;
use crate::microvm::control::{Control, refused};
use crate::microvm::given::Given;
use crate::microvm::launch::{Appearing, Starting};
use crate::microvm::serial::{Console, Pipes};
use crate::output::Output;
use crate::probe;
use crate::{
    Ability, AgentStreams, Backend, BoxFuture, Choice, Launcher, MachineConfig, Reach,
    StartTimings, Started, Told, VirtualConfig, VmmError, Wanted,
};

use calls::{Action, ActionType, BalloonDevice, Entropy, Vsock};
use running::{Machine, Parts};
use save::Memory;

pub use version::{FirecrackerProgram, PROGRAM, find};

/// As people know it.
pub(super) const NAME: &str = "Firecracker";
/// Seconds between two looks at a guest's memory, where it has a balloon.
const STATISTICS_EVERY: u16 = 1;

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
        let (name, log, tell) = (
            machine.name.clone(),
            machine.log.clone(),
            machine.tell.clone(),
        );
        let found = self.found_for(&name)?;
        let (mut machine, Reach::Names(names)) = machine.into_virtual(self.name())? else {
            return Err(VmmError::WrongBody {
                machine: name,
                backend: self.name(),
            });
        };
        let failed = || VmmError::host(&name, "its sockets cannot be made");
        let jailer = names.jailed_as.map(|user| (self.jailer.as_path(), user));
        let place = command::place(&found, names.directory, names.jailed_as).map_err(failed())?;
        let place = Arc::new(place);
        let agent = AgentListener::new(Arc::clone(&place)).map_err(failed())?;
        let (console, theirs) = Pipes::new()
            .and_then(Console::of_pipes)
            .map_err(VmmError::host(&name, "its console cannot be made"))?;
        let (words, errors) = command::log(&place).map_err(failed())?;
        let hear = hear_boot_timer(tell);
        let output = Output::follow(words, log, hear).map_err(failed())?;
        let pci = command::needs_pci(&machine);
        let mut program = command::program(&found, jailer, &place, pci);
        (program.input, program.output, program.errors) = (Some(theirs.0), theirs.1, Some(errors));
        let memory = Memory::prepare(&mut machine, jailer.is_some())
            .map_err(VmmError::host(&name, "there is no memory to save it in"))?;
        let given = Given {
            name: &name,
            vmm: NAME,
            place: &place,
            launcher,
        };
        let memory = memory.give(&given, &mut program).await?;
        if !machine.waits {
            // What goes on has its kernel in its memory.
            given.kernel(&machine, &mut program).await?;
        }
        given.disks(&mut machine, &mut program).await?;
        let appearing = Appearing::in_directory(&place.entry(".")).map_err(failed())?;
        let prepare = began.elapsed();
        let process = launcher
            .launch(program)
            .await
            .map_err(|source| VmmError::Lab {
                machine: name.clone(),
                source,
            })?;
        let starting = Starting::new(&name, NAME, process, output);
        let socket = starting.api(appearing, &place.entry(plan::API)).await?;
        let control = Control {
            name: name.clone(),
            vmm: NAME,
            api: Api::new(socket, "", calls::words).await.map_err(refused(
                &name,
                NAME,
                "open its API",
            ))?,
        };
        if !machine.waits {
            let boot = plan::boot(&machine, found.boot_timer(), pci);
            if let Err(error) = self::boot(&control, &machine, &names.taps, boot).await {
                return Err(starting.failure(error).await);
            }
        }
        let vmm = began.elapsed().saturating_sub(prepare);
        let (process, output) = starting.started();
        let knows_touched = found.knows_what_was_touched(version::has_swap());
        let parts = Parts {
            process,
            output,
            console: console.watch,
            control,
            place,
            cannot_pause: found.cannot_pause(),
            memory: memory.saved(knows_touched),
            taps: names.taps,
            balloon: machine.balloon,
        };
        Ok(Started {
            running: Box::new(Machine::new(parts)),
            agent: AgentStreams::Many(agent),
            console: console.drivers,
            chosen: chosen(jailer.is_some(), pci),
            timings: StartTimings { prepare, vmm },
        })
    }
}

/// Tell it of the machine, and let the machine run.
async fn boot(
    control: &Control,
    machine: &VirtualConfig,
    taps: &[LastingTap],
    boot: calls::BootSource,
) -> Result<(), VmmError> {
    control
        .put("/machine-config", &plan::machine(machine), "take its size")
        .await?;
    let kernel = "take its kernel (an ELF, or since 1.17 a bzImage)";
    control.put("/boot-source", &boot, kernel).await?;
    for (index, disk) in machine.disks.iter().enumerate() {
        let drive = plan::drive(index, disk);
        let path = format!("/drives/{}", drive.id);
        let what = format!("take its disk `{}`", disk.serial);
        control.put(&path, &drive, what).await?;
    }
    for (index, (card, tap)) in machine.cards.iter().zip(taps).enumerate() {
        let card = plan::card(index, card, tap);
        let path = format!("/network-interfaces/{}", card.iface_id);
        let what = format!("take its card {index}, over the TAP {}", tap.name());
        control.put(&path, &card, what).await?;
    }
    let vsock = Vsock {
        guest_cid: plan::GUEST_CID,
        uds_path: SOCKET,
    };
    control.put("/vsock", &vsock, "make its vsock").await?;
    control
        .put("/entropy", &Entropy {}, "make its source of randomness")
        .await?;
    if machine.balloon {
        let balloon = BalloonDevice {
            amount_mib: 0,
            deflate_on_oom: true,
            stats_polling_interval_s: STATISTICS_EVERY,
        };
        control
            .put("/balloon", &balloon, "make its balloon")
            .await?;
    }
    let start = Action {
        action_type: ActionType::InstanceStart,
    };
    control.put("/actions", &start, "start the guest").await
}

/// Tells how long a guest took to boot, as Firecracker measured it.
fn hear_boot_timer(tell: tokio::sync::mpsc::UnboundedSender<Told>) -> Box<dyn FnMut(&str) + Send> {
    Box::new(move |line| {
        if let Some(time) = ending::boot_time(line) {
            // Nobody listens to a machine that is given up.
            let _ = tell.send(Told::Booted(time));
        }
    })
}

fn chosen(is_jailed: bool, pci: bool) -> Vec<Choice> {
    let jail = if is_jailed {
        (
            "yes",
            "attest is root, and firecracker and jailer are static",
        )
    } else {
        (
            "no",
            "as asked, or not root, or no static firecracker with its jailer on PATH",
        )
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

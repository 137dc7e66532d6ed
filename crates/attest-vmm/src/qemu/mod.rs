//! The `qemu` backend.

mod arguments;
mod cards;
mod choices;
pub(crate) mod console;
mod ending;
mod running;
mod survey;
mod tsc;
mod version;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use attest_lab::ProcessExit;
use tokio::net::UnixStream;
use tokio::sync::{OnceCell, mpsc};

use crate::output::Output;
use crate::probe;
use crate::qmp::{Qmp, QmpError};
use crate::socket::pair;
use crate::{
    Ability, Accelerator, AgentStreams, Backend, BoxFuture, Launched, Launcher, MachineConfig,
    Program, Reach, SIGKILL, StartTimings, Started, VirtualConfig, VmmError, Wanted, Wire,
};

use arguments::{Chosen, Sockets};
use running::{Machine, Parts};

pub use survey::{Feature, survey};
pub use version::{PROGRAM, QemuMissing, QemuProgram, find};

/// A QEMU greets after about 20 ms; a program that says nothing for this long is none.
const GREETS: Duration = Duration::from_secs(30);
/// A QEMU that has closed its monitor has exited within milliseconds; then nobody waits longer.
const ENDS: Duration = Duration::from_secs(1);

/// Runs machines under QEMU.
#[derive(Debug)]
pub struct Qemu {
    memo: PathBuf,
    first: Option<tsc::Reading>,
    tsc_khz: OnceCell<Option<u64>>,
}

impl Qemu {
    /// What is found out about QEMU is remembered in this directory.
    pub fn new(memo: &Path) -> Self {
        // The second reading is taken at the first start: usually nobody waits for it.
        Self {
            memo: memo.to_owned(),
            first: tsc::Reading::take(),
            tsc_khz: OnceCell::new(),
        }
    }

    fn find(&self, name: &str, machine: &VirtualConfig) -> Result<QemuProgram, VmmError> {
        version::find(machine.qemu.program.as_deref(), &self.memo).map_err(|source| {
            VmmError::Missing {
                machine: name.to_owned(),
                source,
            }
        })
    }

    async fn tsc_khz(&self, accelerator: Accelerator) -> Option<u64> {
        let first = self.first.filter(|_| accelerator == Accelerator::Tcg)?;
        let find_out = async || {
            if let Some(khz) = tsc::remembered(&self.memo) {
                return Some(khz);
            }
            let measured = first.frequency().await;
            if let Some(khz) = measured {
                tsc::remember(&self.memo, khz);
            }
            measured
        };
        *self.tsc_khz.get_or_init(find_out).await
    }
}

impl Backend for Qemu {
    fn name(&self) -> &'static str {
        "qemu"
    }

    fn lacks(&self, ability: Ability) -> Option<&'static str> {
        match ability {
            Ability::Image
            | Ability::Kernel
            | Ability::Size
            | Ability::Disks
            | Ability::Networks
            | Ability::Console
            | Ability::Clock
            | Ability::Reboot
            | Ability::PowerOff
            | Ability::Pause
            | Ability::Snapshots => None,
            Ability::RateLimits => {
                Some("attest does not set QEMU's limits; choose the backend `firecracker`")
            }
            Ability::Balloon => {
                Some("attest gives QEMU no balloon; choose the backend `firecracker`")
            }
            Ability::Jailer => Some("it is Firecracker's; choose the backend `firecracker`"),
        }
    }

    fn host(&self, wanted: &Wanted) -> Result<(), VmmError> {
        let machine = wanted.machine.as_str();
        version::find(None, &self.memo).map_err(|source| VmmError::Missing {
            machine: machine.to_owned(),
            source,
        })?;
        choices::accelerator(machine, wanted.accelerator, probe::kvm()).map(drop)
    }

    fn identity<'a>(
        &'a self,
        wanted: &'a Wanted,
    ) -> BoxFuture<'a, Result<Vec<(&'static str, String)>, VmmError>> {
        Box::pin(self.identity_of(wanted))
    }

    fn start<'a>(
        &'a self,
        machine: MachineConfig,
        launcher: &'a dyn Launcher,
    ) -> BoxFuture<'a, Result<Started, VmmError>> {
        Box::pin(self.start_machine(machine, launcher))
    }
}

/// Ends a QEMU whose start is given up.
struct Unfinished(Option<Arc<dyn Launched>>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(process) = &self.0 {
            process.signal(SIGKILL);
        }
    }
}

impl Qemu {
    async fn identity_of(&self, wanted: &Wanted) -> Result<Vec<(&'static str, String)>, VmmError> {
        let machine = wanted.machine.as_str();
        let found = version::find(None, &self.memo).map_err(|source| VmmError::Missing {
            machine: machine.to_owned(),
            source,
        })?;
        let (accelerator, _) = choices::accelerator(machine, wanted.accelerator, probe::kvm())?;
        let version = found.version.map_or_else(
            || "unknown".to_owned(),
            |version| format!("{}.{}.{}", version.major, version.minor, version.micro),
        );
        let mut identity = vec![
            ("QEMU", format!("{version} ({})", found.path.display())),
            ("accelerator", accelerator.name().to_owned()),
        ];
        match accelerator {
            // The guest's processor is the host's, and its kernel's part of it, too.
            Accelerator::Kvm => {
                identity.push(("processor of the host", probe::processor()));
                identity.push(("kernel of the host", probe::kernel()));
            }
            // The guest was told the frequency of the host's counter, and sees that.
            Accelerator::Tcg => {
                let mhz = self
                    .tsc_khz(accelerator)
                    .await
                    .map(|khz| (khz + 500) / 1000);
                let mhz = mhz.map_or_else(|| "none".to_owned(), |mhz| format!("{mhz} MHz"));
                identity.push(("time stamp counter of the host", mhz));
            }
        }
        Ok(identity)
    }

    async fn start_machine(
        &self,
        machine: MachineConfig,
        launcher: &dyn Launcher,
    ) -> Result<Started, VmmError> {
        let began = Instant::now();
        let (name, log) = (machine.name.clone(), machine.log.clone());
        let (machine, Reach::Inherits(wires)) = machine.into_virtual("qemu")? else {
            return Err(VmmError::WrongBody {
                machine: name,
                backend: "qemu",
            });
        };
        let found = self.find(&name, &machine)?;
        cards::check(&name, &wires, &found)?;
        let (accelerator, choice) =
            choices::accelerator(&name, machine.qemu.accelerator, probe::kvm())?;
        let tsc_khz = self.tsc_khz(accelerator).await;
        let (fast, mut chosen) =
            choices::kernel_arguments(accelerator, &found, tsc_khz, &machine.kernel_arguments);
        chosen.insert(0, choice);
        let calibrates = accelerator == Accelerator::Tcg && tsc_khz.is_none();
        let path = found.path.clone();
        let ends = Ends::new(
            found.path,
            &name,
            (machine, wires),
            Chosen {
                accelerator,
                fast: &fast,
                calibrates,
            },
        )
        .map_err(VmmError::host(&name, "its sockets cannot be made"))?;
        let output = Output::follow(ends.output, log, Box::new(|_| ()))
            .map_err(VmmError::host(&name, "QEMU's output cannot be read"))?;
        let prepare = began.elapsed();
        let process = launcher
            .launch(ends.program)
            .await
            .map_err(VmmError::lab(&name))?;
        let mut unfinished = Unfinished(Some(Arc::clone(&process)));
        let (sender, events) = mpsc::unbounded_channel();
        let qmp = match connect(ends.qmp, sender).await {
            Ok(qmp) => qmp,
            Err(error) => return Err(refusal(name, path, &*process, &output, error).await),
        };
        let vmm = began.elapsed().saturating_sub(prepare);
        unfinished.0 = None;
        let (ours, console) = ends.drivers_console;
        let (output_end, input_end) = ends.console.into_split();
        let console_watch = console::tee(output_end, input_end, ours);
        let parts = Parts {
            name,
            process,
            qmp,
            events,
            console: console_watch,
            output,
            accelerator,
        };
        Ok(Started {
            running: Box::new(Machine::new(parts)),
            agent: AgentStreams::One(ends.agent),
            console,
            chosen,
            timings: StartTimings { prepare, vmm },
        })
    }
}

/// QEMU with all that it inherits, and our ends.
struct Ends {
    program: Program,
    output: OwnedFd,
    qmp: UnixStream,
    console: UnixStream,
    agent: UnixStream,
    drivers_console: (UnixStream, UnixStream),
}

impl Ends {
    fn new(
        path: PathBuf,
        name: &str,
        (machine, wires): (VirtualConfig, Vec<Wire>),
        chosen: Chosen<'_>,
    ) -> std::io::Result<Self> {
        let (qmp, qmp_end) = pair()?;
        let (console, console_end) = pair()?;
        let (agent, agent_end) = pair()?;
        let (output, output_end) = std::io::pipe()?;
        let mut program = Program {
            path,
            args: Vec::new(),
            environment: Vec::new(),
            directory: None,
            input: None,
            output: output_end.into(),
            errors: None,
            fds: Vec::new(),
            listens: false,
            on_host_network: false,
            own_group: false,
        };
        let sockets = Sockets {
            qmp: program.pass(qmp_end),
            console: program.pass(console_end),
            agent: program.pass(agent_end),
        };
        let pass = &mut |fd| program.pass(fd);
        program.args = arguments::build(name, machine, wires, chosen, sockets, pass);
        Ok(Self {
            program,
            output: output.into(),
            qmp,
            console,
            agent,
            drivers_console: UnixStream::pair()?,
        })
    }
}

async fn connect(
    stream: UnixStream,
    events: mpsc::UnboundedSender<crate::qmp::QmpEvent>,
) -> Result<Qmp, QmpError> {
    let silent = |_| {
        Err(QmpError::Protocol(format!(
            "nothing for {} s",
            GREETS.as_secs()
        )))
    };
    tokio::time::timeout(GREETS, Qmp::connect(stream, events))
        .await
        .unwrap_or_else(silent)
}

/// Why a QEMU that was started does not answer.
async fn refusal(
    machine: String,
    program: PathBuf,
    process: &dyn Launched,
    output: &Output,
    source: QmpError,
) -> VmmError {
    if source != QmpError::Closed {
        return VmmError::NotQemu {
            machine,
            program,
            source,
        };
    }
    // It closed its monitor after its last words; if it lives on, that does not matter.
    let by_itself = tokio::time::timeout(ENDS, process.exited()).await;
    if by_itself.is_err() {
        process.signal(SIGKILL);
    }
    let exit = match by_itself {
        Ok(exit) => exit,
        Err(_) => process.exited().await,
    };
    if exit == ProcessExit::LabEnded {
        return VmmError::LabEnded { machine };
    }
    output.at_end().await;
    let words = output.last_words();
    match (by_itself, exit) {
        (Ok(_), ProcessExit::Signal(signal)) => VmmError::Killed {
            machine,
            signal,
            words,
        },
        _ => VmmError::Refused { machine, words },
    }
}

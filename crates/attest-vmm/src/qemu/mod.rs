//! The `qemu` backend.

mod arguments;
mod console;
mod running;
mod version;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Instant;

use attest_lab::{LabProcess, Spawn};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use crate::probe::{self, KvmProbe};
use crate::qmp::Qmp;
use crate::{
    Accelerator, Backend, BoxFuture, Choice, MachineConfig, MachineType, StartTimings, Started, VmmError,
};

use running::{Machine, Output};

pub use version::{PROGRAM, QemuMissing, QemuProgram, find};

/// QEMU before this needs `norandmaps` to be fast under TCG: measured, see ARCHITECTURE.
const KEEPS_TRANSLATIONS: u32 = 10;

/// Runs machines under QEMU.
#[derive(Debug)]
pub struct Qemu {
    memo: PathBuf,
}

impl Qemu {
    /// What is found out about QEMU is remembered in this directory.
    pub fn new(memo: &Path) -> Self {
        Self { memo: memo.to_owned() }
    }
}

impl Backend for Qemu {
    fn name(&self) -> &'static str {
        "qemu"
    }

    fn check(&self, machine: &MachineConfig) -> Result<(), VmmError> {
        version::find(machine.qemu.program.as_deref(), &self.memo)
            .map(drop)
            .map_err(|source| VmmError::Missing { machine: machine.name.clone(), source })
    }

    fn start<'a>(&'a self, machine: MachineConfig, lab: &'a LabProcess) -> BoxFuture<'a, Result<Started, VmmError>> {
        Box::pin(self.start_machine(machine, lab))
    }
}

/// Our end of a socket pair, and QEMU's.
fn pair(machine: &str) -> Result<(UnixStream, OwnedFd), VmmError> {
    let failed = |source| VmmError::Host { machine: machine.to_owned(), action: "a socket pair cannot be made", source };
    let (near, far) = std::os::unix::net::UnixStream::pair().map_err(failed)?;
    near.set_nonblocking(true).map_err(failed)?;
    Ok((UnixStream::from_std(near).map_err(failed)?, far.into()))
}

impl Qemu {
    async fn start_machine(&self, machine: MachineConfig, lab: &LabProcess) -> Result<Started, VmmError> {
        let began = Instant::now();
        let name = machine.name.clone();
        let program = version::find(machine.qemu.program.as_deref(), &self.memo)
            .map_err(|source| VmmError::Missing { machine: name.clone(), source })?;
        let (accelerator, mut chosen) = choose_accelerator(machine.qemu.accelerator, probe::kvm());
        let fast = fast_arguments(accelerator, &program, &machine.kernel_arguments, &mut chosen);
        let (qmp, qmp_end) = pair(&name)?;
        let (console, console_end) = pair(&name)?;
        let (agent, agent_end) = pair(&name)?;
        let (output, output_end) = std::io::pipe()
            .map_err(|source| VmmError::Host { machine: name.clone(), action: "a pipe cannot be made", source })?;
        let log = machine.log.clone();
        let mut spawn = Spawn::default();
        spawn.program.clone_from(&program.path);
        spawn.output = Some(output_end.into());
        let sockets = arguments::Sockets {
            qmp: spawn.pass(qmp_end),
            console: spawn.pass(console_end),
            agent: spawn.pass(agent_end),
        };
        spawn.args = arguments::build(machine, accelerator, &fast, &sockets, &mut |fd| spawn.pass(fd));
        let prepare = began.elapsed();
        let process = lab.spawn(spawn).await.map_err(|source| VmmError::Lab { machine: name.clone(), source })?;
        let output = Output::follow(output, log);
        let (events, events_reader) = mpsc::unbounded_channel();
        let Ok(qmp) = Qmp::connect(qmp, events).await else {
            process.exited().await;
            return Err(VmmError::Refused { machine: name, words: output.last_words().await });
        };
        let vmm = began.elapsed().saturating_sub(prepare);
        let (watch, console) = console::tee(console, &name)?;
        let running = Machine::new(process, qmp, events_reader, watch, output);
        Ok(Started {
            running: Box::new(running),
            agent,
            console,
            chosen,
            timings: StartTimings { prepare, vmm },
        })
    }
}

fn choose_accelerator(forced: Option<Accelerator>, kvm: KvmProbe) -> (Accelerator, Vec<Choice>) {
    let (accelerator, reason) = match (forced, kvm) {
        (Some(accelerator), _) => (accelerator, "as asked".to_owned()),
        (None, KvmProbe::Usable) => (Accelerator::Kvm, "KVM runs guests here".to_owned()),
        (None, KvmProbe::Unusable(reason)) => (Accelerator::Tcg, reason),
    };
    let choice = Choice { what: "accelerator", choice: accelerator.name().to_owned(), reason };
    (accelerator, vec![choice])
}

/// Kernel arguments that make a guest under TCG fast, unless the machine says otherwise.
fn fast_arguments(accelerator: Accelerator, program: &QemuProgram, own: &[String], chosen: &mut Vec<Choice>) -> Vec<&'static str> {
    let keeps = program.version.is_some_and(|version| version.major >= KEEPS_TRANSLATIONS);
    if accelerator != Accelerator::Tcg || keeps || own.iter().any(|argument| argument == "randmaps") {
        return Vec::new();
    }
    chosen.push(Choice {
        what: "address randomisation",
        choice: "off in the guest (norandmaps)".to_owned(),
        reason: "TCG before QEMU 10 translates every program anew when its addresses move; \
                 kernel argument `randmaps` keeps it on"
            .to_owned(),
    });
    vec!["norandmaps"]
}

impl Accelerator {
    /// As on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }
}

impl MachineType {
    /// As in the manifest and for QEMU.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Microvm => "microvm",
            Self::Q35 => "q35",
        }
    }
}

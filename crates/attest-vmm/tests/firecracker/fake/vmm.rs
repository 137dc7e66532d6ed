//! The states of a microVM, and which calls each of them allows.

use std::fs::{File, OpenOptions};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, watch};

use super::calls::{
    Action, ActionType, Balloon, BalloonUpdate, BootSource, Drive, Entropy, MachineConfig,
    NetworkInterface, SnapshotCreate, SnapshotLoad, Vm, VmState,
};
use super::devices::{Devices, open_drive, open_tap};
use super::kernel::{command_line, is_kernel};
use super::{Arguments, Firecracker, Log, snapshot};
use crate::common::board::{Board, GuestEnd, Memory, Serial};
use crate::common::guest;
use crate::common::program::Own;
use crate::common::vsock::Vsock;

/// Nothing, or what is answered.
pub(super) type Outcome = Result<Option<Value>, Fault>;

/// A refusal.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) words: String,
    /// Whether the process ends.
    pub(super) is_fatal: bool,
}

impl Fault {
    /// Fact: a failed configuration call leaves the process alive and reusable.
    pub(super) fn refused(words: impl Into<String>) -> Self {
        Self {
            words: words.into(),
            is_fatal: false,
        }
    }
}

const DONE: Outcome = Ok(None);
/// Fact: 32 vCPUs; kernel command line 2048 bytes.
const VCPUS: u8 = 32;
const COMMAND_LINE: usize = 2048;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    NotStarted,
    Running,
    Paused,
}

/// One Firecracker.
pub(super) struct Vmm {
    pub(super) firecracker: Firecracker,
    arguments: Arguments,
    pub(super) own: Arc<Own>,
    log: Log,
    exits: mpsc::UnboundedSender<i32>,
    state: State,
    runs: watch::Sender<bool>,
    /// Whether something was configured that a snapshot would bring.
    on_boot_path: bool,
    kernel: Option<(BootSource, File)>,
    pub(super) devices: Devices,
    pub(super) memory: Option<Arc<Mutex<Memory>>>,
    pub(super) vsock: Option<Arc<Vsock>>,
}

impl Vmm {
    pub(super) fn new(
        firecracker: Firecracker,
        arguments: Arguments,
        own: Arc<Own>,
        log: Log,
        exits: mpsc::UnboundedSender<i32>,
    ) -> Self {
        Self {
            firecracker,
            arguments,
            own,
            log,
            exits,
            state: State::NotStarted,
            runs: watch::Sender::new(false),
            on_boot_path: false,
            kernel: None,
            devices: Devices::default(),
            memory: None,
            vsock: None,
        }
    }

    fn before_start(&mut self) -> Result<(), Fault> {
        if self.state != State::NotStarted {
            return Err(Fault::refused(
                "The requested operation is not supported after starting the microVM.",
            ));
        }
        Ok(())
    }

    fn after_start(&self) -> Result<(), Fault> {
        if self.state == State::NotStarted {
            return Err(Fault::refused(
                "The requested operation is not supported before starting the microVM.",
            ));
        }
        Ok(())
    }

    /// A call of the way that ends in a boot, not in a load.
    fn boots(&mut self) -> Result<(), Fault> {
        self.before_start()?;
        self.on_boot_path = true;
        Ok(())
    }

    pub(super) fn describe(&self) -> Value {
        let state = match self.state {
            State::NotStarted => "Not started",
            State::Running => "Running",
            State::Paused => "Paused",
        };
        let version = self.version_text();
        json!({ "id": "vm", "state": state, "vmm_version": version, "app_name": "Firecracker" })
    }

    pub(super) fn version(&self) -> Value {
        json!({ "firecracker_version": self.version_text() })
    }

    fn version_text(&self) -> String {
        let (major, minor, patch) = self.firecracker.version;
        format!("{major}.{minor}.{patch}")
    }

    pub(super) fn configure(&mut self, machine: MachineConfig) -> Outcome {
        self.boots()?;
        if !(1..=VCPUS).contains(&machine.vcpu_count) {
            return Err(Fault::refused(
                "Machine config error: The number of vCPUs must be greater than 0, less than 32 and must be 1 or an \
                 even number if SMT is enabled.",
            ));
        }
        if machine.mem_size_mib == 0 {
            return Err(Fault::refused(
                "Machine config error: The memory size (MiB) is either 0, or not a multiple of the configured page \
                 size.",
            ));
        }
        self.devices.machine = machine;
        DONE
    }

    pub(super) fn boot_source(&mut self, source: BootSource) -> Outcome {
        self.boots()?;
        let open = |path: &str| self.own.open(path, OpenOptions::new().read(true));
        let kernel = open(&source.kernel_image_path).map_err(|error| {
            Fault::refused(format!(
                "Boot source error: The kernel file cannot be opened: {error}"
            ))
        })?;
        if let Some(initrd) = &source.initrd_path {
            open(initrd).map_err(|error| {
                Fault::refused(format!(
                    "Boot source error: The initrd file cannot be opened due to invalid path or invalid permissions. \
                     {error}"
                ))
            })?;
        }
        if command_line(&source).len() >= COMMAND_LINE {
            return Err(Fault::refused(
                "Boot source error: The kernel command line is invalid: Invalid cmdline capacity provided.",
            ));
        }
        self.kernel = Some((source, kernel));
        DONE
    }

    /// Fact: `InsertBlockDevice` and its like plug devices in after the start, where there is PCI.
    fn boots_or_plugs(&mut self) -> Result<(), Fault> {
        if self.state != State::NotStarted && !self.arguments.pci {
            return Err(Fault::refused("PCI is not enabled"));
        }
        self.boots()
    }

    pub(super) fn drive(&mut self, drive: Drive) -> Outcome {
        self.boots_or_plugs()?;
        open_drive(&drive, &self.own).map_err(|words| {
            Fault::refused(format!(
                "Drive config error: Unable to create the virtio block device: {words}"
            ))
        })?;
        self.devices
            .drives
            .retain(|known| known.drive_id != drive.drive_id);
        self.devices.drives.push(drive);
        DONE
    }

    pub(super) fn card(&mut self, card: NetworkInterface) -> Outcome {
        self.boots_or_plugs()?;
        open_tap(&card.host_dev_name, &self.firecracker).map_err(|words| {
            Fault::refused(format!(
                "Network config error: Could not create the network device: {words}"
            ))
        })?;
        self.devices
            .cards
            .retain(|known| known.iface_id != card.iface_id);
        self.devices.cards.push(card);
        DONE
    }

    pub(super) fn vsock(&mut self, vsock: super::calls::Vsock) -> Outcome {
        self.boots()?;
        let device = self.bind_vsock(&vsock.uds_path).map_err(|words| {
            Fault::refused(format!(
                "Vsock config error: Cannot create backend for vsock device: {words}"
            ))
        })?;
        self.vsock = Some(device);
        self.devices.vsock = Some(vsock);
        DONE
    }

    pub(super) fn bind_vsock(&self, path: &str) -> Result<Arc<Vsock>, String> {
        // Fact: the UDS path must fit SUN_LEN; a path relative to the process's working directory works.
        assert!(path.len() < 108, "a path that no socket can have: {path}");
        Vsock::bind(&self.own.path(path), self.runs.subscribe(), &self.own.tasks)
            .map_err(|error| format!("Error binding to the host-side Unix socket: {error}"))
    }

    pub(super) fn entropy(&mut self, entropy: Entropy) -> Outcome {
        self.boots()?;
        self.devices.entropy = Some(entropy);
        DONE
    }

    pub(super) fn balloon(&mut self, balloon: Balloon) -> Outcome {
        self.boots()?;
        if balloon.amount_mib > self.devices.machine.mem_size_mib {
            return Err(Fault::refused(
                "Balloon config error: Amount of pages requested is too large.",
            ));
        }
        self.devices.balloon = Some(balloon);
        DONE
    }

    pub(super) fn update_balloon(&mut self, update: &BalloonUpdate) -> Outcome {
        self.after_start()?;
        let Some(balloon) = &mut self.devices.balloon else {
            return Err(Fault::refused(
                "Balloon update error: Failed perform action on device: Device not found",
            ));
        };
        balloon.amount_mib = update.amount_mib;
        DONE
    }

    pub(super) fn balloon_statistics(&self) -> Outcome {
        self.after_start()?;
        let Some(balloon) = &self.devices.balloon else {
            return Err(Fault::refused(
                "Internal VMM error: Failed perform action on device: Device not found",
            ));
        };
        let (mib, pages) = (balloon.amount_mib, balloon.amount_mib * 256);
        Ok(Some(
            json!({ "target_pages": pages, "actual_pages": pages, "target_mib": mib, "actual_mib": mib }),
        ))
    }

    pub(super) fn act(&mut self, action: &Action) -> Outcome {
        match action.action_type {
            ActionType::InstanceStart => self.start(),
            ActionType::FlushMetrics | ActionType::SendCtrlAltDel => {
                self.after_start()?;
                DONE
            }
        }
    }

    fn start(&mut self) -> Outcome {
        self.before_start()?;
        let failed = |words: &str| Fault::refused(format!("Start microvm error: {words}"));
        let Some((source, kernel)) = &self.kernel else {
            return Err(failed("Cannot start microvm without kernel configuration."));
        };
        let mut line = command_line(source);
        let line_length = line.len() + self.devices.arguments(self.arguments.pci);
        self.devices
            .fit(self.arguments.pci)
            .map_err(|words| failed(&words))?;
        if line_length >= COMMAND_LINE {
            return Err(failed(
                "Could not attach device: MMIO transport error: Failed to allocate requested resourc: Inserting string \
                 would make command line too long.",
            ));
        }
        is_kernel(kernel, self.firecracker.version.1 >= 17).map_err(|words| {
            failed(&format!(
                "System configuration error: Cannot load kernel due to invalid memory configuration or invalid kernel \
                 image: Kernel Loader: {words}"
            ))
        })?;
        line.truncate(COMMAND_LINE);
        let memory = Memory::new(self.devices.machine.mem_size_mib << 20);
        let board = self.board(memory, line);
        let script = self.firecracker.guest.clone();
        self.own.tasks.spawn(guest::boot(board, script));
        self.become_state(State::Running);
        DONE
    }

    fn board(&mut self, memory: Memory, command_line: String) -> Board {
        let memory = Arc::new(Mutex::new(memory));
        self.memory = Some(Arc::clone(&memory));
        let (log, timer, exits) = (self.log.clone(), self.boot_timer(), self.exits.clone());
        let typed = self.own.take_input();
        let typed = typed.map(|typed| pipe::Receiver::from_owned_fd(typed).unwrap());
        Board {
            runs: self.runs.subscribe(),
            memory,
            serial: Serial::on(self.own.output.try_clone().unwrap()),
            typed: Arc::new(tokio::sync::Mutex::new(typed)),
            vsock: self.vsock.clone(),
            ends: Arc::new(move |end| {
                let code = match end {
                    // Fact: x86 has no power-off: after the guest's `poweroff` the process stays alive.
                    GuestEnd::Off => return,
                    // Fact: guest `reboot` with `reboot=k` ends the process; guest reset 0.
                    GuestEnd::Reset => 0,
                    GuestEnd::Breaks(code) => code,
                };
                let _ = exits.send(code);
            }),
            // Its guest is told: its connections are reset.
            is_called: false,
            booted: Arc::new(move |address| {
                if timer == Some(address) {
                    log.line(
                        "INFO",
                        "Guest-boot-time = 123456 us 123 ms, 1234 CPU us 1 CPU ms",
                    );
                }
            }),
            command_line,
        }
    }

    /// Where it is: its window was moved with 1.13.
    fn boot_timer(&self) -> Option<u64> {
        let since_13 = self.firecracker.version >= (1, 13, 0);
        let address = if since_13 { 0xc000_0000 } else { 0xd000_0000 };
        self.arguments.boot_timer.then_some(address)
    }

    fn become_state(&mut self, state: State) {
        self.state = state;
        self.runs.send_replace(state == State::Running);
    }

    /// To pause what is paused, and to resume what runs, is no error.
    pub(super) fn change(&mut self, vm: &Vm) -> Outcome {
        self.after_start()?;
        self.become_state(match vm.state {
            VmState::Paused => State::Paused,
            VmState::Resumed => State::Running,
        });
        DONE
    }

    /// Fact: taken only while paused.
    pub(super) fn save(&mut self, params: &SnapshotCreate) -> Outcome {
        self.after_start()?;
        if self.state != State::Paused {
            return Err(Fault::refused(
                "Create snapshot error: Cannot save the microVM state: Operation not allowed: save/restore unavailable \
                 while running",
            ));
        }
        snapshot::save(self, params)
            .map_err(|words| Fault::refused(format!("Create snapshot error: {words}")))?;
        DONE
    }

    /// Fact: `snapshot/load` must come before boot-source and machine-config; a JSON or ordering error does not end it.
    pub(super) fn load(&mut self, params: &SnapshotLoad) -> Outcome {
        snapshot::check(params, self.firecracker.version).map_err(Fault::refused)?;
        self.before_start()?;
        if self.on_boot_path {
            return Err(Fault::refused(
                "Load snapshot error: Loading a microVM snapshot not allowed after configuring boot-specific resources.",
            ));
        }
        let memory = snapshot::load(self, params).map_err(|words| Fault {
            words: format!("Load snapshot error: Failed to restore from snapshot: {words}"),
            is_fatal: true,
        })?;
        let board = self.board(memory, String::new());
        let script = self.firecracker.guest.clone();
        self.own.tasks.spawn(guest::go_on(board, script));
        let resumes = params.resume_vm;
        self.become_state(if resumes {
            State::Running
        } else {
            State::Paused
        });
        DONE
    }
}

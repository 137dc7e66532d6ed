//! The states of a machine, and which calls each of them allows.

use std::fs::OpenOptions;
use std::io;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, watch};

use super::config::{self, Config};
use super::{CloudHypervisor, Told, snapshot};
use crate::common::board::{Board, GuestEnd, Memory, Serial};
use crate::common::guest;
use crate::common::program::Own;
use crate::common::vsock::Vsock;

/// Nothing, or what is answered.
pub(super) type Outcome = Result<Option<Value>, Fault>;

/// A refusal. Fact: 404 not created, 500 wrong state, 400 invalid configuration.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) status: u16,
    pub(super) chain: Vec<String>,
}

impl Fault {
    pub(super) fn new(status: u16, chain: &[&str]) -> Self {
        Self {
            status,
            chain: chain.iter().map(|&cause| cause.to_owned()).collect(),
        }
    }

    fn of_api(status: u16, causes: &[&str]) -> Self {
        Self::new(status, &[&["Error from API"], causes].concat())
    }
}

const DONE: Outcome = Ok(None);

/// A machine that runs, or stands still.
pub(super) struct Running {
    pub(super) memory: Arc<Mutex<Memory>>,
    pub(super) is_paused: bool,
}

/// One Cloud Hypervisor.
pub(super) struct Vmm {
    pub(super) fake: CloudHypervisor,
    pub(super) own: Arc<Own>,
    told: Told,
    exits: mpsc::UnboundedSender<i32>,
    runs: watch::Sender<bool>,
    pub(super) config: Option<Config>,
    pub(super) running: Option<Running>,
}

impl Vmm {
    pub(super) fn new(
        fake: CloudHypervisor,
        own: Arc<Own>,
        told: Told,
        exits: mpsc::UnboundedSender<i32>,
    ) -> Self {
        Self {
            fake,
            own,
            told,
            exits,
            runs: watch::Sender::new(false),
            config: None,
            running: None,
        }
    }

    /// Fact: it validates only at boot.
    pub(super) fn create(&mut self, config: Value) -> Outcome {
        if self.config.is_some() {
            let words = ["The VM could not be created", "VM is already created"];
            return Err(Fault::of_api(500, &words));
        }
        config::all_known(&config);
        self.config = Some(Config(config));
        DONE
    }

    pub(super) fn boot(&mut self) -> Outcome {
        let failed = |status, words: &[&str]| {
            Fault::of_api(status, &[&["The VM could not boot"], words].concat())
        };
        let Some(config) = self.config.clone() else {
            return Err(failed(404, &["VM config is missing"]));
        };
        if self.running.is_some() {
            return Err(failed(500, &["VM is already created"]));
        }
        self.told.event("vm", "booting");
        let Some(kernel) = config.payload("kernel") else {
            let bootable = [
                "Failed to validate config",
                "Payload configuration is not bootable",
                "No bootitem provided: neither firmware nor kernel",
            ];
            return Err(failed(500, &bootable));
        };
        let (size, file, _) = config.zone();
        if let Some(file) = file {
            self.open(file, true).map_err(|error| {
                failed(
                    500,
                    &[
                        "Memory manager error",
                        "Failed to stat filesystem",
                        &error.to_string(),
                    ],
                )
            })?;
        }
        let opened = self.open(kernel, false);
        let opened = opened
            .map_err(|error| failed(500, &["Cannot open kernel file", &error.to_string()]))?;
        // Fact: an ELF with a PVH note, or a bzImage.
        if !has_magic(&opened) {
            return Err(failed(
                500,
                &["Cannot load kernel", "Invalid ELF or bzImage magic number"],
            ));
        }
        let vsock = self.devices(&config);
        let vsock = vsock.map_err(|words| {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            failed(500, &words)
        })?;
        let memory = Memory::new(size);
        let board = self.board(memory, vsock, config.payload("cmdline"));
        self.told.event("vm", "booted");
        self.begin(guest::boot, board, false);
        DONE
    }

    fn open(&self, name: &str, writes: bool) -> io::Result<std::fs::File> {
        let mut options = OpenOptions::new();
        self.own.open(name, options.read(true).write(writes))
    }

    /// Disks, cards, and the vsock, which is returned.
    pub(super) fn devices(&self, config: &Config) -> Result<Option<Arc<Vsock>>, Vec<String>> {
        let manager = |words: &[&str]| -> Vec<String> {
            let words = [&["Error from device manager"], words].concat();
            words.iter().map(|&word| word.to_owned()).collect()
        };
        for (path, readonly) in config.disks() {
            self.open(path, !readonly).map_err(|error| {
                let place = format!("I/O error (path={path} op=open)");
                manager(&["Cannot open disk path", &place, &error.to_string()])
            })?;
        }
        for tap in config.taps() {
            if self.fake.busy_taps.contains(tap) {
                let busy = io::Error::from_raw_os_error(nix::libc::EBUSY).to_string();
                let opening = [
                    "Cannot create virtio-net device",
                    "Failed to open taps",
                    "Open tap device failed",
                ];
                let words = [&opening[..], &["Unable to configure tap interface", &busy]].concat();
                return Err(manager(&words));
            }
        }
        let Some(socket) = config.vsock() else {
            return Ok(None);
        };
        // Fact: the stale vsock path must be gone.
        let bound = Vsock::bind(
            &self.own.path(socket),
            self.runs.subscribe(),
            &self.own.tasks,
        );
        bound.map(Some).map_err(|error| {
            let binding = "Error binding to the host-side Unix socket";
            manager(&[
                "Cannot create virtio-vsock backend",
                binding,
                &error.to_string(),
            ])
        })
    }

    pub(super) fn board(
        &mut self,
        memory: Memory,
        vsock: Option<Arc<Vsock>>,
        command_line: Option<&str>,
    ) -> Board {
        let memory = Arc::new(Mutex::new(memory));
        self.running = Some(Running {
            memory: Arc::clone(&memory),
            is_paused: true,
        });
        // It is a terminal, but read as a pipe is.
        let typed = self.own.take_input();
        let typed = typed.and_then(|typed| pipe::Receiver::from_owned_fd_unchecked(typed).ok());
        let (resets, reset) = mpsc::unbounded_channel();
        let (told, exits) = (self.told.clone(), self.exits.clone());
        let board = Board {
            runs: self.runs.subscribe(),
            memory,
            serial: Serial::on(self.own.output.try_clone().unwrap()),
            typed: Arc::new(tokio::sync::Mutex::new(typed)),
            vsock,
            ends: Arc::new(move |end| match end {
                // Fact: guest ACPI power-off ends the VMM with 0.
                GuestEnd::Off => {
                    told.info("VM guest exit event");
                    let _ = exits.send(0);
                }
                GuestEnd::Reset => drop(resets.send(())),
                GuestEnd::Breaks(code) => drop(exits.send(code)),
            }),
            // Fact: no TRANSPORT_RESET: a restored guest gets RSTs.
            is_called: true,
            booted: Arc::new(|_| {}),
            command_line: command_line.unwrap_or_default().to_owned(),
        };
        self.own.tasks.spawn(reboots(
            reset,
            board.clone(),
            self.fake.clone(),
            self.told.clone(),
            Arc::clone(&self.own),
        ));
        board
    }

    /// Let the guest run, or wait.
    pub(super) fn begin<G: Future<Output = ()> + Send + 'static>(
        &mut self,
        guest: impl FnOnce(Board, guest::Script) -> G,
        board: Board,
        is_paused: bool,
    ) {
        self.own.tasks.spawn(guest(board, self.fake.guest.clone()));
        self.stand_still(is_paused);
    }

    fn stand_still(&mut self, is_paused: bool) {
        let running = self.running.as_mut().expect("it was started");
        running.is_paused = is_paused;
        self.runs.send_replace(!is_paused);
    }

    /// Fact: pausing twice is a 500.
    pub(super) fn pause(&mut self) -> Outcome {
        self.change(
            true,
            "The VM could not be paused",
            "Cannot pause VM",
            "Paused",
        )
    }

    pub(super) fn resume(&mut self) -> Outcome {
        self.change(
            false,
            "The VM could not resume",
            "Cannot resume VM",
            "Running",
        )
    }

    fn change(&mut self, pauses: bool, what: &str, how: &str, state: &str) -> Outcome {
        match &self.running {
            None => Err(Fault::of_api(500, &[what, "VM is not running"])),
            Some(running) if running.is_paused == pauses => {
                let invalid =
                    format!("Invalid transition: InvalidStateTransition({state}, {state})");
                Err(Fault::of_api(500, &[what, how, &invalid]))
            }
            Some(_) => {
                self.stand_still(pauses);
                DONE
            }
        }
    }

    pub(super) fn snapshot(&mut self, url: &str) -> Outcome {
        let failed = |words: &[&str]| {
            Fault::of_api(500, &[&["The VM could not be snapshotted"], words].concat())
        };
        let Some(running) = &self.running else {
            return Err(failed(&["VM is not running"]));
        };
        let cannot = [
            "Cannot snapshot VM",
            "Failed to snapshot migratable component",
        ];
        if !running.is_paused {
            return Err(failed(
                &[&cannot[..], &["Trying to snapshot while VM is running"]].concat(),
            ));
        }
        // Fact: `vm.snapshot` needs the KVM nested-state ioctl; where KVM has none, it answers 500.
        if self.fake.lacks_nested_state {
            let words = "Could not get vCPU state GetNestedState(Invalid argument (os error 22)\n\nStack backtrace:\n 0: f";
            return Err(failed(&[&cannot[..], &[words]].concat()));
        }
        snapshot::save(self, url).map_err(|words| {
            failed(&[
                "Cannot send VM snapshot",
                "Failed to send migratable component snapshot",
                &words,
            ])
        })?;
        DONE
    }

    /// Fact: a failed restore leaves the process usable.
    pub(super) fn restore(&mut self, url: &str) -> Outcome {
        let failed = |words: &[&str]| {
            Fault::of_api(500, &[&["The VM could not be restored"], words].concat())
        };
        if self.config.is_some() {
            return Err(failed(&["VM is already created"]));
        }
        self.told.event("vm", "restoring");
        let (board, config) = snapshot::load(self, url).map_err(|words| {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            failed(&words)
        })?;
        self.config = Some(config);
        self.told.event("vm", "restored");
        // Fact: the restored VM is paused.
        self.begin(guest::go_on, board, true);
        DONE
    }

    pub(super) fn resize(&mut self, wanted: &Value) -> Outcome {
        let Some(config) = &mut self.config else {
            let words = ["The VM could not be resized", "VM is not created"];
            return Err(Fault::of_api(404, &words));
        };
        config.0["balloon"]["size"] = wanted["desired_balloon"].clone();
        DONE
    }

    pub(super) fn info(&self) -> Outcome {
        let Some(config) = &self.config else {
            let words = ["The VM info is not available", "VM is not created"];
            return Err(Fault::of_api(404, &words));
        };
        let state = match &self.running {
            None => "Created",
            Some(running) if running.is_paused => "Paused",
            Some(_) => "Running",
        };
        let actual = config.zone().0 as u64 - config.balloon();
        Ok(Some(
            json!({ "config": config.0, "state": state, "memory_actual_size": actual }),
        ))
    }
}

/// Fact: guest reset or triple fault reboots in place (events `vm:rebooting`, `vm:rebooted`).
async fn reboots(
    mut resets: mpsc::UnboundedReceiver<()>,
    board: Board,
    fake: CloudHypervisor,
    told: Told,
    own: Arc<Own>,
) {
    while resets.recv().await.is_some() {
        told.event("vm", "rebooting");
        // It takes its time, so that who hears of it can end it.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        if let Some(vsock) = &board.vsock {
            vsock.reset_by_guest();
        }
        own.tasks
            .spawn(guest::boot(board.clone(), fake.guest.clone()));
        told.event("vm", "rebooted");
    }
}

fn has_magic(file: &std::fs::File) -> bool {
    let mut head = [0; 0x206];
    let read = std::os::unix::fs::FileExt::read_at(file, &mut head, 0).unwrap_or(0);
    let head = &head[..read];
    head.starts_with(b"\x7fELF") || head.get(0x202..) == Some(b"HdrS")
}

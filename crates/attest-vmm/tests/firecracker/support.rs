//! Short ways to start, to tell the guest something, and to see what is left.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use attest_lab::{Directory, LastingTap};
use attest_protocol::link::{HostLink, HostPort, Incoming, LinkError};
use attest_protocol::message::{Exec, Program, Request, Response};
use attest_vmm::{
    AgentListener, AgentStreams, Backend, Body, Card, Disk, DiskFile, DiskFormat, Ending,
    Firecracker as Backed, MachineConfig, Names, QemuOptions, Ram, Reach, Started, Told,
    VirtualConfig, VmmError,
};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::sync::mpsc;

pub(crate) use crate::common::program::{Fakes, Seen, names_in};
pub(crate) use crate::fake::{Firecracker, Full, Version, When};

/// Bytes of memory of each machine.
pub(crate) const MEMORY: u64 = 2 << 20;

/// A host with a fake Firecracker.
pub(crate) struct Host {
    pub(crate) fakes: Fakes<Firecracker>,
    pub(crate) backend: Backed,
    pub(crate) files: TempDir,
    /// A place for each machine, in order.
    places: Mutex<Vec<TempDir>>,
}

/// A file that is written while another test starts a program would be open in that, and could not be started.
static PROGRAMS: Mutex<()> = Mutex::new(());

pub(crate) fn alone() -> MutexGuard<'static, ()> {
    PROGRAMS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Host {
    pub(crate) fn new(fake: Firecracker) -> Self {
        let version = fake.version;
        Self::that_says(version, fake)
    }

    /// Whose Firecracker says that it is of this version.
    pub(crate) fn that_says((major, minor, patch): Version, fake: Firecracker) -> Self {
        let files = tempfile::tempdir().unwrap();
        let format = fake.snapshot_format();
        let script = format!(
            "#!/bin/sh\ncase $1 in --version) echo 'Firecracker v{major}.{minor}.{patch}';; *) echo 'v{format}.0.0';; esac\n"
        );
        let program = files.path().join("firecracker");
        let backend = Backed::of(&program, Path::new("/nonexistent/jailer"), files.path());
        {
            let _alone = alone();
            fs::write(&program, script).unwrap();
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
            // What it says is remembered, so that it is not started again. One that is too old says so at each start.
            let _ = backend.found();
        }
        fs::write(files.path().join("kernel"), b"\x7fELF, more or less").unwrap();
        fs::write(files.path().join("initrd"), b"070701").unwrap();
        Self {
            fakes: Fakes::new(fake),
            backend,
            files,
            places: Mutex::default(),
        }
    }

    /// With all kinds of devices.
    pub(crate) fn machine(&self) -> VirtualConfig {
        let disk = |serial: &str, read_only: bool| {
            let path = self.files.path().join(serial);
            fs::write(&path, vec![0; 4096]).unwrap();
            let mut options = fs::OpenOptions::new();
            let file = options.read(true).write(!read_only).open(path).unwrap();
            Disk {
                file: DiskFile {
                    file: file.into(),
                    format: DiskFormat::Raw,
                },
                below: Vec::new(),
                read_only,
                serial: serial.to_owned(),
                rate: None,
            }
        };
        VirtualConfig {
            memory: MEMORY,
            ram: Ram::Own,
            waits: false,
            vcpus: 2,
            kernel: self.files.path().join("kernel"),
            initrd: self.files.path().join("initrd"),
            kernel_arguments: vec!["loglevel=7".to_owned()],
            cards: vec![Card {
                mac: [2, 0, 0, 0, 0, 1],
                rate: None,
            }],
            disks: vec![disk("root", true), disk("data", false)],
            balloon: true,
            reach: Reach::Inherits(Vec::new()),
            qemu: QemuOptions::default(),
        }
    }

    /// A place for the next machine.
    pub(crate) fn place(&self) -> std::path::PathBuf {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().to_owned();
        self.places.lock().unwrap().push(place);
        path
    }

    pub(crate) async fn start(&self, machine: VirtualConfig) -> Result<Started, VmmError> {
        let place = self.place();
        self.start_in(&place, machine).await.0
    }

    pub(crate) async fn start_in(
        &self,
        place: &Path,
        mut machine: VirtualConfig,
    ) -> (Result<Started, VmmError>, mpsc::UnboundedReceiver<Told>) {
        let taps = machine.cards.iter().enumerate();
        let taps = taps.map(|(index, _)| LastingTap::existing(&format!("tap{index}")));
        machine.reach = Reach::Names(Names {
            directory: Directory::existing(place).unwrap(),
            taps: taps.collect(),
            jailed_as: None,
        });
        let (tell, told) = mpsc::unbounded_channel();
        let machine = MachineConfig {
            name: "web".to_owned(),
            body: Body::Virtual(Box::new(machine)),
            log: None,
            tell,
        };
        (self.backend.start(machine, &self.fakes).await, told)
    }

    /// What the last program was told, and how it ended.
    pub(crate) fn last(&self) -> Arc<Seen> {
        self.fakes.last()
    }
}

/// Start the default machine on such a host.
pub(crate) async fn started(fake: Firecracker) -> (Host, Started) {
    let host = Host::new(fake);
    let started = host.start(host.machine()).await.unwrap();
    (host, started)
}

/// A machine's agent, for one session.
pub(crate) struct Session {
    _port: HostPort,
    pub(crate) link: HostLink,
}

pub(crate) fn listener(started: &Started) -> &AgentListener {
    match &started.agent {
        AgentStreams::Many(listener) => listener,
        AgentStreams::One(_) => panic!("a machine of Firecracker begins many streams"),
    }
}

impl Session {
    /// The next one.
    pub(crate) async fn next(started: &Started) -> Self {
        Self::on(listener(started).accept().await.unwrap()).await
    }

    pub(crate) async fn on(stream: UnixStream) -> Self {
        let (reader, writer) = stream.into_split();
        let mut port = HostPort::new(reader, writer);
        let (link, hello) = port.accept().await.unwrap();
        assert_eq!(hello.version, "fake");
        Self { _port: port, link }
    }

    pub(crate) async fn ask(&self, request: &Request) -> Result<Response, LinkError> {
        let mut channel = self.link.open(request)?;
        loop {
            if let Incoming::Finished(result) = channel.receiver.next().await? {
                return Ok(result.unwrap());
            }
        }
    }

    /// What a command of the guest's prints.
    pub(crate) async fn run(&self, command: &str) -> Result<String, LinkError> {
        let exec = Exec {
            program: Program::Shell(command.as_bytes().to_vec().into()),
            environment: Vec::new(),
            directory: None,
            user: None,
            stdin: false,
            pty: None,
            timeout_ms: None,
        };
        let mut channel = self.link.open(&Request::Exec(exec))?;
        let mut printed = Vec::new();
        loop {
            match channel.receiver.next().await? {
                Incoming::Data(_, bytes) => printed.extend_from_slice(&bytes),
                Incoming::Finished(result) => {
                    assert!(matches!(result, Ok(Response::Exited(_))), "{result:?}");
                    return Ok(String::from_utf8(printed).unwrap());
                }
                _ => {}
            }
        }
    }
}

/// Let it end by itself, reading its console meanwhile.
pub(crate) async fn end(mut started: Started) -> (Ending, String) {
    let mut console = Vec::new();
    started.console.read_to_end(&mut console).await.unwrap();
    let ending = started.running.ended().await;
    (ending, String::from_utf8_lossy(&console).into_owned())
}

/// An error with all its causes.
pub(crate) fn chain(error: &VmmError) -> String {
    attest_protocol::chain(error)
}

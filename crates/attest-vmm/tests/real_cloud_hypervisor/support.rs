//! Short ways to start, and to talk with the guest.

use std::os::fd::OwnedFd;
use std::path::Path;

use attest_lab::{Directory, LastingTap};
use attest_protocol::link::{HostLink, HostPort, Incoming, LinkError};
use attest_protocol::message::{Exec, Program, Request, Response};
use attest_vmm::probe::{KvmProbe, kvm};
use attest_vmm::{
    AgentListener, AgentStreams, Backend, Body, CloudHypervisor, Disk, DiskFile, DiskFormat,
    Ending, MachineConfig, Names, QemuOptions, Ram, Reach, Reboots, Started, VirtualConfig,
    VmmError,
};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

pub(crate) use crate::children::{Children, send};

/// Bytes of memory of each machine.
pub(crate) const MEMORY: u64 = 32 << 20;

/// Whether this host has Cloud Hypervisor; if not, the test is skipped by name.
pub(crate) fn is_missing() -> bool {
    let directory = tempfile::tempdir().unwrap();
    let missing = match (CloudHypervisor::new(directory.path()).found(), kvm()) {
        (Err(missing), _) | (_, KvmProbe::Unusable(missing)) => Some(missing),
        _ => None,
    };
    if let Some(missing) = &missing {
        eprintln!("SKIPPED: {missing}");
    }
    missing.is_some()
}

/// A machine with the guest, and nothing else.
pub(crate) fn machine() -> VirtualConfig {
    let kernel = attest_fixture::metal::kernel();
    VirtualConfig {
        memory: MEMORY,
        ram: Ram::Own,
        waits: false,
        vcpus: 1,
        kernel: kernel.to_owned(),
        // The guest does not look at it.
        initrd: kernel.to_owned(),
        kernel_arguments: Vec::new(),
        cards: Vec::new(),
        disks: Vec::new(),
        balloon: false,
        reach: Reach::Inherits(Vec::new()),
        qemu: QemuOptions::default(),
    }
}

/// A disk with this in its file.
pub(crate) fn disk(serial: &str, file: OwnedFd, read_only: bool) -> Disk {
    Disk {
        file: DiskFile {
            file,
            format: DiskFormat::Raw,
        },
        below: Vec::new(),
        read_only,
        serial: serial.to_owned(),
        rate: None,
    }
}

/// A machine that was started, in a place of its own.
pub(crate) struct Host {
    pub(crate) started: Started,
    _place: TempDir,
}

pub(crate) async fn start(machine: VirtualConfig) -> Result<Host, VmmError> {
    let place = tempfile::tempdir().unwrap();
    let memo = tempfile::tempdir().unwrap();
    let backend = CloudHypervisor::new(memo.path());
    let started = start_with(&backend, place.path(), machine, &[]).await?;
    Ok(Host {
        started,
        _place: place,
    })
}

pub(crate) async fn start_with(
    backend: &CloudHypervisor,
    place: &Path,
    mut machine: VirtualConfig,
    taps: &[&str],
) -> Result<Started, VmmError> {
    machine.reach = Reach::Names(Names {
        directory: Directory::existing(place).unwrap(),
        taps: taps.iter().map(|tap| LastingTap::existing(tap)).collect(),
        jailed_as: None,
    });
    let machine = MachineConfig {
        name: "web".to_owned(),
        body: Body::Virtual(Box::new(machine)),
        log: None,
        tell: tokio::sync::mpsc::unbounded_channel().0,
    };
    backend.start(machine, &Children).await
}

/// A machine's agent, for one session.
pub(crate) struct Session {
    _port: HostPort,
    link: HostLink,
}

impl Session {
    /// The next one that the guest begins.
    pub(crate) async fn next(host: &Host) -> Self {
        Self::on(listener(host).accept().await.unwrap()).await
    }

    /// With a guest that goes on, and is called.
    pub(crate) async fn called(host: &Host) -> Self {
        let call = listener(host).call().expect("it has to be called");
        Self::on(call.await.unwrap()).await
    }

    async fn on(stream: UnixStream) -> Self {
        let (reader, writer) = stream.into_split();
        let mut port = HostPort::new(reader, writer);
        let (link, hello) = port.accept().await.unwrap();
        assert_eq!(hello.version, "metal");
        Self { _port: port, link }
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
                    return Ok(String::from_utf8(printed).unwrap().trim().to_owned());
                }
                _ => {}
            }
        }
    }
}

fn listener(host: &Host) -> &AgentListener {
    match &host.started.agent {
        AgentStreams::Many(listener) => listener,
        AgentStreams::One(_) => panic!("a machine of Cloud Hypervisor begins many streams"),
    }
}

/// Let it end by itself, reading its console meanwhile.
pub(crate) async fn end(host: Host) -> (Ending, String) {
    let mut started = host.started;
    let mut console = Vec::new();
    started.console.read_to_end(&mut console).await.unwrap();
    let ending = started.running.ended().await;
    (ending, String::from_utf8_lossy(&console).into_owned())
}

/// Read until this text has come.
pub(crate) async fn read_until(stream: &mut UnixStream, text: &str) {
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains(text) {
        let count = stream.read_buf(&mut seen).await.unwrap();
        let seen = String::from_utf8_lossy(&seen);
        assert!(count > 0, "the end came before {text:?}, after {seen:?}");
    }
}

/// Whether a reset by the guest boots it again, from now on.
pub(crate) async fn allow_reboot(host: &Host, allow: bool) {
    let Reboots::InPlace(reboots) = host.started.running.reboots() else {
        panic!("Cloud Hypervisor goes on running");
    };
    reboots.allow_reboot(allow).await.unwrap();
}

/// An error with all its causes.
pub(crate) fn chain(error: &VmmError) -> String {
    attest_protocol::chain(error)
}

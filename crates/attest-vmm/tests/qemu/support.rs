//! Short ways to start and to read.

use std::path::PathBuf;

use attest_vmm::{
    Accelerator, AgentStreams, Backend, Body, Ending, MachineConfig, MachineType, Qemu,
    QemuOptions, Ram, Reach, Reboots, Started, VirtualConfig, VmmError,
};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

pub(crate) use crate::children::{Children, send};

/// Whether this host has QEMU; if not, the test is skipped by name.
pub(crate) fn no_qemu() -> bool {
    let directory = tempfile::tempdir().unwrap();
    let found = attest_vmm::qemu::find(None, directory.path());
    if let Err(missing) = &found {
        eprintln!("SKIPPED: {missing}");
    }
    found.is_err()
}

/// A machine with a kernel, and nothing else.
pub(crate) fn machine(kernel: &std::path::Path) -> VirtualConfig {
    VirtualConfig {
        memory: 128 << 20,
        ram: Ram::Own,
        waits: false,
        vcpus: 2,
        kernel: kernel.to_owned(),
        // QEMU wants one that is not empty; a bare-metal kernel does not look at it.
        initrd: kernel.to_owned(),
        kernel_arguments: Vec::new(),
        cards: Vec::new(),
        disks: Vec::new(),
        balloon: false,
        reach: Reach::Inherits(Vec::new()),
        qemu: QemuOptions {
            machine: MachineType::Microvm,
            accelerator: Some(Accelerator::Tcg),
            ..QemuOptions::default()
        },
    }
}

pub(crate) async fn start(machine: VirtualConfig) -> Result<Started, VmmError> {
    start_logged(machine, None).await
}

pub(crate) async fn start_logged(
    machine: VirtualConfig,
    log: Option<PathBuf>,
) -> Result<Started, VmmError> {
    let machine = MachineConfig {
        name: "web".to_owned(),
        body: Body::Virtual(Box::new(machine)),
        log,
        tell: tokio::sync::mpsc::unbounded_channel().0,
    };
    let memo = tempfile::tempdir().unwrap();
    Qemu::new(memo.path()).start(machine, &Children).await
}

/// Read until this text has come; what came is returned.
pub(crate) async fn read_until(stream: &mut UnixStream, text: &str) -> String {
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains(text) {
        // A connection that is reset has ended, too.
        let count = stream.read_buf(&mut seen).await.unwrap_or(0);
        let seen = String::from_utf8_lossy(&seen);
        assert!(count > 0, "the end came before {text:?}, after {seen:?}");
    }
    String::from_utf8_lossy(&seen).into_owned()
}

/// The stream to the agent, of which a QEMU has one.
pub(crate) fn agent(started: &mut Started) -> &mut UnixStream {
    match &mut started.agent {
        AgentStreams::One(stream) => stream,
        AgentStreams::Many(_) => panic!("a machine of QEMU has one stream"),
    }
}

/// Let it end by itself, reading its console meanwhile.
pub(crate) async fn end(mut started: Started) -> (Ending, String) {
    let mut console = Vec::new();
    started.console.read_to_end(&mut console).await.unwrap();
    (
        started.running.ended().await,
        String::from_utf8_lossy(&console).into_owned(),
    )
}

/// Whether a reset by the guest boots it again, from now on.
pub(crate) async fn allow_reboot(started: &Started, allow: bool) {
    let Reboots::InPlace(reboots) = started.running.reboots() else {
        panic!("QEMU goes on running");
    };
    reboots.allow_reboot(allow).await.unwrap();
}

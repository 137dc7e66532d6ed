//! What the tests of a lab share.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::LazyLock;

use attest_lab::{LabContent, LabError, LabProcess, NetworkSpec, ProcessExit, Spawn};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

pub(crate) fn program() -> &'static [u8] {
    static PROGRAM: LazyLock<Vec<u8>> = LazyLock::new(|| {
        std::fs::read(env!("CARGO_BIN_EXE_attest-lab")).expect("the built lab process")
    });
    &PROGRAM
}

pub(crate) fn network(name: &str) -> NetworkSpec {
    NetworkSpec {
        name: name.into(),
        mtu: 1500,
        addresses: Vec::new(),
    }
}

/// A lab, or a printed reason why this host has none.
pub(crate) async fn lab(networks: &[NetworkSpec]) -> Option<LabProcess> {
    match LabProcess::start(program(), networks, LabContent::Programs).await {
        Ok(lab) => Some(lab),
        Err(LabError::Setup {
            what,
            source: Some(source),
        }) if what.contains("namespaces") => {
            let test = std::thread::current().name().unwrap_or("a test").to_owned();
            eprintln!("skipped: {test}: cannot {what}: {source}");
            None
        }
        Err(error) => panic!("{error}: {:?}", std::error::Error::source(&error)),
    }
}

pub(crate) fn start(program: &str) -> Spawn {
    let mut spawn = Spawn::default();
    spawn.program = PathBuf::from(program);
    spawn
}

pub(crate) fn shell(script: &str) -> Spawn {
    let mut spawn = start("/bin/sh");
    spawn.args = vec!["-c".into(), script.into()];
    spawn.environment = vec![("PATH".into(), "/usr/bin:/bin".into())];
    spawn
}

pub(crate) trait OpenEnd {
    /// Pass a socket whose other end stays open until the test's process ends.
    fn with_open_end(self) -> Self;
}

impl OpenEnd for Spawn {
    fn with_open_end(mut self) -> Self {
        let (outside, inside) = UnixStream::pair().unwrap();
        self.pass(inside.into());
        std::mem::forget(outside);
        self
    }
}

/// Run it to its end and give what it wrote.
pub(crate) async fn run(lab: &LabProcess, mut spawn: Spawn) -> String {
    let (mut read, write) = UnixStream::pair().unwrap();
    spawn.output = Some(write.into());
    let process = lab.spawn(spawn).await.unwrap();
    assert_eq!(process.exited().await, ProcessExit::Code(0));
    let mut written = String::new();
    read.read_to_string(&mut written).unwrap();
    written
}

/// Becomes readable when the process has ended.
pub(crate) fn end_of(pid: u32) -> OwnedFd {
    let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
    pidfd_open(pid, PidfdFlags::empty()).unwrap()
}

pub(crate) fn has_ended(pidfd: &OwnedFd) -> bool {
    poll(
        &mut [PollFd::new(pidfd, PollFlags::IN)],
        Some(&Timespec::default()),
    )
    .unwrap()
        == 1
}

/// Wait for its end, without bound: a hang fails by the runner's timeout.
pub(crate) async fn ended(pidfd: OwnedFd) {
    let waited = tokio::task::spawn_blocking(move || {
        poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], None).unwrap()
    });
    assert_eq!(waited.await.unwrap(), 1);
}

pub(crate) async fn read_frame(queue: &File) -> Vec<u8> {
    let mut queue = queue.try_clone().unwrap();
    let waited = tokio::task::spawn_blocking(move || {
        poll(&mut [PollFd::new(&queue, PollFlags::IN)], None).unwrap();
        let mut frame = vec![0; 2000];
        let length = queue.read(&mut frame).unwrap();
        frame.truncate(length);
        frame
    });
    waited.await.unwrap()
}

/// The interfaces of the host's namespace.
pub(crate) fn interfaces() -> BTreeSet<String> {
    let table = std::fs::read_to_string("/proc/net/dev").unwrap();
    table
        .lines()
        .filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()))
        .collect()
}

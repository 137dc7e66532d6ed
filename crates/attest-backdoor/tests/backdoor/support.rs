//! A guest that is a bash on a socket pair.

use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use attest_backdoor::{ANNOUNCEMENT, Backdoor, Happened};
use attest_protocol::link::{Channel, HostLink, HostPort, Incoming, Stream};
use attest_protocol::message::{
    Condition, Exec, ExitStatus, Exited, Failure, Program, RawBytes, Request, Response, Wait,
};
use bytes::Bytes;
use tokio::net::UnixStream;

/// A host, and what it talks with.
pub(crate) struct Fixture {
    pub(crate) link: HostLink,
    pub(crate) port: HostPort,
    pub(crate) happened: Log,
    pub(crate) shell: Option<tokio::process::Child>,
}

/// What happened to a backdoor so far.
pub(crate) type Log = Arc<Mutex<Vec<Happened>>>;

/// The end of a host for the guest's end of a terminal.
pub(crate) fn host(shell: UnixStream) -> (HostPort, Log) {
    host_with(shell, None, None)
}

pub(crate) fn host_with(
    shell: UnixStream,
    port: Option<UnixStream>,
    agent: Option<Arc<[u8]>>,
) -> (HostPort, Log) {
    let (near, far) = UnixStream::pair().unwrap();
    let happened = Log::default();
    let log = Arc::clone(&happened);
    let backdoor = Backdoor {
        shell,
        port,
        agent,
        log: Box::new(move |what| log.lock().unwrap().push(what)),
    };
    backdoor.serve(far);
    let (reader, writer) = near.into_split();
    (HostPort::new(reader, writer), happened)
}

/// A bash that announces itself after some noise, as in a guest.
pub(crate) async fn bash() -> Fixture {
    let (terminal, guest) = UnixStream::pair().unwrap();
    let (mut port, happened) = host(terminal);
    let child = start_bash(guest, "[    1.0] noise\\r\\n");
    let (link, _) = port.accept().await.unwrap();
    Fixture {
        link,
        port,
        happened,
        shell: Some(child),
    }
}

/// Start a bash on the guest's end of a terminal.
pub(crate) fn start_bash(guest: UnixStream, noise: &str) -> tokio::process::Child {
    start(
        guest,
        &format!("printf '{noise}'; echo '{ANNOUNCEMENT}'; exec bash --norc"),
    )
}

/// Start a shell that is this script.
pub(crate) fn start(guest: UnixStream, script: &str) -> tokio::process::Child {
    let guest: OwnedFd = guest.into_std().unwrap().into();
    let guest = std::os::unix::net::UnixStream::from(guest);
    guest.set_nonblocking(false).unwrap();
    let guest = OwnedFd::from(guest);
    tokio::process::Command::new("bash")
        .args(["-c", script])
        .stdin(Stdio::from(guest.try_clone().unwrap()))
        .stdout(Stdio::from(guest))
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

pub(crate) fn shell(command: impl Into<Vec<u8>>) -> Exec {
    program(Program::Shell(RawBytes::from(command.into())))
}

pub(crate) fn argv(words: &[&str]) -> Exec {
    let words = words
        .iter()
        .map(|word| RawBytes::from(word.as_bytes().to_vec()));
    program(Program::Argv(words.collect()))
}

fn program(program: Program) -> Exec {
    Exec {
        program,
        environment: Vec::new(),
        directory: None,
        user: None,
        stdin: false,
        pty: None,
        timeout_ms: Some(30_000),
    }
}

/// How a request ended, and what it sent.
pub(crate) async fn finish(mut channel: Channel) -> (Result<Response, Failure>, Vec<u8>) {
    let mut output = Vec::new();
    loop {
        match channel.receiver.next().await.unwrap() {
            Incoming::Data(Stream::Out, bytes) => output.extend_from_slice(&bytes),
            Incoming::Finished(result) => return (result, output),
            _ => {}
        }
    }
}

pub(crate) async fn call(link: &HostLink, request: &Request) -> Result<Response, Failure> {
    finish(link.open(request).unwrap()).await.0
}

/// Run a command: its exit code and stdout.
pub(crate) async fn run(link: &HostLink, exec: Exec) -> (i32, Vec<u8>) {
    let (exited, output) = exited(link, exec, b"").await;
    let ExitStatus::Code(code) = exited.status else {
        panic!("{exited:?}");
    };
    (code, output)
}

pub(crate) async fn exited(link: &HostLink, exec: Exec, stdin: &[u8]) -> (Exited, Vec<u8>) {
    let channel = link.open(&Request::Exec(exec)).unwrap();
    let sender = channel.sender.clone();
    let feeding = async {
        // A command that is not fed takes none of it.
        let _ = sender.data(Stream::In, Bytes::copy_from_slice(stdin)).await;
        let _ = sender.eof(Stream::In);
    };
    let ((), (result, output)) = tokio::join!(feeding, finish(channel));
    match result.unwrap() {
        Response::Exited(exited) => (exited, output),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn wait(condition: Condition, timeout_ms: u64) -> Request {
    Request::Wait(Wait {
        condition,
        timeout_ms,
    })
}

//! What a driver does with a machine: it talks to its agent, and waits for its end.

use attest_protocol::link::{HostLink, HostPort, Incoming, LinkError};
use attest_protocol::message::{Exec, Program, Request, Response};
use attest_vmm::{AgentListener, AgentStreams, Ending, Started, VmmError};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

/// A machine's agent, for one session.
pub(crate) struct Session {
    _port: HostPort,
    pub(crate) link: HostLink,
}

pub(crate) fn listener(started: &Started) -> &AgentListener {
    match &started.agent {
        AgentStreams::Many(listener) => listener,
        AgentStreams::One(_) => panic!("a machine of a fake begins many streams"),
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

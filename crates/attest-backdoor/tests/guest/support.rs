//! Starts a guest as the contract has it, with sockets in a directory.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use attest_backdoor::{Backdoor, Happened};
use attest_fixture::{Fixture, Node};
use attest_protocol::link::{Channel, HostLink, HostPort, Incoming, Stream};
use attest_protocol::message::{
    Condition, Download, Exec, ExitStatus, Failure, Hello, Program, RawBytes, Request, Response,
    Upload, Wait,
};
use attest_protocol::tree;
use tokio::net::UnixListener;
use tokio::sync::watch;

/// How long anything may take in an emulated guest on a busy host.
const PATIENCE: Duration = Duration::from_mins(3);

pub(crate) struct Guest {
    process: Child,
    directory: tempfile::TempDir,
    port: HostPort,
    happened: watch::Receiver<Vec<Happened>>,
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let console = std::fs::read(self.directory.path().join("console")).unwrap_or_default();
        eprintln!("{}", String::from_utf8_lossy(&console));
    }
}

impl Guest {
    /// `None` where the host has nothing to make a guest of.
    pub(crate) fn start(agent: Option<Arc<[u8]>>) -> Option<Self> {
        let fixture = match Fixture::new() {
            Ok(fixture) => fixture,
            Err(error) => {
                eprintln!("skipped: {error}");
                return None;
            }
        };
        let directory = tempfile::tempdir().unwrap();
        let script = fixture
            .write(directory.path(), &Node::new("guest", 1))
            .unwrap();
        let listen = |name: &str| UnixListener::bind(directory.path().join(name)).unwrap();
        let (shell, port) = (listen("shell"), listen("port"));
        let console = std::fs::File::create(directory.path().join("console")).unwrap();
        let process = Command::new(script)
            .args("-chardev socket,id=shell,path=shell -device virtio-serial".split(' '))
            .args("-device virtconsole,chardev=shell".split(' '))
            .args("-chardev socket,id=port,path=port".split(' '))
            .args("-device virtserialport,chardev=port,name=org.attest.agent".split(' '))
            .args("-device virtio-rng-pci -serial stdio -display none".split(' '))
            .env("TMPDIR", directory.path())
            .env("USE_TMPDIR", "1")
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(console.try_clone().unwrap())
            .stderr(console)
            .spawn()
            .unwrap();
        let (near, far) = tokio::net::UnixStream::pair().unwrap();
        let (sender, happened) = watch::channel(Vec::new());
        tokio::spawn(async move {
            let shell = shell.accept().await.unwrap().0;
            let port = port.accept().await.unwrap().0;
            let backdoor = Backdoor {
                shell,
                port: Some(port),
                agent,
                log: Box::new(move |what| sender.send_modify(|all| all.push(what))),
            };
            backdoor.serve(far).await.unwrap();
        });
        let (reader, writer) = near.into_split();
        Some(Self {
            process,
            directory,
            port: HostPort::new(reader, writer),
            happened,
        })
    }

    pub(crate) async fn accept(&mut self) -> (HostLink, Hello) {
        tokio::time::timeout(PATIENCE, self.port.accept())
            .await
            .unwrap()
            .unwrap()
    }

    pub(crate) fn happened(&self) -> Vec<Happened> {
        self.happened.borrow().clone()
    }

    pub(crate) async fn until(&mut self, what: impl Fn(&[Happened]) -> bool) {
        let until = self.happened.wait_for(|all| what(all));
        tokio::time::timeout(PATIENCE, until)
            .await
            .unwrap()
            .unwrap();
    }

    /// A megabyte in and out again.
    pub(crate) async fn copies(&self, link: &HostLink) {
        let from = self.directory.path().join("from");
        let to = self.directory.path().join("to");
        std::fs::write(
            &from,
            (0..=250).cycle().take(1_000_000).collect::<Vec<u8>>(),
        )
        .unwrap();
        let began = std::time::Instant::now();
        let path = file("/tmp/copied/file");
        let channel = link
            .open(&Request::Upload(Upload { path: path.clone() }))
            .unwrap();
        let writer = channel.sender.blocking_writer(Stream::In);
        let sender = channel.sender.clone();
        let source = from.clone();
        tokio::task::spawn_blocking(move || {
            tree::pack(&source, writer).unwrap();
            sender.eof(Stream::In).unwrap();
        });
        assert_eq!(finish(channel).await.0, Ok(Response::Copied(1_000_000)));
        eprintln!("1 MB up: {:?}", began.elapsed());
        let began = std::time::Instant::now();
        let channel = link.open(&Request::Download(Download { path })).unwrap();
        let (reader, ended) = channel.receiver.into_blocking_reader(Stream::Out);
        let destination = to.clone();
        let unpacking = tokio::task::spawn_blocking(move || tree::unpack(reader, &destination));
        unpacking.await.unwrap().unwrap();
        ended.result().await.unwrap().unwrap();
        eprintln!("1 MB down: {:?}", began.elapsed());
        assert!(std::fs::read(from).unwrap() == std::fs::read(to).unwrap());
    }
}

pub(crate) fn agent() -> Arc<[u8]> {
    let agent = attest_image::bare::plain_agent(attest_embed::AGENT).unwrap();
    agent.into_owned().into()
}

pub(crate) fn file(path: &str) -> RawBytes {
    RawBytes::from(path.as_bytes().to_vec())
}

pub(crate) fn shell(command: &str) -> Exec {
    Exec {
        program: Program::Shell(file(command)),
        environment: Vec::new(),
        directory: None,
        user: None,
        stdin: false,
        pty: None,
        timeout_ms: Some(60_000),
    }
}

pub(crate) async fn finish(mut channel: Channel) -> (Result<Response, Failure>, Vec<u8>) {
    let mut output = Vec::new();
    loop {
        match tokio::time::timeout(PATIENCE, channel.receiver.next())
            .await
            .unwrap()
            .unwrap()
        {
            Incoming::Data(Stream::Out, bytes) => output.extend_from_slice(&bytes),
            Incoming::Finished(result) => return (result, output),
            _ => {}
        }
    }
}

pub(crate) async fn call(link: &HostLink, request: &Request) -> Result<Response, Failure> {
    finish(link.open(request).unwrap()).await.0
}

pub(crate) async fn run(link: &HostLink, command: &str) -> (i32, String) {
    match finish(link.open(&Request::Exec(shell(command))).unwrap()).await {
        (Ok(Response::Exited(exited)), output) => match exited.status {
            ExitStatus::Code(code) => (code, String::from_utf8_lossy(&output).into_owned()),
            ExitStatus::Signal(signal) => panic!("signal {signal}"),
        },
        (other, _) => panic!("{other:?}"),
    }
}

pub(crate) fn wait(condition: Condition) -> Request {
    Request::Wait(Wait {
        condition,
        timeout_ms: 60_000,
    })
}

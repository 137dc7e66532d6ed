//! An agent whose streams are connections, which come and go: over unix sockets in the place of
//! vsock. It lives in the test's own process, and reaps all its children, so there is one at a time.

use std::future::pending;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::thread::JoinHandle;

use attest_agent::{Peer, Redial, Role, serve};
use attest_protocol::link::{HostLink, HostPort, Incoming, LinkError, Stream};
use attest_protocol::message::{Exec, Hello, Program, RawBytes, Request, Response, Setup};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Mutex, MutexGuard, mpsc, oneshot};

static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// The host, as the agent sees it.
struct Host {
    listens_at: PathBuf,
    /// Where the agent listens.
    agent: UnixListener,
    /// Told how each try to connect went.
    tries: mpsc::UnboundedSender<bool>,
}

impl Peer for Host {
    fn name(&self) -> String {
        self.listens_at.display().to_string()
    }

    async fn connect(&self) -> io::Result<OwnedFd> {
        let connected = UnixStream::connect(&self.listens_at).await;
        let _ = self.tries.send(connected.is_ok());
        Ok(connected?.into_std()?.into())
    }

    async fn accept(&self) -> io::Result<OwnedFd> {
        let (accepted, _) = self.agent.accept().await?;
        Ok(accepted.into_std()?.into())
    }
}

/// The agent, on a thread of its own until it is dropped.
struct Agent {
    directory: tempfile::TempDir,
    tries: mpsc::UnboundedReceiver<bool>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    _alone: MutexGuard<'static, ()>,
}

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap();
    }
}

impl Agent {
    async fn start() -> Self {
        let alone = ONE_AT_A_TIME.lock().await;
        let directory = tempfile::tempdir().unwrap();
        let (tell, tries) = mpsc::unbounded_channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let place = directory.path().to_owned();
        let listener = std::os::unix::net::UnixListener::bind(place.join("agent")).unwrap();
        listener.set_nonblocking(true).unwrap();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let streams = Redial::new(Host {
                    listens_at: place.join("host"),
                    agent: UnixListener::from_std(listener).unwrap(),
                    tries: tell,
                });
                tokio::select! {
                    over = serve(streams, Role::Guest) => panic!("it gave up: {over}"),
                    _ = stopped => {}
                }
            });
        });
        Self {
            directory,
            tries,
            stop: Some(stop),
            thread: Some(thread),
            _alone: alone,
        }
    }

    fn listen(&self) -> UnixListener {
        UnixListener::bind(self.directory.path().join("host")).unwrap()
    }

    fn stop_listening(&self, listener: UnixListener) {
        drop(listener);
        std::fs::remove_file(self.directory.path().join("host")).unwrap();
    }

    /// Connect to it, as a host that goes on with a saved machine.
    async fn connect(&self) -> Session {
        let stream = UnixStream::connect(self.directory.path().join("agent"));
        Session::begin(stream.await.unwrap()).await
    }
}

/// A connection, and the session on it.
struct Session {
    link: HostLink,
    hello: Hello,
    port: HostPort,
}

impl Session {
    async fn begin(stream: UnixStream) -> Self {
        let (reader, writer) = stream.into_split();
        let mut port = HostPort::new(reader, writer);
        let (link, hello) = port.accept().await.unwrap();
        Self { link, hello, port }
    }

    async fn accept(listener: &UnixListener) -> Self {
        Self::begin(listener.accept().await.unwrap().0).await
    }

    async fn run(&self, command: &str) -> String {
        let mut channel = self.link.open(&exec(command)).unwrap();
        let mut output = Vec::new();
        loop {
            match channel.receiver.next().await.unwrap() {
                Incoming::Data(Stream::Out, bytes) => output.extend_from_slice(&bytes),
                Incoming::Finished(Ok(Response::Exited(_))) => {
                    return String::from_utf8(output).unwrap().trim().to_owned();
                }
                Incoming::Finished(other) => panic!("{other:?}"),
                _ => {}
            }
        }
    }

    async fn set(&self, name: &str, value: &str) {
        let setup = Setup {
            environment: vec![(name.to_owned(), value.to_owned())],
            ..Setup::default()
        };
        let mut channel = self.link.open(&Request::Setup(setup)).unwrap();
        let answer = channel.receiver.next().await.unwrap();
        assert!(
            matches!(answer, Incoming::Finished(Ok(Response::Done))),
            "{answer:?}"
        );
    }
}

fn exec(command: &str) -> Request {
    Request::Exec(Exec {
        program: Program::Shell(RawBytes::from(command.as_bytes().to_vec())),
        environment: Vec::new(),
        directory: None,
        user: None,
        stdin: false,
        pty: None,
        timeout_ms: Some(60_000),
    })
}

#[tokio::test]
async fn an_agent_comes_back_with_all_that_it_had() {
    let agent = Agent::start().await;
    let listener = agent.listen();
    let session = Session::accept(&listener).await;
    session.set("COLOUR", "green").await;
    let pid = session.run("sleep 300 > /dev/null 2>&1 & echo $!").await;
    let mut under_way = session.link.open(&exec("sleep 300")).unwrap();
    let first = session.hello.nonce;
    drop(session);
    let lost = under_way.receiver.next().await;
    assert!(lost.is_err(), "{lost:?}");

    let session = Session::accept(&listener).await;
    assert_ne!(session.hello.nonce, first);
    let state = session.run(&format!("kill {pid} && echo $COLOUR")).await;
    assert_eq!(state, "green");
}

#[tokio::test]
async fn a_host_that_refuses_is_asked_until_it_does_not() {
    let mut agent = Agent::start().await;
    for _ in 0..5 {
        assert_eq!(agent.tries.recv().await, Some(false));
    }
    let listener = agent.listen();
    let session = Session::accept(&listener).await;
    assert_eq!(session.run("echo here").await, "here");
    while agent.tries.recv().await != Some(true) {}

    agent.stop_listening(listener);
    drop(session);
    assert_eq!(agent.tries.recv().await, Some(false));
    let listener = agent.listen();
    Session::accept(&listener).await;
}

#[tokio::test]
async fn the_newer_connection_takes_the_place_of_the_older() {
    let mut agent = Agent::start().await;
    let listener = agent.listen();
    let mut older = Session::accept(&listener).await;
    older.set("COLOUR", "green").await;
    let mut under_way = older.link.open(&exec("echo $$; sleep 300")).unwrap();
    let pid = loop {
        if let Incoming::Data(_, pid) = under_way.receiver.next().await.unwrap() {
            break pid;
        }
    };
    let pid = String::from_utf8(pid.to_vec()).unwrap();

    for _ in 0..3 {
        let newer = agent.connect().await;
        assert_eq!(older.link.ended().await, LinkError::Closed);
        assert!(older.port.accept().await.is_err());
        assert_eq!(newer.run("echo $COLOUR").await, "green");
        older = newer;
    }
    // What was under way for the first was ended with it.
    let ended = format!("while kill -0 {} 2> /dev/null; do :; done", pid.trim());
    older.run(&ended).await;
    // As long as there is a connection, the agent makes none.
    while agent.tries.recv().await != Some(true) {}
    assert!(agent.tries.is_empty());
    drop(older);
    let again = Session::accept(&listener).await;
    assert_eq!(again.run("echo $COLOUR").await, "green");
}

#[tokio::test]
async fn a_host_may_be_the_first_to_connect() {
    let mut agent = Agent::start().await;
    assert_eq!(agent.tries.recv().await, Some(false));
    let session = agent.connect().await;
    assert_eq!(session.run("echo here").await, "here");
    // Another one that says nothing takes its place all the same, and is left for the next.
    let silent = UnixStream::connect(agent.directory.path().join("agent"));
    let silent = silent.await.unwrap();
    assert_eq!(session.link.ended().await, LinkError::Closed);
    let next = agent.connect().await;
    assert_eq!(next.run("echo here").await, "here");
    drop(silent);
    assert_eq!(next.run("echo still").await, "still");
}

/// A host that takes each connection only to end it refuses, too: the pauses grow.
#[tokio::test(start_paused = true)]
async fn a_host_that_drops_what_it_takes_is_not_asked_without_a_pause() {
    use attest_agent::{Ended, Streams};
    use tokio::time::{Duration, Instant};

    struct Dropping;

    impl Peer for Dropping {
        fn name(&self) -> String {
            "a host".to_owned()
        }

        async fn connect(&self) -> io::Result<OwnedFd> {
            Ok(std::fs::File::open("/dev/null")?.into())
        }

        async fn accept(&self) -> io::Result<OwnedFd> {
            pending().await
        }
    }

    let ended = |answered| {
        let error = LinkError::Closed;
        Some(Ended { error, answered })
    };
    let mut streams = Redial::new(Dropping);
    let mut times = Vec::new();
    for before in [None, ended(false), ended(false), ended(false), ended(true)] {
        let began = Instant::now();
        streams.next(before).await.unwrap();
        times.push(began.elapsed());
    }
    let is_growing = times[1] < times[2] && times[2] < times[3];
    assert!(times[1] > Duration::ZERO && is_growing, "{times:?}");
    assert_eq!((times[0], times[4]), (Duration::ZERO, Duration::ZERO));
    for _ in 0..20 {
        let began = Instant::now();
        streams.next(ended(false)).await.unwrap();
        times.push(began.elapsed());
    }
    let longest = times.iter().max().unwrap();
    let bounds = Duration::from_secs(1)..=Duration::from_millis(1010);
    assert!(bounds.contains(longest), "{longest:?}");
}

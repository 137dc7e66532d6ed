//! The byte stream beneath the sessions. It outlives them: a virtio-serial port stays open when
//! its guest is booted again.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::encoding::{decode, encode};
use super::ends::{AgentLink, HostLink};
use super::outbox::{Outbox, write_frames};
use super::session::{Core, LinkError, Role};
use crate::GENERATION;
use crate::frame::{Decoder, Event, Frame, Kind};
use crate::message::{Hello, KNOCK, Welcome};

/// Room for one read: at least a page, as much as a virtio-serial port gives at once; at most two
/// full frames, for more did not make a socket pair faster.
const ROOM: (usize, usize) = (4 * 1024, 128 * 1024);
/// How long an agent waits for its welcome before it says hello again: the first wait, doubled
/// up to the last.
const HELLO_AGAIN: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// The tasks of a port; they end with it.
#[derive(Debug)]
struct Tasks([JoinHandle<()>; 2]);

impl Drop for Tasks {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

/// Why a port's stream ended, once it has.
type Over = Arc<OnceLock<LinkError>>;

fn reason(over: &Over) -> LinkError {
    over.get().cloned().unwrap_or(LinkError::Closed)
}

/// The host's end of a byte stream to an agent, over all sessions. Sessions end with it.
#[derive(Debug)]
pub struct HostPort {
    sessions: watch::Receiver<Option<(HostLink, Hello)>>,
    over: Over,
    _tasks: Tasks,
}

impl HostPort {
    /// Start on a stream, on the current tokio runtime.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new<R, W>(reader: R, writer: W) -> Self
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        Self::start(reader, writer, Arc::default())
    }

    /// The same for an agent that has a session with another host, whose machine was saved and goes on here: it is
    /// asked to begin anew. Agents before generation 3 do not hear it.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn knocking<R, W>(reader: R, writer: W) -> Self
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let knock = Welcome {
            generation: GENERATION,
            nonce: KNOCK,
        };
        let knock = encode(&knock).expect("two numbers fit into a frame");
        let outbox = Arc::new(Outbox::default());
        outbox.begin(0, Some(Frame::new(Kind::Welcome, 0, knock)));
        Self::start(reader, writer, outbox)
    }

    fn start<R, W>(reader: R, writer: W, outbox: Arc<Outbox>) -> Self
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, sessions) = watch::channel(None);
        let host = Host {
            outbox: Arc::clone(&outbox),
            current: None,
            sessions: sender,
            count: 0,
        };
        let over = Over::default();
        let tasks = run(reader, writer, outbox, host, Arc::clone(&over));
        Self {
            sessions,
            over,
            _tasks: tasks,
        }
    }

    /// The next session: its agent has said hello and was answered. When several came since the
    /// last call, only the newest counts. An error when the stream has ended. Cancel-safe.
    pub async fn accept(&mut self) -> Result<(HostLink, Hello), LinkError> {
        loop {
            self.sessions
                .changed()
                .await
                .map_err(|_| reason(&self.over))?;
            if let Some(session) = self.sessions.borrow_and_update().clone() {
                return Ok(session);
            }
        }
    }
}

/// The agent's end of a byte stream to a host. Sessions end with it.
#[derive(Debug)]
pub struct AgentPort {
    outbox: Arc<Outbox>,
    hello: watch::Sender<Option<Hello>>,
    sessions: tokio::sync::mpsc::UnboundedReceiver<(u64, AgentLink)>,
    over: Over,
    _tasks: Tasks,
}

impl AgentPort {
    /// Start on a stream, on the current tokio runtime.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new<R, W>(reader: R, writer: W) -> Self
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let outbox = Arc::new(Outbox::default());
        let hello = watch::Sender::new(None);
        let (sender, sessions) = tokio::sync::mpsc::unbounded_channel();
        let agent = Agent {
            outbox: Arc::clone(&outbox),
            current: None,
            hello: hello.subscribe(),
            sessions: sender,
            count: 0,
        };
        let over = Over::default();
        let tasks = run(
            reader,
            writer,
            Arc::clone(&outbox),
            agent,
            Arc::clone(&over),
        );
        Self {
            outbox,
            hello,
            sessions,
            over,
            _tasks: tasks,
        }
    }

    /// Say hello until the host answers. Each call needs a nonce of its own: the host takes an
    /// equal one for a repetition.
    pub async fn connect(&mut self, hello: Hello) -> Result<AgentLink, LinkError> {
        let frame = Frame::new(Kind::Hello, 0, encode(&hello)?);
        let nonce = hello.nonce;
        self.hello.send_replace(Some(hello));
        let (mut pause, longest) = HELLO_AGAIN;
        // Session 0 is before any.
        self.outbox.begin(0, Some(frame.clone()));
        loop {
            match tokio::time::timeout(pause, self.sessions.recv()).await {
                Ok(Some((answered, link))) if answered == nonce => return Ok(link),
                // The answer to a call that was given up.
                Ok(Some(_)) => {}
                Ok(None) => return Err(reason(&self.over)),
                Err(_) => {
                    // Has no effect when the answer is just arriving.
                    self.outbox.greet_again(0, frame.clone());
                    pause = longest.min(pause * 2);
                }
            }
        }
    }
}

/// One side's handling of what arrives.
trait Side: Send + 'static {
    /// What the other side begins a session with.
    const GREETING: Kind;
    /// Whether to stop reading from a peer that does not read. Only the host may: if both did,
    /// they could wait for each other.
    const HOLDS_BACK: bool;
    fn frame(&mut self, frame: Frame) -> Result<(), LinkError>;
    /// The session has ended, if there was one.
    fn lost(&mut self, error: LinkError);
    fn in_session(&self) -> bool;
}

fn run<R, W>(reader: R, writer: W, outbox: Arc<Outbox>, mut side: impl Side, over: Over) -> Tasks
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let (failed, write_failed) = tokio::sync::oneshot::channel();
    let writing = Arc::clone(&outbox);
    let writing = tokio::spawn(async move {
        let error = write_frames(writer, writing).await;
        let _ = failed.send(error);
    });
    let reading = tokio::spawn(async move {
        let error = tokio::select! {
            error = read_frames(reader, &mut side, &outbox) => error,
            Ok(error) = write_failed => LinkError::Io(error.to_string()),
        };
        let _ = over.set(error.clone());
        side.lost(error);
    });
    Tasks([writing, reading])
}

async fn read_frames<R: AsyncRead + Unpin, S: Side>(
    mut reader: R,
    side: &mut S,
    outbox: &Outbox,
) -> LinkError {
    let mut decoder = Decoder::new(S::GREETING);
    // Grows with what comes at once: large rooms are fresh memory, which small frames pay for.
    let (mut room, most) = ROOM;
    loop {
        decoder.buffer().reserve(room);
        match reader.read_buf(decoder.buffer()).await {
            Ok(0) => return LinkError::Closed,
            Ok(count) => {
                if count >= room {
                    room = most.min(room * 2);
                }
                drain(&mut decoder, side);
            }
            Err(error) => return LinkError::Io(error.to_string()),
        }
        if S::HOLDS_BACK {
            outbox.calm().await;
        }
    }
}

/// Take everything whole off the decoder.
fn drain<S: Side>(decoder: &mut Decoder, side: &mut S) {
    while let Some(event) = decoder.next_event() {
        match event {
            Event::Frame(frame) => {
                if let Err(error) = side.frame(frame) {
                    side.lost(error);
                }
                if !side.in_session() {
                    decoder.search();
                }
            }
            Event::Restarted => side.lost(LinkError::Closed),
            Event::Garbage(error) => side.lost(LinkError::Protocol(error.to_string())),
        }
    }
}

struct Host {
    outbox: Arc<Outbox>,
    current: Option<(Arc<Core>, u64)>,
    sessions: watch::Sender<Option<(HostLink, Hello)>>,
    count: u64,
}

impl Side for Host {
    const GREETING: Kind = Kind::Hello;
    const HOLDS_BACK: bool = true;

    fn frame(&mut self, frame: Frame) -> Result<(), LinkError> {
        match (&self.current, frame.kind) {
            (_, Kind::Hello) => self.hello(decode(&frame.payload)?),
            (Some((core, _)), _) => core.receive(frame),
            (None, _) => Ok(()),
        }
    }

    fn lost(&mut self, error: LinkError) {
        if let Some((core, _)) = self.current.take() {
            core.end(error);
        }
    }

    fn in_session(&self) -> bool {
        self.current.is_some()
    }
}

impl Host {
    fn hello(&mut self, hello: Hello) -> Result<(), LinkError> {
        let generation = hello.generation.min(GENERATION);
        if generation == 0 {
            return Err(LinkError::Protocol("generation 0 is none".to_owned()));
        }
        let welcome = Frame::new(
            Kind::Welcome,
            0,
            encode(&Welcome {
                generation,
                nonce: hello.nonce,
            })?,
        );
        if self
            .current
            .as_ref()
            .is_some_and(|(_, nonce)| *nonce == hello.nonce)
        {
            // It repeated itself before it saw our answer.
            self.outbox.greet_again(self.count, welcome);
            return Ok(());
        }
        self.lost(LinkError::Closed);
        self.count += 1;
        self.outbox.begin(self.count, Some(welcome));
        let (core, _) = Core::new(Role::Host, generation, Arc::clone(&self.outbox), self.count);
        self.current = Some((Arc::clone(&core), hello.nonce));
        self.sessions.send_replace(Some((HostLink { core }, hello)));
        Ok(())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.lost(LinkError::Closed);
    }
}

struct Agent {
    outbox: Arc<Outbox>,
    current: Option<(Arc<Core>, u64)>,
    hello: watch::Receiver<Option<Hello>>,
    sessions: tokio::sync::mpsc::UnboundedSender<(u64, AgentLink)>,
    count: u64,
}

impl Side for Agent {
    const GREETING: Kind = Kind::Welcome;
    const HOLDS_BACK: bool = false;

    fn frame(&mut self, frame: Frame) -> Result<(), LinkError> {
        match (&self.current, frame.kind) {
            (_, Kind::Welcome) => self.welcome(&decode(&frame.payload)?),
            (Some((core, _)), _) => core.receive(frame),
            (None, _) => Ok(()),
        }
    }

    fn lost(&mut self, error: LinkError) {
        if let Some((core, _)) = self.current.take() {
            core.end(error);
        }
    }

    fn in_session(&self) -> bool {
        self.current.is_some()
    }
}

impl Agent {
    fn welcome(&mut self, welcome: &Welcome) -> Result<(), LinkError> {
        if welcome.nonce == KNOCK {
            self.lost(LinkError::Closed);
            return Ok(());
        }
        let nonce = self.hello.borrow().as_ref().map(|hello| hello.nonce);
        let known = self.current.as_ref().map(|(_, nonce)| *nonce);
        if nonce != Some(welcome.nonce) || known == nonce {
            // The answer to a hello of a former life, or to a repetition.
            return Ok(());
        }
        if welcome.generation == 0 || welcome.generation > GENERATION {
            return Err(LinkError::Protocol(format!(
                "generation {} was not offered",
                welcome.generation
            )));
        }
        self.lost(LinkError::Closed);
        self.count += 1;
        self.outbox.begin(self.count, None);
        let (core, accepted) = Core::new(
            Role::Agent,
            welcome.generation,
            Arc::clone(&self.outbox),
            self.count,
        );
        self.current = Some((Arc::clone(&core), welcome.nonce));
        // The port may have gone; its tasks go with it.
        let _ = self
            .sessions
            .send((welcome.nonce, AgentLink { core, accepted }));
        Ok(())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.lost(LinkError::Closed);
    }
}

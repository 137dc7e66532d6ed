//! The byte stream beneath the sessions. It outlives them: a virtio-serial port stays open when
//! its guest is booted again.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;

use super::session::{Accepted, AgentLink, Core, HostLink, LinkError, Role, decode, encode};
use crate::GENERATION;
use crate::frame::{Decoder, Frame, Kind};
use crate::message::{Hello, Welcome};

/// Read at once.
const READ: usize = 128 * 1024;
/// Frames gathered for one write; small ones share a system call.
const GATHER: usize = 64 * 1024;
/// How long an agent waits for its welcome before it says hello again: the first wait, doubled
/// up to the last.
const HELLO_AGAIN: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Frames on their way out. One for a port; frames of a session that is over are dropped.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    lanes: Mutex<Lanes>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Lanes {
    session: u64,
    /// Small frames, which overtake data.
    control: VecDeque<Frame>,
    /// Data, and what must not overtake it. Bounded by the windows of the channels.
    data: VecDeque<Frame>,
}

impl Outbox {
    fn begin(&self, session: u64, first: Option<Frame>) {
        let mut lanes = self.lanes.lock().expect("not poisoned");
        *lanes = Lanes { session, control: first.into_iter().collect(), data: VecDeque::new() };
        drop(lanes);
        self.filled.notify_one();
    }

    pub(super) fn push_control(&self, session: u64, frame: Frame) {
        self.push(session, frame, |lanes| &mut lanes.control);
    }

    pub(super) fn push_data(&self, session: u64, frame: Frame) {
        self.push(session, frame, |lanes| &mut lanes.data);
    }

    fn push(&self, session: u64, frame: Frame, lane: impl FnOnce(&mut Lanes) -> &mut VecDeque<Frame>) {
        let mut lanes = self.lanes.lock().expect("not poisoned");
        if lanes.session == session {
            lane(&mut lanes).push_back(frame);
            drop(lanes);
            self.filled.notify_one();
        }
    }

    /// Move frames into `buffer` until it is worth a write; the payload of a large one is given
    /// back, to be written after the buffer without a copy.
    fn take(&self, buffer: &mut BytesMut) -> Option<Bytes> {
        let mut lanes = self.lanes.lock().expect("not poisoned");
        while buffer.len() < GATHER {
            let Some(frame) = lanes.control.pop_front().or_else(|| lanes.data.pop_front()) else { break };
            frame.put_header(buffer);
            if frame.payload.len() > GATHER / 4 {
                return Some(frame.payload);
            }
            buffer.extend_from_slice(&frame.payload);
        }
        None
    }
}

async fn write_frames<W: AsyncWrite + Unpin>(mut writer: W, outbox: Arc<Outbox>) -> std::io::Error {
    let mut buffer = BytesMut::with_capacity(2 * GATHER);
    loop {
        let large = outbox.take(&mut buffer);
        if buffer.is_empty() {
            outbox.filled.notified().await;
            continue;
        }
        let written = async {
            writer.write_all(&buffer).await?;
            if let Some(payload) = large {
                writer.write_all(&payload).await?;
            }
            writer.flush().await
        };
        if let Err(error) = written.await {
            return error;
        }
        buffer.clear();
    }
}

/// The tasks of a port; they end with it.
#[derive(Debug)]
struct Tasks(Vec<JoinHandle<()>>);

impl Drop for Tasks {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

/// The host's end of a byte stream to an agent, over all sessions.
#[derive(Debug)]
pub struct HostPort {
    sessions: mpsc::UnboundedReceiver<(HostLink, Hello)>,
    _tasks: Tasks,
}

impl HostPort {
    /// Start on a stream, on the current tokio runtime.
    pub fn new<R, W>(reader: R, writer: W) -> Self
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let outbox = Arc::new(Outbox::default());
        let (sender, sessions) = mpsc::unbounded_channel();
        let host = Host { outbox: Arc::clone(&outbox), current: None, sessions: sender, count: 0 };
        let tasks = run(reader, writer, outbox, host);
        Self { sessions, _tasks: tasks }
    }

    /// The next session: its agent has said hello and was answered. An error when the stream
    /// has ended.
    pub async fn accept(&mut self) -> Result<(HostLink, Hello), LinkError> {
        self.sessions.recv().await.ok_or(LinkError::Closed)
    }
}

/// The agent's end of a byte stream to a host.
#[derive(Debug)]
pub struct AgentPort {
    outbox: Arc<Outbox>,
    hello: watch::Sender<Option<Hello>>,
    sessions: mpsc::UnboundedReceiver<AgentLink>,
    _tasks: Tasks,
}

impl AgentPort {
    /// Start on a stream, on the current tokio runtime.
    pub fn new<R, W>(reader: R, writer: W) -> Self
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let outbox = Arc::new(Outbox::default());
        let hello = watch::Sender::new(None);
        let (sender, sessions) = mpsc::unbounded_channel();
        let agent =
            Agent { outbox: Arc::clone(&outbox), current: None, hello: hello.subscribe(), sessions: sender, count: 0 };
        let tasks = run(reader, writer, Arc::clone(&outbox), agent);
        Self { outbox, hello, sessions, _tasks: tasks }
    }

    /// Say hello until the host answers.
    pub async fn connect(&mut self, hello: Hello) -> Result<AgentLink, LinkError> {
        let frame = Frame::new(Kind::Hello, 0, encode(&hello)?);
        self.hello.send_replace(Some(hello));
        let (mut pause, longest) = HELLO_AGAIN;
        loop {
            // Session 0 is before any: what a former one left unsent is dropped.
            self.outbox.begin(0, Some(frame.clone()));
            match tokio::time::timeout(pause, self.sessions.recv()).await {
                Ok(Some(link)) => return Ok(link),
                Ok(None) => return Err(LinkError::Closed),
                Err(_) => pause = longest.min(pause * 2),
            }
        }
    }
}

/// One side's handling of frames.
trait Side: Send + 'static {
    fn frame(&mut self, frame: Frame) -> Result<(), LinkError>;
    /// What arrives makes no sense any more.
    fn lost(&mut self, error: LinkError);
    /// Whether a hello may cut a frame.
    const MAY_BE_CUT: bool;
}

fn run<R, W>(reader: R, writer: W, outbox: Arc<Outbox>, side: impl Side) -> Tasks
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let (failed, write_failed) = tokio::sync::oneshot::channel();
    let writing = tokio::spawn(async move {
        let error = write_frames(writer, outbox).await;
        let _ = failed.send(error);
    });
    let reading = tokio::spawn(async move {
        let mut side = side;
        let error = tokio::select! {
            error = read_frames(reader, &mut side) => error,
            Ok(error) = write_failed => LinkError::Io(error.to_string()),
        };
        side.lost(error);
    });
    Tasks(vec![writing, reading])
}

async fn read_frames<R: AsyncRead + Unpin, S: Side>(mut reader: R, side: &mut S) -> LinkError {
    let mut decoder = Decoder::default();
    loop {
        drain(&mut decoder, side);
        decoder.buffer().reserve(READ);
        match reader.read_buf(decoder.buffer()).await {
            Ok(0) => return LinkError::Closed,
            Ok(_) => {}
            Err(error) => return LinkError::Io(error.to_string()),
        }
    }
}

/// Take all whole frames off the decoder. This is the whole state machine: no I/O in it.
fn drain<S: Side>(decoder: &mut Decoder, side: &mut S) {
    loop {
        match decoder.next_frame() {
            Ok(Some(frame)) => {
                if let Err(error) = side.frame(frame) {
                    side.lost(error);
                }
            }
            Ok(None) if S::MAY_BE_CUT && decoder.cut_by_hello() => side.lost(LinkError::Closed),
            Ok(None) => return,
            Err(error) => {
                side.lost(LinkError::Protocol(error.to_string()));
                if !decoder.resynchronise() {
                    return;
                }
            }
        }
    }
}

struct Host {
    outbox: Arc<Outbox>,
    current: Option<(Arc<Core>, Hello)>,
    sessions: mpsc::UnboundedSender<(HostLink, Hello)>,
    count: u64,
}

impl Side for Host {
    const MAY_BE_CUT: bool = true;

    fn frame(&mut self, frame: Frame) -> Result<(), LinkError> {
        match (&self.current, frame.kind) {
            (_, Kind::Hello) => self.hello(decode(&frame.payload)?),
            (Some((core, _)), _) => core.receive(frame),
            // Left over from before the session, or after its end.
            (None, _) => Ok(()),
        }
    }

    fn lost(&mut self, error: LinkError) {
        if let Some((core, _)) = self.current.take() {
            core.end(error);
        }
    }
}

impl Host {
    fn hello(&mut self, hello: Hello) -> Result<(), LinkError> {
        let generation = hello.generation.min(GENERATION);
        let welcome = Frame::new(Kind::Welcome, 0, encode(&Welcome { generation, nonce: hello.nonce })?);
        if let Some((core, known)) = &self.current
            && known.nonce == hello.nonce
        {
            // It repeated itself before it saw our answer.
            return core.send(welcome);
        }
        self.lost(LinkError::Closed);
        self.count += 1;
        self.outbox.begin(self.count, Some(welcome));
        let (core, _) = Core::new(Role::Host, generation, Arc::clone(&self.outbox), self.count);
        self.current = Some((Arc::clone(&core), hello.clone()));
        let link = HostLink { core };
        // The port may have gone; its tasks go with it.
        let _ = self.sessions.send((link, hello));
        Ok(())
    }
}

struct Agent {
    outbox: Arc<Outbox>,
    current: Option<Arc<Core>>,
    hello: watch::Receiver<Option<Hello>>,
    sessions: mpsc::UnboundedSender<AgentLink>,
    count: u64,
}

impl Side for Agent {
    const MAY_BE_CUT: bool = false;

    fn frame(&mut self, frame: Frame) -> Result<(), LinkError> {
        match (&self.current, frame.kind) {
            (None, Kind::Welcome) => self.welcome(&decode(&frame.payload)?),
            (Some(core), _) => core.receive(frame),
            (None, _) => Ok(()),
        }
    }

    fn lost(&mut self, error: LinkError) {
        if let Some(core) = self.current.take() {
            core.end(error);
        }
    }
}

impl Agent {
    fn welcome(&mut self, welcome: &Welcome) -> Result<(), LinkError> {
        let answers = self.hello.borrow().as_ref().is_some_and(|hello| hello.nonce == welcome.nonce);
        if !answers {
            return Ok(());
        }
        self.count += 1;
        self.outbox.begin(self.count, None);
        let (core, accepted): (_, mpsc::UnboundedReceiver<Accepted>) =
            Core::new(Role::Agent, welcome.generation, Arc::clone(&self.outbox), self.count);
        self.current = Some(Arc::clone(&core));
        let _ = self.sessions.send(AgentLink { core, accepted });
        Ok(())
    }
}

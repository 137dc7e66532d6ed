//! What the channels of one session share, and the two ends of it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use minicbor::{Decode, Encode};
use tokio::sync::{mpsc, watch};

use super::WINDOW;
use super::channel::{Channel, Incoming, Stream, Windows};
use super::port::Outbox;
use crate::frame::{Frame, Kind, MAX_PAYLOAD};
use crate::message::{Failure, FailureCode, Request, Response};

/// Numbers of finished channels that are remembered, for frames that were under way.
const REMEMBERED: usize = 4096;
/// Channels that may be open at once: bounds what a hostile peer can make us hold.
const MOST_CHANNELS: usize = 4096;

/// Why a link ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The other side closed the stream, or began a new session.
    #[error("the other side closed the connection")]
    Closed,
    /// Reading or writing failed.
    #[error("the connection failed: {0}")]
    Io(String),
    /// The other side sent what the protocol forbids.
    #[error("the other side broke the protocol: {0}")]
    Protocol(String),
    /// A request that is newer than the agent.
    #[error("the agent cannot `{request}`: it speaks generation {agent} of the protocol, and this needs {needed}")]
    TooOld {
        /// The request's name.
        request: &'static str,
        /// The generation that brought it.
        needed: u32,
        /// The session's generation.
        agent: u32,
    },
    /// A message does not fit into a frame.
    #[error("a message of {0} bytes does not fit into a frame of {MAX_PAYLOAD}")]
    TooLong(usize),
}

/// Which end of the link this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Host,
    Agent,
}

/// A channel that the other side opened.
pub type Accepted = (Request, Channel);

/// What the channels of one session share.
#[derive(Debug)]
pub(super) struct Core {
    role: Role,
    generation: u32,
    outbox: Arc<Outbox>,
    session: u64,
    state: Mutex<State>,
    ended: watch::Sender<Option<LinkError>>,
}

#[derive(Debug, Default)]
struct State {
    channels: HashMap<u32, Entry>,
    next: u32,
    gone: HashSet<u32>,
    gone_order: VecDeque<u32>,
    accepted: Option<mpsc::UnboundedSender<Accepted>>,
    listeners: HashMap<u32, mpsc::UnboundedSender<Channel>>,
}

#[derive(Debug)]
struct Entry {
    items: mpsc::UnboundedSender<Incoming>,
    windows: Arc<Windows>,
    /// What the other side may still send.
    room: [usize; Stream::COUNT],
    /// Our consumer is gone; what still comes is dropped.
    abandoned: bool,
}

impl Core {
    pub(super) fn new(role: Role, generation: u32, outbox: Arc<Outbox>, session: u64) -> (Arc<Self>, mpsc::UnboundedReceiver<Accepted>) {
        let (sender, accepted) = mpsc::unbounded_channel();
        // The host opens odd numbers, the agent even ones: neither must ask the other.
        let next = if role == Role::Host { 1 } else { 2 };
        let state = State { next, accepted: Some(sender), ..State::default() };
        let core = Self {
            role,
            generation,
            outbox,
            session,
            state: Mutex::new(state),
            ended: watch::Sender::new(None),
        };
        (Arc::new(core), accepted)
    }

    pub(super) fn closed(&self) -> LinkError {
        self.ended.borrow().clone().unwrap_or(LinkError::Closed)
    }

    pub(super) fn send(&self, frame: Frame) -> Result<(), LinkError> {
        self.alive()?;
        self.outbox.push_control(self.session, frame);
        Ok(())
    }

    pub(super) fn send_data(&self, frame: Frame) -> Result<(), LinkError> {
        self.alive()?;
        self.outbox.push_data(self.session, frame);
        Ok(())
    }

    fn alive(&self) -> Result<(), LinkError> {
        match &*self.ended.borrow() {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// End the session: every channel's receiver sees its queue's end, every sender an error.
    pub(super) fn end(&self, error: LinkError) {
        self.ended.send_if_modified(|ended| {
            let first = ended.is_none();
            ended.get_or_insert(error);
            first
        });
        let mut state = self.state.lock().expect("not poisoned");
        for entry in state.channels.values() {
            entry.windows.close();
        }
        state.channels.clear();
        state.listeners.clear();
        state.accepted = None;
    }

    fn open(self: &Arc<Self>, request: &Request) -> Result<Channel, LinkError> {
        if request.since() > self.generation {
            return Err(LinkError::TooOld { request: request.name(), needed: request.since(), agent: self.generation });
        }
        let payload = encode(request)?;
        let mut state = self.state.lock().expect("not poisoned");
        self.alive()?;
        let number = state.free_number();
        let channel = self.entry(&mut state, number);
        // With the small frames, so that a cancellation cannot overtake it.
        self.outbox.push_control(self.session, Frame::new(Kind::Open, number, payload));
        Ok(channel)
    }

    fn accepted_by(&self, listener: u32) -> mpsc::UnboundedReceiver<Channel> {
        let (sender, accepted) = mpsc::unbounded_channel();
        self.state.lock().expect("not poisoned").listeners.insert(listener, sender);
        accepted
    }

    fn entry(self: &Arc<Self>, state: &mut State, number: u32) -> Channel {
        let (sender, items) = mpsc::unbounded_channel();
        let windows = Arc::new(Windows::new());
        let entry = Entry { items: sender, windows: Arc::clone(&windows), room: [WINDOW; Stream::COUNT], abandoned: false };
        state.channels.insert(number, entry);
        Channel::new(self, number, windows, items)
    }

    /// Let the other side send more.
    pub(super) fn grant(&self, number: u32, stream: Stream, bytes: usize) {
        let mut state = self.state.lock().expect("not poisoned");
        let Some(entry) = state.channels.get_mut(&number) else { return };
        entry.room[stream as usize] += bytes;
        drop(state);
        let mut payload = vec![stream as u8];
        payload.extend_from_slice(&u32::try_from(bytes).expect("at most a window").to_le_bytes());
        // Without a link there is nobody to grant to.
        let _ = self.send(Frame::new(Kind::Credit, number, payload));
    }

    /// The agent finished a channel.
    pub(super) fn forget(&self, number: u32) {
        self.state.lock().expect("not poisoned").remove(number);
    }

    /// The consumer of a channel is gone.
    pub(super) fn abandon(&self, number: u32, finished: bool) {
        if finished {
            return;
        }
        let mut state = self.state.lock().expect("not poisoned");
        let Some(entry) = state.channels.get_mut(&number) else { return };
        entry.abandoned = true;
        // An agent that answers without listening to the end is within its rights.
        let cancel = self.role == Role::Host;
        drop(state);
        if cancel {
            let _ = self.send(Frame::new(Kind::Cancel, number, Bytes::new()));
        }
    }

    /// Take a frame of the session.
    pub(super) fn receive(self: &Arc<Self>, frame: Frame) -> Result<(), LinkError> {
        match frame.kind {
            Kind::Hello | Kind::Welcome => Ok(()),
            Kind::Open => self.receive_open(&frame),
            Kind::DataIn => self.receive_data(frame.channel, Stream::In, frame.payload),
            Kind::DataOut => self.receive_data(frame.channel, Stream::Out, frame.payload),
            Kind::DataErr => self.receive_data(frame.channel, Stream::Err, frame.payload),
            Kind::Credit => self.receive_credit(&frame),
            Kind::Eof => {
                let stream = match *frame.payload {
                    [byte] => Stream::from_byte(byte),
                    _ => None,
                };
                let stream = stream.ok_or_else(|| broken("an end of no stream"))?;
                self.deliver(frame.channel, Incoming::Eof(stream))
            }
            Kind::Notice => self.deliver(frame.channel, Incoming::Notice(decode(&frame.payload)?)),
            Kind::Control => self.deliver(frame.channel, Incoming::Control(decode(&frame.payload)?)),
            Kind::Cancel => self.deliver(frame.channel, Incoming::Cancelled),
            Kind::Finished => {
                let result = decode_result(&frame.payload)?;
                self.deliver(frame.channel, Incoming::Finished(result))?;
                self.forget(frame.channel);
                Ok(())
            }
        }
    }

    fn receive_open(self: &Arc<Self>, frame: &Frame) -> Result<(), LinkError> {
        let request: Request = decode(&frame.payload)?;
        let own = if self.role == Role::Host { 1 } else { 0 };
        let mut state = self.state.lock().expect("not poisoned");
        if frame.channel % 2 == own || frame.channel == 0 || state.channels.contains_key(&frame.channel) {
            return Err(broken("a channel opened under a number that is taken"));
        }
        if state.channels.len() >= MOST_CHANNELS {
            return Err(broken("more channels than there may be"));
        }
        let channel = self.entry(&mut state, frame.channel);
        let accepted = state.accepted.clone();
        let listener = match (self.role, &request) {
            (Role::Host, Request::Accepted(listener)) => state.listeners.get(listener).cloned(),
            _ => None,
        };
        drop(state);
        if self.role == Role::Host {
            if let Some(listener) = listener {
                let _ = listener.send(channel);
            }
            return Ok(());
        }
        if let Some(accepted) = accepted {
            // Whoever accepts may have gone; the channel's drop tells the other side.
            let _ = accepted.send((request, channel));
        }
        Ok(())
    }

    fn receive_data(&self, number: u32, stream: Stream, bytes: Bytes) -> Result<(), LinkError> {
        let mut state = self.state.lock().expect("not poisoned");
        let Some(entry) = state.known(number)? else { return Ok(()) };
        let room = &mut entry.room[stream as usize];
        *room = room.checked_sub(bytes.len()).ok_or_else(|| broken("more bytes than the window allows"))?;
        if entry.abandoned {
            // Nobody reads: grant at once, so that the agent comes to its end.
            let length = bytes.len();
            drop(state);
            self.grant(number, stream, length);
            return Ok(());
        }
        let _ = entry.items.send(Incoming::Data(stream, bytes));
        Ok(())
    }

    fn receive_credit(&self, frame: &Frame) -> Result<(), LinkError> {
        let (stream, bytes) = match *frame.payload {
            [stream, a, b, c, d] => (Stream::from_byte(stream), u32::from_le_bytes([a, b, c, d])),
            _ => (None, 0),
        };
        let stream = stream.ok_or_else(|| broken("window for no stream"))?;
        let mut state = self.state.lock().expect("not poisoned");
        let Some(entry) = state.known(frame.channel)? else { return Ok(()) };
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        if bytes > WINDOW || !entry.windows.grant(stream, bytes) {
            return Err(broken("more window than there is"));
        }
        Ok(())
    }

    fn deliver(&self, number: u32, item: Incoming) -> Result<(), LinkError> {
        let mut state = self.state.lock().expect("not poisoned");
        if let Some(entry) = state.known(number)? {
            // A consumer that is gone misses nothing.
            let _ = entry.items.send(item);
        }
        Ok(())
    }
}

impl State {
    fn free_number(&mut self) -> u32 {
        while self.channels.contains_key(&self.next) || self.gone.contains(&self.next) {
            self.advance();
        }
        let number = self.next;
        self.advance();
        number
    }

    fn advance(&mut self) {
        let parity = self.next % 2;
        self.next = self.next.checked_add(2).unwrap_or(2 - parity);
    }

    fn remove(&mut self, number: u32) {
        if let Some(entry) = self.channels.remove(&number) {
            entry.windows.close();
            self.gone.insert(number);
            self.gone_order.push_back(number);
            if self.gone_order.len() > REMEMBERED
                && let Some(oldest) = self.gone_order.pop_front()
            {
                self.gone.remove(&oldest);
            }
        }
    }

    /// The channel; `None` when it was open a moment ago.
    fn known(&mut self, number: u32) -> Result<Option<&mut Entry>, LinkError> {
        if self.gone.contains(&number) {
            return Ok(None);
        }
        self.channels.get_mut(&number).map(Some).ok_or_else(|| broken("a frame for a channel that is not open"))
    }
}

fn broken(what: &str) -> LinkError {
    LinkError::Protocol(what.to_owned())
}

pub(super) fn encode<T: Encode<()>>(message: &T) -> Result<Vec<u8>, LinkError> {
    let bytes = minicbor::to_vec(message).expect("encoding into memory cannot fail");
    if bytes.len() > MAX_PAYLOAD { Err(LinkError::TooLong(bytes.len())) } else { Ok(bytes) }
}

/// As [`encode`]; a response that does not fit becomes a failure that says so.
pub(super) fn encode_result(result: &Result<Response, Failure>) -> Result<Vec<u8>, LinkError> {
    let encoded = match result {
        Ok(response) => encode(&Answer::Well(response.clone())),
        Err(failure) => encode(&Answer::Badly(failure.clone())),
    };
    match encoded {
        Err(LinkError::TooLong(length)) => encode(&Answer::Badly(Failure {
            code: FailureCode::Os,
            message: format!("the answer has {length} bytes and does not fit into a frame"),
            last_seen: None,
        })),
        other => other,
    }
}

pub(super) fn decode<'a, T: Decode<'a, ()>>(bytes: &'a [u8]) -> Result<T, LinkError> {
    minicbor::decode(bytes).map_err(|error| LinkError::Protocol(format!("a message that cannot be read: {error}")))
}

fn decode_result(bytes: &[u8]) -> Result<Result<Response, Failure>, LinkError> {
    Ok(match decode(bytes)? {
        Answer::Well(response) => Ok(response),
        Answer::Badly(failure) => Err(failure),
    })
}

/// A result on the wire.
#[derive(Debug, Encode, Decode)]
enum Answer {
    #[n(0)]
    Well(#[n(0)] Response),
    #[n(1)]
    Badly(#[n(0)] Failure),
}

/// The host's end of a session. Clones are the same session.
#[derive(Debug, Clone)]
pub struct HostLink {
    pub(super) core: Arc<Core>,
}

impl HostLink {
    /// Open a channel. Never waits for the other side.
    pub fn open(&self, request: &Request) -> Result<Channel, LinkError> {
        self.core.open(request)
    }

    /// The connections that the listener of this channel accepts ([`Request::Accepted`]). Those
    /// that nobody asked for are closed.
    pub fn accepted_by(&self, listener: u32) -> mpsc::UnboundedReceiver<Channel> {
        self.core.accepted_by(listener)
    }

    /// Resolves when the session has ended, with the reason. When the agent says hello anew,
    /// because its guest was booted again, that is [`LinkError::Closed`].
    pub async fn ended(&self) -> LinkError {
        ended(&self.core).await
    }
}

async fn ended(core: &Core) -> LinkError {
    let mut ended = core.ended.subscribe();
    match ended.wait_for(Option::is_some).await {
        Ok(error) => error.clone().unwrap_or(LinkError::Closed),
        Err(_) => LinkError::Closed,
    }
}

/// The agent's end of a session: requests come out of it.
#[derive(Debug)]
pub struct AgentLink {
    pub(super) core: Arc<Core>,
    pub(super) accepted: mpsc::UnboundedReceiver<Accepted>,
}

impl AgentLink {
    /// The next request, with its channel.
    pub async fn next(&mut self) -> Result<Accepted, LinkError> {
        match self.accepted.recv().await {
            Some(accepted) => Ok(accepted),
            None => Err(self.core.closed()),
        }
    }

    /// What opens channels to the host.
    pub fn opener(&self) -> Opener {
        Opener { core: Arc::clone(&self.core) }
    }
}

/// Opens channels from the agent to the host.
#[derive(Debug, Clone)]
pub struct Opener {
    core: Arc<Core>,
}

impl Opener {
    /// Open a channel ([`Request::Accepted`]).
    pub fn open(&self, request: &Request) -> Result<Channel, LinkError> {
        self.core.open(request)
    }
}

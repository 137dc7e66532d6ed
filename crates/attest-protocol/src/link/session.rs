//! What the channels of one session share: numbers, windows, and the rules for what arrives.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc, watch};

use super::channel::{Channel, Incoming, Stream};
use super::encoding::{decode, decode_result, encode};
use super::outbox::Outbox;
use super::{WINDOW, cost};
use crate::frame::{Frame, Kind, MAX_PAYLOAD};
use crate::message::Request;

/// Channels of the agent's that may be open at once: bounds what a hostile one can make us hold.
const MOST_OF_AGENT: usize = 16 * 1024;
/// Connections of one listener that may wait to be taken, each with its windows. More are
/// refused, as by a listening socket whose backlog is full.
const BACKLOG: usize = 256;
/// Notices of one channel that may wait to be taken.
const MOST_NOTICES: usize = 1024;

/// Why a link ended, or cannot do what it was asked to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The other side closed the stream, or began a new session.
    #[error("the other side closed the connection")]
    Closed,
    /// This side gave the session up: the machine was saved, or put back to what it was.
    #[error("the machine was saved or put back meanwhile")]
    Superseded,
    /// Reading or writing failed.
    #[error("the connection failed: {0}")]
    Io(String),
    /// The other side sent what the protocol forbids.
    #[error("the other side broke the protocol: {0}")]
    Protocol(String),
    /// The stream or its request has ended, while the link goes on.
    #[error("the request has already ended")]
    Finished,
    /// A request that is newer than the agent.
    #[error(
        "the agent cannot `{request}`: it speaks generation {agent} of the protocol, and this needs {needed}"
    )]
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
    /// A session has two thousand million channel numbers for each side, and they are used up.
    #[error("the session has no channel numbers left: begin a new one")]
    Exhausted,
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

#[derive(Debug)]
struct State {
    channels: HashMap<u32, Entry>,
    /// The number that this side opens next. Numbers are not used twice in a session, so a
    /// frame that was under way when its channel ended is told from one that never had one.
    next: u32,
    /// The greatest number that the other side has opened.
    highest: u32,
    /// Channels of the other side's that are open.
    foreign: usize,
    /// Gone when the session has ended.
    accepted: Option<mpsc::UnboundedSender<Accepted>>,
    /// Connections of listeners that nobody has asked for yet.
    connections: HashMap<u32, mpsc::Receiver<Channel>>,
}

#[derive(Debug)]
struct Entry {
    items: mpsc::UnboundedSender<Incoming>,
    shared: Arc<Shared>,
    /// What the other side may still send.
    room: [usize; Stream::COUNT],
    /// Window not yet given back for bytes that nobody reads.
    dropped: [usize; Stream::COUNT],
    ended: [bool; Stream::COUNT],
    /// Our consumer is gone; what still comes is dropped.
    abandoned: bool,
    cancelled: bool,
    /// Where connections go, when this is a listener.
    listener: Option<mpsc::Sender<Channel>>,
}

/// What an entry and the halves of its channel share.
#[derive(Debug)]
pub(super) struct Shared {
    windows: [Semaphore; Stream::COUNT],
    /// Notices that wait to be taken.
    pub(super) notices: AtomicUsize,
}

impl Shared {
    fn new() -> Self {
        Self {
            windows: std::array::from_fn(|_| Semaphore::new(WINDOW)),
            notices: AtomicUsize::new(0),
        }
    }

    pub(super) fn window(&self, stream: Stream) -> &Semaphore {
        &self.windows[stream as usize]
    }

    /// Let us send more; false when the other side grants more than there can be.
    fn grant(&self, stream: Stream, bytes: usize) -> bool {
        let window = self.window(stream);
        if window.available_permits() + bytes > WINDOW {
            return false;
        }
        window.add_permits(bytes);
        true
    }

    /// Nothing may be sent any more.
    fn close(&self) {
        for window in &self.windows {
            window.close();
        }
    }
}

impl Core {
    pub(super) fn new(
        role: Role,
        generation: u32,
        outbox: Arc<Outbox>,
        session: u64,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<Accepted>) {
        let (sender, accepted) = mpsc::unbounded_channel();
        let state = State {
            channels: HashMap::new(),
            // The host opens odd numbers, the agent even ones: neither must ask the other.
            next: if role == Role::Host { 1 } else { 2 },
            highest: 0,
            foreign: 0,
            accepted: Some(sender),
            connections: HashMap::new(),
        };
        let ended = watch::Sender::new(None);
        (
            Arc::new(Self {
                role,
                generation,
                outbox,
                session,
                state: Mutex::new(state),
                ended,
            }),
            accepted,
        )
    }

    /// Why nothing goes on: the session's end, or else the channel's.
    pub(super) fn reason(&self) -> LinkError {
        self.ended.borrow().clone().unwrap_or(LinkError::Finished)
    }

    pub(super) async fn ended(&self) -> LinkError {
        let mut ended = self.ended.subscribe();
        let reason = ended
            .wait_for(Option::is_some)
            .await
            .expect("the sender lives in self");
        reason.clone().expect("waited for")
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
        self.ended.borrow().clone().map_or(Ok(()), Err)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("not poisoned")
    }

    /// End the session: every channel's receiver sees its queue's end, every sender an error.
    pub(super) fn end(&self, error: LinkError) {
        self.ended.send_if_modified(|ended| {
            let first = ended.is_none();
            ended.get_or_insert(error);
            first
        });
        let mut state = self.state();
        let channels = std::mem::take(&mut state.channels);
        let connections = std::mem::take(&mut state.connections);
        state.accepted = None;
        // Unlocked first: channels that nobody took take the lock when they are dropped.
        drop(state);
        for entry in channels.values() {
            entry.shared.close();
        }
        drop(connections);
    }

    pub(super) fn open(self: &Arc<Self>, request: &Request) -> Result<Channel, LinkError> {
        if request.since() > self.generation {
            return Err(LinkError::TooOld {
                request: request.name(),
                needed: request.since(),
                agent: self.generation,
            });
        }
        let payload = encode(request)?;
        let mut state = self.state();
        self.alive()?;
        let number = state.next;
        state.next = number.checked_add(2).ok_or(LinkError::Exhausted)?;
        let mut entry = Entry::new();
        if matches!(request, Request::Listen(_)) {
            let (sender, connections) = mpsc::channel(BACKLOG);
            entry.0.listener = Some(sender);
            state.connections.insert(number, connections);
        }
        let channel = self.enter(&mut state, number, entry);
        // Under the lock, so that numbers go out in order; and before all data, so that a
        // cancellation cannot overtake it.
        self.outbox
            .push_control(self.session, Frame::new(Kind::Open, number, payload));
        Ok(channel)
    }

    fn enter(
        self: &Arc<Self>,
        state: &mut State,
        number: u32,
        (entry, items): NewEntry,
    ) -> Channel {
        let shared = Arc::clone(&entry.shared);
        state.channels.insert(number, entry);
        Channel::new(self, number, shared, items)
    }

    pub(super) fn connections(&self, listener: u32) -> Option<mpsc::Receiver<Channel>> {
        self.state().connections.remove(&listener)
    }

    /// Let the other side send more.
    pub(super) fn grant(&self, number: u32, stream: Stream, bytes: usize) {
        if let Some(entry) = self.state().channels.get_mut(&number) {
            entry.room[stream as usize] += bytes;
        } else {
            return;
        }
        let mut payload = vec![stream as u8];
        payload.extend_from_slice(
            &u32::try_from(bytes)
                .expect("at most a window")
                .to_le_bytes(),
        );
        // Without a link there is nobody to grant to.
        let _ = self.send(Frame::new(Kind::Credit, number, payload));
    }

    /// A channel has ended.
    pub(super) fn forget(&self, number: u32) {
        let mut state = self.state();
        let Some(entry) = state.channels.remove(&number) else {
            return;
        };
        let connections = state.connections.remove(&number);
        if !self.opens(number) {
            state.foreign -= 1;
        }
        drop(state);
        entry.shared.close();
        drop(connections);
    }

    /// Whether this side opens channels of such a number.
    fn opens(&self, number: u32) -> bool {
        (number % 2 == 1) == (self.role == Role::Host)
    }

    /// The consumer of a channel is gone.
    pub(super) fn abandon(&self, number: u32) {
        let mut state = self.state();
        let Some(entry) = state.channels.get_mut(&number) else {
            return;
        };
        entry.abandoned = true;
        // What was under way to the consumer is dropped: nobody must wait for its window.
        let back = Stream::ALL.map(|stream| (stream, WINDOW - entry.room[stream as usize]));
        drop(state);
        for (stream, bytes) in back.into_iter().filter(|(_, bytes)| *bytes > 0) {
            self.grant(number, stream, bytes);
        }
        // An agent that answers without listening to the end is within its rights.
        if self.role == Role::Host {
            let _ = self.send(Frame::new(Kind::Cancel, number, Bytes::new()));
        }
    }

    /// Take a frame of the session.
    pub(super) fn receive(self: &Arc<Self>, frame: Frame) -> Result<(), LinkError> {
        let from_agent = self.role == Role::Host;
        match frame.kind {
            Kind::Open => self.receive_open(&frame),
            Kind::DataIn => self.receive_data(frame.channel, Stream::In, frame.payload),
            Kind::DataOut => self.receive_data(frame.channel, Stream::Out, frame.payload),
            Kind::DataErr => self.receive_data(frame.channel, Stream::Err, frame.payload),
            Kind::Credit => self.receive_credit(&frame),
            Kind::Eof => self.receive_eof(&frame),
            Kind::Notice if from_agent => self.receive_notice(&frame),
            Kind::Finished if from_agent => self.receive_finished(&frame),
            Kind::Control if !from_agent => {
                let control = decode(&frame.payload)?;
                self.with_entry(frame.channel, |entry| {
                    entry.deliver(Incoming::Control(control));
                    Ok(())
                })
            }
            Kind::Cancel if !from_agent => self.with_entry(frame.channel, |entry| {
                let again = std::mem::replace(&mut entry.cancelled, true);
                if !again {
                    entry.deliver(Incoming::Cancelled);
                }
                Ok(())
            }),
            Kind::Hello
            | Kind::Welcome
            | Kind::Notice
            | Kind::Finished
            | Kind::Control
            | Kind::Cancel => Err(broken("a frame that only this side may send")),
        }
    }

    /// Run on the channel's entry, or not at all when the channel has ended.
    fn with_entry<T: Default>(
        &self,
        number: u32,
        act: impl FnOnce(&mut Entry) -> Result<T, LinkError>,
    ) -> Result<T, LinkError> {
        let mut state = self.state();
        if let Some(entry) = state.channels.get_mut(&number) {
            return act(entry);
        }
        let was_open = number != 0
            && if self.opens(number) {
                number < state.next
            } else {
                number <= state.highest
            };
        if was_open {
            Ok(T::default())
        } else {
            Err(broken("a frame for a channel that was never opened"))
        }
    }

    fn receive_open(self: &Arc<Self>, frame: &Frame) -> Result<(), LinkError> {
        let request: Request = decode(&frame.payload)?;
        let mut state = self.state();
        if self.opens(frame.channel) || frame.channel <= state.highest {
            return Err(broken(
                "a channel opened under a number that was used before",
            ));
        }
        state.highest = frame.channel;
        let Some(accepted) = state.accepted.clone() else {
            return Ok(());
        };
        state.foreign += 1;
        if self.role == Role::Agent {
            let channel = self.enter(&mut state, frame.channel, Entry::new());
            drop(state);
            // Nobody accepts when the link was dropped: then its drop ends the session.
            let _ = accepted.send((request, channel));
            return Ok(());
        }
        let Request::Accepted(listener) = request else {
            return Err(broken("a request from the agent to the host"));
        };
        if state.foreign > MOST_OF_AGENT {
            return Err(broken("more channels than there may be"));
        }
        let channel = self.enter(&mut state, frame.channel, Entry::new());
        let listener = state
            .channels
            .get(&listener)
            .and_then(|entry| entry.listener.clone());
        drop(state);
        // Refused by the drop of the channel when the listener has ended or its backlog is full.
        drop(listener.map(|listener| listener.try_send(channel)));
        Ok(())
    }

    fn receive_data(&self, number: u32, stream: Stream, bytes: Bytes) -> Result<(), LinkError> {
        let cost = cost(bytes.len());
        let unread = self.with_entry(number, |entry| {
            let lane = stream as usize;
            let Some(room) = entry.room[lane].checked_sub(cost) else {
                return Err(broken("more bytes than the window allows"));
            };
            if entry.ended[lane] {
                return Err(broken("bytes after a stream's end"));
            }
            entry.room[lane] = room;
            if !entry.abandoned {
                entry.deliver(Incoming::Data(stream, bytes));
                return Ok(0);
            }
            // Nobody reads: give the window back all the same, so that the sender gets to its end.
            entry.dropped[lane] += cost;
            Ok(if entry.dropped[lane] >= WINDOW / 2 {
                std::mem::take(&mut entry.dropped[lane])
            } else {
                0
            })
        })?;
        if unread > 0 {
            self.grant(number, stream, unread);
        }
        Ok(())
    }

    fn receive_credit(&self, frame: &Frame) -> Result<(), LinkError> {
        let (stream, bytes) = match *frame.payload {
            [stream, a, b, c, d] => (Stream::from_byte(stream), u32::from_le_bytes([a, b, c, d])),
            _ => (None, 0),
        };
        let stream = stream.ok_or_else(|| broken("window for no stream"))?;
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        self.with_entry(frame.channel, |entry| {
            let fits = bytes <= WINDOW && entry.shared.grant(stream, bytes);
            if fits {
                Ok(())
            } else {
                Err(broken("more window than there is"))
            }
        })
    }

    fn receive_eof(&self, frame: &Frame) -> Result<(), LinkError> {
        let stream = match *frame.payload {
            [byte] => Stream::from_byte(byte),
            _ => None,
        };
        let stream = stream.ok_or_else(|| broken("an end of no stream"))?;
        self.with_entry(frame.channel, |entry| {
            let again = std::mem::replace(&mut entry.ended[stream as usize], true);
            if !again {
                entry.deliver(Incoming::Eof(stream));
            }
            Ok(())
        })
    }

    fn receive_notice(&self, frame: &Frame) -> Result<(), LinkError> {
        let notice = decode(&frame.payload)?;
        self.with_entry(frame.channel, |entry| {
            let waiting = entry.shared.notices.fetch_add(1, Ordering::Relaxed);
            if waiting >= MOST_NOTICES && !entry.abandoned {
                return Err(broken("more notices than there may be"));
            }
            entry.deliver(Incoming::Notice(notice));
            Ok(())
        })
    }

    fn receive_finished(&self, frame: &Frame) -> Result<(), LinkError> {
        let result = decode_result(&frame.payload)?;
        self.with_entry(frame.channel, |entry| {
            entry.deliver(Incoming::Finished(result));
            Ok(())
        })?;
        self.forget(frame.channel);
        Ok(())
    }
}

type NewEntry = (Entry, mpsc::UnboundedReceiver<Incoming>);

impl Entry {
    fn new() -> NewEntry {
        let (items, receiver) = mpsc::unbounded_channel();
        let entry = Self {
            items,
            shared: Arc::new(Shared::new()),
            room: [WINDOW; Stream::COUNT],
            dropped: [0; Stream::COUNT],
            ended: [false; Stream::COUNT],
            abandoned: false,
            cancelled: false,
            listener: None,
        };
        (entry, receiver)
    }

    fn deliver(&self, item: Incoming) {
        // A consumer that is gone misses nothing.
        let _ = self.items.send(item);
    }
}

fn broken(what: &str) -> LinkError {
    LinkError::Protocol(what.to_owned())
}

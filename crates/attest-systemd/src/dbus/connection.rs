//! One connection: calls and their answers by serial, signals to whoever listens.
//!
//! A task of its own reads and writes. It ends with the stream, with the first thing that is
//! not D-Bus, or with the last handle; whoever waits is told why.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{Semaphore, broadcast, mpsc, oneshot};

use super::Malformed;
use super::encode::encode;
use super::handshake::handshake;
use super::message::{Kind, Message};
use crate::error::{Error, Lost};
use crate::signal::Signal;
use crate::value::Value;

/// Calls without an answer, at once; more wait. It bounds what a hostile guest can make us hold
/// in answers that nobody took yet.
const CALLS: usize = 32;
/// Signals kept for whoever is slow to take them; they are at most some hundred bytes each.
/// Who was slower yet is told that it missed some.
const SIGNALS: usize = 2048;
/// Bytes made room for at once while a message arrives: never the length that it claims.
const CHUNK: usize = 64 * 1024;

/// A connection. Clones are the same one; it closes with the last.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    shared: Arc<Shared>,
    _task: Arc<Task>,
}

#[derive(Debug)]
struct Shared {
    outbox: mpsc::Sender<Vec<u8>>,
    state: Mutex<State>,
    calls: Semaphore,
    /// Whether the manager has finished its start-up.
    started_up: AtomicBool,
}

#[derive(Debug)]
struct State {
    serial: u32,
    pending: HashMap<u32, oneshot::Sender<Result<Reply, Failure>>>,
    /// `Err` since the connection has ended.
    signals: Result<broadcast::Sender<(u64, Signal)>, Lost>,
}

/// Ends the task with the last handle.
#[derive(Debug)]
struct Task(tokio::task::AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A call to make.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) path: &'a str,
    pub(crate) interface: &'a str,
    pub(crate) method: &'static str,
    pub(crate) signature: &'a str,
    pub(crate) arguments: &'a [Value],
}

/// The answer to a call.
#[derive(Debug)]
pub(crate) struct Reply {
    /// Its place among all that arrived: a signal with a smaller one was sent before it.
    pub(crate) at: u64,
    pub(crate) values: Vec<Value>,
}

/// Why there is no answer.
#[derive(Debug)]
enum Failure {
    /// The peer's error: its name and its words.
    Error(String, String),
    Malformed(Malformed),
    Lost(Lost),
}

/// All signals since it was made, in their order.
#[derive(Debug)]
pub(crate) struct Signals(broadcast::Receiver<(u64, Signal)>);

impl Connection {
    /// Shake hands over a stream and serve the connection from then on.
    pub(crate) async fn open<S>(mut stream: S) -> Result<Self, Lost>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut buffer = BytesMut::new();
        handshake(&mut stream, &mut buffer).await?;
        let (outbox, outgoing) = mpsc::channel(CALLS);
        let shared = Arc::new(Shared {
            outbox,
            state: Mutex::new(State {
                serial: 0,
                pending: HashMap::new(),
                signals: Ok(broadcast::Sender::new(SIGNALS)),
            }),
            calls: Semaphore::new(CALLS),
            started_up: AtomicBool::new(false),
        });
        let (reader, writer) = tokio::io::split(stream);
        let served = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            let lost = tokio::select! {
                lost = read(reader, buffer, &served) => lost,
                lost = write(writer, outgoing) => lost,
            };
            served.end(&lost);
        });
        let task = Arc::new(Task(task.abort_handle()));
        Ok(Self {
            shared,
            _task: task,
        })
    }

    /// All signals from now on.
    pub(crate) fn signals(&self) -> Result<Signals, Error> {
        match &self.shared.state().signals {
            Ok(signals) => Ok(Signals(signals.subscribe())),
            Err(lost) => Err(lost.clone().into()),
        }
    }

    /// Why it ended, if it did.
    pub(crate) fn lost(&self) -> Option<Lost> {
        self.shared.state().signals.as_ref().err().cloned()
    }

    /// How many calls wait for an answer.
    #[cfg(test)]
    pub(super) fn pending(&self) -> usize {
        self.shared.state().pending.len()
    }

    /// Whether the manager has finished its start-up: it said so, or was asked.
    pub(crate) fn is_started_up(&self) -> bool {
        self.shared.started_up.load(Ordering::Relaxed)
    }

    /// It was asked, and has.
    pub(crate) fn set_started_up(&self) {
        self.shared.started_up.store(true, Ordering::Relaxed);
    }

    /// Make a call and wait for its answer. When this is dropped, so is the answer.
    pub(crate) async fn call(&self, call: Call<'_>) -> Result<Reply, Error> {
        let permit = self.shared.calls.acquire().await;
        let _permit = permit.expect("the semaphore is never closed");
        let body = encode(call.signature, call.arguments).map_err(|Malformed(reason)| {
            Error::Argument {
                method: call.method,
                reason,
            }
        })?;
        let (pending, answer) = Pending::register(&self.shared)?;
        let message = Message {
            path: call.path.to_owned(),
            interface: call.interface.to_owned(),
            member: call.method.to_owned(),
            ..Message::new(Kind::Call, pending.serial, call.signature, body)
        };
        let bytes = message
            .encode()
            .map_err(|Malformed(reason)| Error::Argument {
                method: call.method,
                reason,
            })?;
        // The task is gone only after it has answered all that is pending.
        let _ = self.shared.outbox.send(bytes).await;
        match answer.await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(Failure::Error(name, message))) => Err(Error::Call {
                method: call.method,
                name,
                message,
            }),
            Ok(Err(Failure::Malformed(Malformed(reason)))) => Err(Error::Answer {
                method: call.method,
                reason,
            }),
            Ok(Err(Failure::Lost(lost))) => Err(lost.into()),
            Err(_) => Err(Lost::Closed.into()),
        }
    }
}

/// A call that waits for its answer. Dropped, it waits no more.
struct Pending<'a> {
    shared: &'a Shared,
    serial: u32,
}

impl<'a> Pending<'a> {
    fn register(
        shared: &'a Shared,
    ) -> Result<(Self, oneshot::Receiver<Result<Reply, Failure>>), Error> {
        let mut state = shared.state();
        if let Err(lost) = &state.signals {
            return Err(lost.clone().into());
        }
        state.serial = state.serial.checked_add(1).unwrap_or(1);
        let serial = state.serial;
        let (sender, answer) = oneshot::channel();
        state.pending.insert(serial, sender);
        Ok((Self { shared, serial }, answer))
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.shared.state().pending.remove(&self.serial);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("not poisoned")
    }

    fn end(&self, lost: &Lost) {
        let mut state = self.state();
        state.signals = Err(lost.clone());
        for (_, answer) in state.pending.drain() {
            let _ = answer.send(Err(Failure::Lost(lost.clone())));
        }
    }

    /// What to do with a message that arrived.
    fn take(&self, at: u64, message: &Message) -> Result<(), Malformed> {
        match message.kind {
            Kind::Return | Kind::Error => {
                let serial = message.reply_to.unwrap_or_default();
                let waiting = self.state().pending.remove(&serial);
                // Nobody waits when the call was dropped.
                if let Some(answer) = waiting {
                    let _ = answer.send(reply(at, message));
                }
            }
            Kind::Signal => {
                let Some(signal) = Signal::read(message)? else {
                    return Ok(());
                };
                if signal == Signal::StartupFinished {
                    self.started_up.store(true, Ordering::Relaxed);
                }
                if let Ok(signals) = &self.state().signals {
                    // Nobody listening is no error.
                    let _ = signals.send((at, signal));
                }
            }
            // We have no objects; systemd calls nobody.
            Kind::Call => {}
        }
        Ok(())
    }
}

fn reply(at: u64, message: &Message) -> Result<Reply, Failure> {
    let values = message.values().map_err(Failure::Malformed)?;
    if message.kind == Kind::Return {
        return Ok(Reply { at, values });
    }
    let words = values.first().and_then(Value::as_str).unwrap_or_default();
    Err(Failure::Error(message.error.clone(), words.to_owned()))
}

async fn read<S>(mut stream: ReadHalf<S>, mut buffer: BytesMut, shared: &Shared) -> Lost
where
    S: AsyncRead + AsyncWrite,
{
    for at in 1.. {
        let message = loop {
            match Message::take(&mut buffer) {
                Ok(Ok(message)) => break message,
                Ok(Err(needed)) => buffer.reserve((needed - buffer.len()).min(CHUNK)),
                Err(Malformed(reason)) => return Lost::Malformed(reason),
            }
            match stream.read_buf(&mut buffer).await {
                Ok(0) => return Lost::Closed,
                Ok(_) => {}
                Err(error) => return Lost::io(error),
            }
        };
        if let Err(Malformed(reason)) = shared.take(at, &message) {
            return Lost::Malformed(reason);
        }
    }
    Lost::Closed
}

async fn write<S>(mut stream: WriteHalf<S>, mut outgoing: mpsc::Receiver<Vec<u8>>) -> Lost
where
    S: AsyncRead + AsyncWrite,
{
    while let Some(bytes) = outgoing.recv().await {
        let written = async {
            stream.write_all(&bytes).await?;
            if outgoing.is_empty() {
                stream.flush().await
            } else {
                Ok(())
            }
        };
        if let Err(error) = written.await {
            return Lost::io(error);
        }
    }
    Lost::Closed
}

impl Signals {
    /// The next signal, with its place among all that arrived; `None` when some were missed,
    /// so that all must be looked at anew.
    pub(crate) async fn next(
        &mut self,
        connection: &Connection,
    ) -> Result<Option<(u64, Signal)>, Error> {
        match self.0.recv().await {
            Ok(signal) => Ok(Some(signal)),
            Err(broadcast::error::RecvError::Lagged(_)) => Ok(None),
            Err(broadcast::error::RecvError::Closed) => {
                Err(connection.lost().unwrap_or(Lost::Closed).into())
            }
        }
    }
}

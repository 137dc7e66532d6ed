//! One open request: its sending and its receiving half.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{Buf, Bytes};
use tokio::sync::{mpsc, oneshot};

use super::encoding::{encode, encode_result};
use super::session::{Core, LinkError, Shared};
use super::{WINDOW, cost};
use crate::frame::{Frame, Kind, MAX_PAYLOAD};
use crate::message::{Control, Failure, Notice, Response};

/// A byte lane of a channel: `In` towards the agent; `Out` and `Err` towards the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// stdin, uploads, the host's half of a forwarded connection.
    In,
    /// stdout, downloads, the guest's half of a forwarded connection.
    Out,
    /// stderr.
    Err,
}

impl Stream {
    pub(super) const COUNT: usize = Self::ALL.len();
    pub(super) const ALL: [Self; 3] = [Self::In, Self::Out, Self::Err];

    pub(super) fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|stream| *stream as u8 == byte)
    }

    fn kind(self) -> Kind {
        match self {
            Self::In => Kind::DataIn,
            Self::Out => Kind::DataOut,
            Self::Err => Kind::DataErr,
        }
    }
}

/// Something that arrived on a channel.
#[derive(Debug)]
pub enum Incoming {
    /// Bytes of a stream. Their window goes back to the sender when the next item is asked for.
    Data(Stream, Bytes),
    /// No more bytes will come on this stream.
    Eof(Stream),
    /// From the agent, before its result.
    Notice(Notice),
    /// From the host.
    Control(Control),
    /// The host no longer wants the request. Only an agent sees this.
    Cancelled,
    /// The request's end; nothing follows. Only a host sees this.
    Finished(Result<Response, Failure>),
}

/// One open request. When a host drops its receiver, the request is cancelled.
#[derive(Debug)]
pub struct Channel {
    /// The half that sends.
    pub sender: Sender,
    /// The half that receives.
    pub receiver: Receiver,
}

impl Channel {
    pub(super) fn new(
        core: &Arc<Core>,
        number: u32,
        shared: Arc<Shared>,
        items: mpsc::UnboundedReceiver<Incoming>,
    ) -> Self {
        Self {
            sender: Sender {
                core: Arc::clone(core),
                number,
                shared: Arc::clone(&shared),
            },
            receiver: Receiver {
                core: Arc::clone(core),
                number,
                shared,
                items,
                consumed: [0; Stream::COUNT],
                owed: None,
            },
        }
    }
}

/// The sending half of a [`Channel`]. Clones share the channel's windows.
#[derive(Debug, Clone)]
pub struct Sender {
    core: Arc<Core>,
    number: u32,
    shared: Arc<Shared>,
}

impl Sender {
    /// This channel's number.
    pub fn channel(&self) -> u32 {
        self.number
    }

    /// Send bytes, waiting for window. When the future is dropped, a beginning of the bytes may
    /// have been sent.
    pub async fn data(&self, stream: Stream, mut bytes: Bytes) -> Result<(), LinkError> {
        while bytes.has_remaining() {
            let length = bytes.len().min(MAX_PAYLOAD);
            let permits = u32::try_from(cost(length)).expect("bounded by MAX_PAYLOAD");
            let window = self.shared.window(stream).acquire_many(permits).await;
            window.map_err(|_| self.core.reason())?.forget();
            self.core.send_data(Frame::new(
                stream.kind(),
                self.number,
                bytes.split_to(length),
            ))?;
        }
        Ok(())
    }

    /// No more bytes on this stream: what is sent on it later is an error.
    pub fn eof(&self, stream: Stream) -> Result<(), LinkError> {
        self.shared.window(stream).close();
        // In the lane of the data: an end must not overtake what it ends.
        self.core
            .send_data(Frame::new(Kind::Eof, self.number, vec![stream as u8]))
    }

    /// Agent to host, before the result.
    pub fn notice(&self, notice: &Notice) -> Result<(), LinkError> {
        self.core
            .send(Frame::new(Kind::Notice, self.number, encode(notice)?))
    }

    /// Host to agent.
    pub fn control(&self, control: &Control) -> Result<(), LinkError> {
        self.core
            .send(Frame::new(Kind::Control, self.number, encode(control)?))
    }

    /// Agent to host: the request's end, after all data. Frees the channel.
    pub fn finish(&self, result: &Result<Response, Failure>) -> Result<(), LinkError> {
        let frame = Frame::new(Kind::Finished, self.number, encode_result(result)?);
        self.core.send_data(frame)?;
        self.core.forget(self.number);
        Ok(())
    }

    /// Host to agent: the request is no longer wanted; the agent still finishes the channel.
    pub fn cancel(&self) {
        // Without a link there is nothing left to cancel.
        let _ = self
            .core
            .send(Frame::new(Kind::Cancel, self.number, Bytes::new()));
    }

    /// A blocking writer onto a stream, for code on a blocking thread of a tokio runtime.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn blocking_writer(&self, stream: Stream) -> impl Write + Send + 'static + use<> {
        BlockingWriter {
            sender: self.clone(),
            stream,
            runtime: tokio::runtime::Handle::current(),
        }
    }
}

struct BlockingWriter {
    sender: Sender,
    stream: Stream,
    runtime: tokio::runtime::Handle,
}

impl Write for BlockingWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let bytes = &bytes[..bytes.len().min(MAX_PAYLOAD)];
        self.runtime
            .block_on(self.sender.data(self.stream, Bytes::copy_from_slice(bytes)))
            .map_err(|error| io::Error::new(io::ErrorKind::BrokenPipe, error))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The receiving half of a [`Channel`].
#[derive(Debug)]
pub struct Receiver {
    core: Arc<Core>,
    number: u32,
    shared: Arc<Shared>,
    items: mpsc::UnboundedReceiver<Incoming>,
    consumed: [usize; Stream::COUNT],
    owed: Option<(Stream, usize)>,
}

impl Receiver {
    /// The next thing that arrived; an error when the link ended before the channel did.
    /// Cancel-safe.
    pub async fn next(&mut self) -> Result<Incoming, LinkError> {
        self.settle();
        let Some(item) = self.items.recv().await else {
            return Err(self.core.reason());
        };
        match &item {
            Incoming::Data(stream, bytes) => self.owed = Some((*stream, cost(bytes.len()))),
            Incoming::Notice(_) => drop(self.shared.notices.fetch_sub(1, Ordering::Relaxed)),
            _ => {}
        }
        Ok(item)
    }

    /// Give back the window of what was consumed, once it is worth a frame.
    fn settle(&mut self) {
        let Some((stream, bytes)) = self.owed.take() else {
            return;
        };
        let consumed = &mut self.consumed[stream as usize];
        *consumed += bytes;
        if *consumed >= WINDOW / 2 {
            self.core
                .grant(self.number, stream, std::mem::take(consumed));
        }
    }

    /// A blocking reader of one stream, and the request's end: it resolves when the reader was
    /// dropped or has seen the end. Other streams are dropped.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn into_blocking_reader(self, stream: Stream) -> (BlockingReader, Ended) {
        let (sender, ended) = oneshot::channel();
        let reader = BlockingReader {
            receiver: Some(self),
            stream,
            left: Bytes::new(),
            at_end: false,
            runtime: tokio::runtime::Handle::current(),
            ended: Some(sender),
            finish: None,
        };
        (reader, Ended(ended))
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // Has no effect when the request has ended.
        self.core.abandon(self.number);
    }
}

/// Reads one stream on a blocking thread.
#[derive(Debug)]
pub struct BlockingReader {
    receiver: Option<Receiver>,
    stream: Stream,
    left: Bytes,
    at_end: bool,
    runtime: tokio::runtime::Handle,
    ended: Option<oneshot::Sender<(Receiver, Option<Finish>)>>,
    finish: Option<Finish>,
}

type Finish = Result<Response, Failure>;

impl Read for BlockingReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.left.is_empty() && !self.at_end {
            let receiver = self.receiver.as_mut().expect("taken on drop only");
            match self.runtime.block_on(receiver.next()) {
                Ok(Incoming::Data(stream, bytes)) if stream == self.stream => self.left = bytes,
                Ok(Incoming::Eof(stream)) if stream == self.stream => self.at_end = true,
                // A result or a cancellation in place of the end: the stream is cut.
                Ok(Incoming::Finished(result)) => {
                    self.finish = Some(result);
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                Ok(Incoming::Cancelled) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) => return Err(io::Error::new(io::ErrorKind::BrokenPipe, error)),
            }
        }
        let count = self.left.len().min(buffer.len());
        self.left.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

impl Drop for BlockingReader {
    fn drop(&mut self) {
        if let (Some(receiver), Some(ended)) = (self.receiver.take(), self.ended.take()) {
            // Nobody waits for the end: the receiver's own drop cancels the request.
            let _ = ended.send((receiver, self.finish.take()));
        }
    }
}

/// The end of a request whose stream a [`BlockingReader`] reads.
#[derive(Debug)]
pub struct Ended(oneshot::Receiver<(Receiver, Option<Finish>)>);

impl Ended {
    /// The request's result, once the reader is dropped.
    pub async fn result(self) -> Result<Result<Response, Failure>, LinkError> {
        let Ok((mut receiver, finish)) = self.0.await else {
            return Err(LinkError::Closed);
        };
        if let Some(finish) = finish {
            return Ok(finish);
        }
        loop {
            if let Incoming::Finished(finish) = receiver.next().await? {
                return Ok(finish);
            }
        }
    }
}

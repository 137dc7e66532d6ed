//! One duplex byte stream carrying many channels, with flow control.

use std::io;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::message::{Control, Failure, Hello, Notice, Request, Response};

/// A byte lane of a channel: 0 towards the agent; 1 and 2 towards the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// stdin, uploads, the host's half of a forwarded connection.
    In,
    /// stdout, downloads, the guest's half of a forwarded connection.
    Out,
    /// stderr.
    Err,
}

/// Something that arrived on a channel.
#[derive(Debug)]
pub enum Incoming {
    /// Bytes of a stream. Its credit goes back to the sender once the *next* item is asked for.
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

/// Why a link ended.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LinkError {
    /// The other side closed the stream.
    #[error("the other side closed the connection")]
    Closed,
    /// Reading or writing failed.
    #[error("the connection failed: {0}")]
    Io(String),
    /// The other side sent what the protocol forbids.
    #[error("the other side broke the protocol: {0}")]
    Protocol(String),
}

/// The host's end. Cheap to clone; the link ends when all clones and channels are gone.
#[derive(Debug, Clone)]
pub struct HostLink {}

/// The agent's end: requests come out of it.
#[derive(Debug)]
pub struct AgentLink {}

/// One open request. Dropping it on the host cancels the request.
#[derive(Debug)]
pub struct Channel {
    /// The half that sends.
    pub sender: Sender,
    /// The half that receives.
    pub receiver: Receiver,
}

/// The sending half of a [`Channel`]. Clones share the channel's windows.
#[derive(Debug, Clone)]
pub struct Sender {}

/// The receiving half of a [`Channel`].
#[derive(Debug)]
pub struct Receiver {}

impl HostLink {
    /// Wait for the agent's hello on `stream` (skipping whatever a former session left in it),
    /// answer it, and start the link's tasks on the current tokio runtime.
    pub async fn accept<R, W>(reader: R, writer: W) -> Result<(Self, Hello), LinkError>
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let _ = (reader, writer);
        todo!()
    }

    /// Open a channel. Never blocks on the other side: the open frame is queued.
    pub fn open(&self, request: &Request) -> Result<Channel, LinkError> {
        let _ = request;
        todo!()
    }

    /// The next channel that the agent opened ([`Request::Accepted`]).
    pub async fn accepted(&self) -> Option<(Request, Channel)> {
        todo!()
    }

    /// Resolves when the link has ended, with the reason: also when the agent says hello anew,
    /// because its guest was booted again (`LinkError::Closed`).
    pub async fn ended(&self) -> LinkError {
        todo!()
    }
}

impl AgentLink {
    /// Say hello until the host answers, then start the link's tasks.
    pub async fn connect<R, W>(reader: R, writer: W, hello: Hello) -> Result<Self, LinkError>
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let _ = (reader, writer, hello);
        todo!()
    }

    /// The next request, with its channel.
    pub async fn next(&mut self) -> Result<(Request, Channel), LinkError> {
        todo!()
    }

    /// Open a channel to the host ([`Request::Accepted`]).
    pub fn open(&self, request: &Request) -> Result<Channel, LinkError> {
        let _ = request;
        todo!()
    }
}

impl Sender {
    /// This channel's number.
    pub fn channel(&self) -> u32 {
        todo!()
    }

    /// Send bytes, waiting for window. Cancel-safe only between calls.
    pub async fn data(&self, stream: Stream, bytes: Bytes) -> Result<(), LinkError> {
        let _ = (stream, bytes);
        todo!()
    }

    /// No more bytes on this stream.
    pub fn eof(&self, stream: Stream) -> Result<(), LinkError> {
        let _ = stream;
        todo!()
    }

    /// Agent to host, before the result.
    pub fn notice(&self, notice: &Notice) -> Result<(), LinkError> {
        let _ = notice;
        todo!()
    }

    /// Host to agent.
    pub fn control(&self, control: &Control) -> Result<(), LinkError> {
        let _ = control;
        todo!()
    }

    /// Agent to host: the request's end.
    pub fn finish(&self, result: &Result<Response, Failure>) -> Result<(), LinkError> {
        let _ = result;
        todo!()
    }

    /// Host to agent: the request is no longer wanted; the agent still finishes the channel.
    pub fn cancel(&self) {
        todo!()
    }

    /// A blocking writer onto a stream, for code that runs on a blocking thread.
    pub fn blocking_writer(&self, stream: Stream) -> impl io::Write + Send + 'static + use<> {
        let _ = stream;
        io::sink()
    }
}

impl Receiver {
    /// The next thing that arrived; an error when the link ended before the channel did.
    /// Cancel-safe.
    pub async fn next(&mut self) -> Result<Incoming, LinkError> {
        todo!()
    }
}

//! The host's half of an exec: its stdin bytes held until they can be written, its controls
//! taken at once.

use std::collections::VecDeque;

use attest_protocol::link::{Incoming, LinkError, Receiver, Stream};
use attest_protocol::message::Control;
use bytes::{Buf, Bytes};

use crate::pipes::PipeWriter;

/// Bytes of stdin held for a program that does not read. Beyond it the host is no longer
/// listened to, until the program reads or ends.
const HELD: usize = 1024 * 1024;

/// What needs doing by the exec itself.
#[derive(Debug)]
pub(crate) enum Order {
    Control(Control),
    Cancel,
}

/// Feeds a program and hears the host at the same time.
#[derive(Debug)]
pub(crate) struct Mailbox {
    receiver: Receiver,
    stdin: Option<PipeWriter>,
    held: VecDeque<Bytes>,
    size: usize,
    at_end: bool,
    gone: bool,
}

impl Mailbox {
    pub(crate) fn new(receiver: Receiver, stdin: Option<PipeWriter>) -> Self {
        Self {
            receiver,
            stdin,
            held: VecDeque::new(),
            size: 0,
            at_end: false,
            gone: false,
        }
    }

    /// Feed until the host orders something. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Order {
        loop {
            if self.at_end && self.held.is_empty() {
                self.stdin = None;
            }
            let listening = self.size < HELD && !self.gone;
            tokio::select! {
                incoming = self.receiver.next(), if listening => {
                    if let Some(order) = self.take(incoming) {
                        return order;
                    }
                }
                written = write(self.stdin.as_ref(), self.held.front()) => match written {
                    Ok(count) => self.wrote(count),
                    // The program closed its stdin: what is left is nobody's.
                    Err(_) => self.stdin = None,
                },
            }
        }
    }

    fn take(&mut self, incoming: Result<Incoming, LinkError>) -> Option<Order> {
        match incoming {
            Ok(Incoming::Data(Stream::In, bytes)) => {
                if self.stdin.is_some() && !bytes.is_empty() {
                    self.size += bytes.len();
                    self.held.push_back(bytes);
                }
                None
            }
            Ok(Incoming::Eof(_)) => {
                self.at_end = true;
                None
            }
            Ok(Incoming::Control(control)) => Some(Order::Control(control)),
            Ok(Incoming::Cancelled) => Some(Order::Cancel),
            Ok(_) => None,
            Err(_) => {
                self.gone = true;
                Some(Order::Cancel)
            }
        }
    }

    fn wrote(&mut self, count: usize) {
        self.size -= count;
        if let Some(front) = self.held.front_mut() {
            front.advance(count);
            if front.is_empty() {
                self.held.pop_front();
            }
        }
    }
}

async fn write(stdin: Option<&PipeWriter>, bytes: Option<&Bytes>) -> std::io::Result<usize> {
    match (stdin, bytes) {
        (Some(stdin), Some(bytes)) => stdin.write(bytes).await,
        _ => std::future::pending().await,
    }
}

//! Streams that are connections: as one is lost the agent connects again, and the host may connect
//! to the agent.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use attest_protocol::link::LinkError;

use super::{Ended, Stream, Streams};
use crate::wait::Backoff;

/// Between tries to reach a host that refuses, at most. They begin with a millisecond.
const LONGEST: Duration = Duration::from_secs(1);

/// What is connected to, and connects.
pub trait Peer {
    /// As the console's reader knows it.
    fn name(&self) -> String;

    /// Connect to it. Waits for what it takes; an error is its refusal.
    fn connect(&self) -> impl Future<Output = io::Result<OwnedFd>>;

    /// The next connection of its own. Cancel-safe.
    fn accept(&self) -> impl Future<Output = io::Result<OwnedFd>>;
}

/// Connections with one peer: the newer takes the place of the older, whoever made it.
#[derive(Debug)]
pub struct Redial<P> {
    peer: P,
    connecting: Tries,
    accepting: Tries,
}

impl<P: Peer> Redial<P> {
    /// None is there yet.
    pub fn new(peer: P) -> Self {
        Self {
            peer,
            connecting: Tries::new(),
            accepting: Tries::new(),
        }
    }
}

impl<P: Peer> Streams for Redial<P> {
    async fn next(&mut self, before: Option<Ended>) -> Result<Stream, LinkError> {
        // One that takes connections and drops them refuses, too.
        let refused = before.is_some_and(|ended| !ended.answered);
        if !refused {
            self.connecting = Tries::new();
        }
        let connected = tokio::select! {
            connected = connected(&self.peer, &mut self.connecting, refused) => connected,
            accepted = accepted(&self.peer, &mut self.accepting) => accepted,
        };
        Ok(Stream::Duplex(connected))
    }

    async fn newer(&mut self) -> Stream {
        Stream::Duplex(accepted(&self.peer, &mut self.accepting).await)
    }
}

async fn connected(peer: &impl Peer, tries: &mut Tries, refused: bool) -> OwnedFd {
    if refused {
        tries.pause.pause().await;
    }
    loop {
        match peer.connect().await {
            Ok(connected) => return connected,
            Err(error) => {
                let name = peer.name();
                tries
                    .failed(format!("{name} cannot be reached: {error}"))
                    .await;
            }
        }
    }
}

async fn accepted(peer: &impl Peer, tries: &mut Tries) -> OwnedFd {
    loop {
        match peer.accept().await {
            Ok(accepted) => {
                *tries = Tries::new();
                return accepted;
            }
            Err(error) => {
                let name = peer.name();
                let failed = format!("connections from {name} cannot be accepted: {error}");
                tries.failed(failed).await;
            }
        }
    }
}

/// Tries that failed so far.
#[derive(Debug)]
struct Tries {
    pause: Backoff,
    said: String,
}

impl Tries {
    fn new() -> Self {
        Self {
            pause: Backoff::new(LONGEST, LONGEST),
            said: String::new(),
        }
    }

    /// Say why, once, and let some time pass.
    async fn failed(&mut self, why: String) {
        if self.said != why {
            eprintln!("attest: {why}; it is tried again until it works");
            self.said = why;
        }
        self.pause.pause().await;
    }
}

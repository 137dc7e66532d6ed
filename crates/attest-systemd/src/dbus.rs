//! A small D-Bus client for one peer: no bus, no names, no match rules, no descriptors.
//!
//! It exists because the peer is a guest and may be hostile: every length is bounded, nothing
//! is allocated on the word of a header, and whatever arrives can at worst end the connection
//! with an error.

mod connection;
mod decode;
mod encode;
mod handshake;
#[cfg(test)]
mod hostile;
mod message;
mod signature;
#[cfg(test)]
mod tests;

pub(crate) use connection::{Call, Connection, Reply, Signals};
pub(crate) use message::Message;
#[cfg(test)]
pub(crate) use {encode::encode, message::Kind};

/// What arrived is no D-Bus, or none that systemd would send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Malformed(pub(crate) &'static str);

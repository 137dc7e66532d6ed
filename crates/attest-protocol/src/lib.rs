//! What attest's host side and its agent say to each other, over any duplex byte stream.
//!
//! [`frame`] is the codec: bounded, self-checking frames. [`link`] multiplexes channels with
//! flow control over one stream. [`message`] holds the requests, responses and errors.
//! [`tree`] carries files and directories. Nothing here knows a virtual machine.

pub mod frame;
pub mod link;
pub mod message;
mod text;
pub mod tree;

pub use text::{chain, one_line};

/// The protocol's generation. Raised when a message is added or changes its meaning; the host
/// speaks every generation back to 1, and only what is newer than the agent fails, by name.
///
/// 2 brought [`message::Request::Boot`]; 3 [`message::Request::Quiesce`], [`message::Request::Identity`]
/// and [`message::KNOCK`].
pub const GENERATION: u32 = 3;

/// The port of an agent's stream where that is a vsock connection. The host (CID 2) listens on it,
/// and the agent connects as soon as it runs, and again when a connection is lost. The agent listens
/// on the same port of its guest, for a host that has a saved machine without the connections of its
/// guest. Whichever connection is the newest is the stream.
///
/// The first that needs no privilege (vsock(7)). The agent is told by the kernel argument
/// `attest.vsock`.
pub const VSOCK_PORT: u32 = 1024;

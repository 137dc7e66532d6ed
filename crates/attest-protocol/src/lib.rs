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

/// The port of virtio-vsock on which the host, and in the guest the agent, listen for the other.
pub const VSOCK_PORT: u32 = 1024;

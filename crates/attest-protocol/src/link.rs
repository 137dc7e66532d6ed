//! One duplex byte stream carrying many channels, with flow control.
//!
//! Each channel has up to three byte [`Stream`]s. A sender may have at most [`WINDOW`] bytes of a
//! stream under way; the receiver grants more as its consumer takes them. So a consumer that
//! stops only stops its own channel, and memory is bounded whatever the other side does.

mod channel;
mod encoding;
mod ends;
mod outbox;
mod port;
mod session;

pub use channel::{BlockingReader, Channel, Ended, Incoming, Receiver, Sender, Stream};
pub use ends::{AgentLink, Connections, HostLink, Opener};
pub use port::{AgentPort, HostPort};
pub use session::{Accepted, LinkError};

/// Bytes of one stream that may be under way, unasked for by its consumer. Four full frames:
/// enough to keep a virtio-serial port busy, little enough for hundreds of channels.
pub const WINDOW: usize = 256 * 1024;

/// What a data frame takes of its window at least: frames of few bytes cost memory, too.
const LEAST_COST: usize = 256;

fn cost(bytes: usize) -> usize {
    bytes.max(LEAST_COST)
}

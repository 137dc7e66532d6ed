//! Messages on the socket: a line of JSON each, and the bytes that some carry behind it.

mod message;
mod reader;
mod writer;

pub(crate) use self::message::{Call, Incoming, Notification};
pub(crate) use self::reader::Reader;
pub(crate) use self::writer::{Writer, write};

/// The longest line that is read, bytes.
pub const LONGEST_LINE: usize = 16 * 1024 * 1024;
/// The most that one message may carry behind its line, bytes.
pub const MOST_ATTACHED: u64 = 1024 * 1024 * 1024;

/// What makes a client's stream unreadable.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The socket failed.
    #[error("the socket failed")]
    Io(#[from] std::io::Error),
    /// It ended in the middle of a message.
    #[error("the stream ended in the middle of a message")]
    Cut,
    /// A line is too long.
    #[error("a line is longer than {LONGEST_LINE} bytes")]
    Long,
    /// A message announces too many bytes.
    #[error("a message carries more than {MOST_ATTACHED} bytes")]
    Heavy,
    /// It is not JSON.
    #[error("a line is not JSON: {0}")]
    Json(String),
    /// It is not JSON-RPC 2.0.
    #[error("a message is not JSON-RPC 2.0: {0}")]
    Shape(&'static str),
}

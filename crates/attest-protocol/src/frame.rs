//! The codec: bounded, self-checking frames on a byte stream that may have been cut anywhere.
//!
//! A frame is a 12-byte header and its payload. A [`PREAMBLE`] precedes each hello and welcome,
//! so that a peer finds the beginning of a session in whatever a former one left behind: a
//! guest that is reset cuts its last frame in the middle.

use bytes::{BufMut, Bytes, BytesMut};

mod decoder;

pub use decoder::{Decoder, Event};

/// Longest payload. A power of two that keeps a frame within one buffer of a virtio-serial
/// port's chardev and that bounds what one frame can delay another.
pub const MAX_PAYLOAD: usize = 64 * 1024;

/// Precedes every hello and welcome. Random bytes, drawn once.
pub const PREAMBLE: [u8; 16] = [
    0xa7, 0x9c, 0x41, 0xe2, 0x0d, 0x5b, 0xf8, 0x36, 0x8a, 0xc3, 0x17, 0x64, 0xd9, 0x2e, 0xb5, 0x70,
];

/// Longest payload of a hello or welcome: what a peer that is searched for can make us hold.
pub const MAX_GREETING: usize = 4 * 1024;

/// Bytes of a header: magic (2), kind, check, channel (4), length (4); little endian.
pub const HEADER: usize = 12;

const MAGIC: [u8; 2] = [0xa7, 0x57];

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Agent to host, after a preamble.
    Hello = 1,
    /// Host to agent, after a preamble.
    Welcome = 2,
    /// Opens a channel.
    Open = 3,
    /// Bytes of stream 0.
    DataIn = 4,
    /// Bytes of stream 1.
    DataOut = 5,
    /// Bytes of stream 2.
    DataErr = 6,
    /// The end of a stream: its number is the payload's only byte.
    Eof = 7,
    /// Window for a stream: its number, then bytes (u32).
    Credit = 8,
    /// From the agent, before a result.
    Notice = 9,
    /// From the host.
    Control = 10,
    /// From the host: no longer wanted.
    Cancel = 11,
    /// From the agent: a request's end.
    Finished = 12,
}

impl Kind {
    const ALL: [Self; 12] = [
        Self::Hello,
        Self::Welcome,
        Self::Open,
        Self::DataIn,
        Self::DataOut,
        Self::DataErr,
        Self::Eof,
        Self::Credit,
        Self::Notice,
        Self::Control,
        Self::Cancel,
        Self::Finished,
    ];

    fn is_greeting(self) -> bool {
        matches!(self, Self::Hello | Self::Welcome)
    }

    fn longest(self) -> usize {
        if self.is_greeting() {
            MAX_GREETING
        } else {
            MAX_PAYLOAD
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub kind: Kind,
    /// The channel; 0 for hello and welcome.
    pub channel: u32,
    /// At most [`MAX_PAYLOAD`] bytes.
    pub payload: Bytes,
}

/// What is wrong with a stream of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Not a header.
    #[error("no frame begins where one should")]
    Header,
    /// A length beyond [`MAX_PAYLOAD`], or [`MAX_GREETING`] where that holds.
    #[error("a frame of {0} bytes, longer than any may be")]
    Length(u32),
}

fn check(kind: u8, rest: &[u8]) -> u8 {
    rest.iter()
        .fold(kind ^ 0x5a, |check, byte| check.rotate_left(1) ^ byte)
}

impl Frame {
    /// A frame to send.
    ///
    /// # Panics
    /// When the payload is longer than its kind may be: the caller cuts.
    pub fn new(kind: Kind, channel: u32, payload: impl Into<Bytes>) -> Self {
        let payload = payload.into();
        assert!(
            payload.len() <= kind.longest(),
            "payload of {} bytes",
            payload.len()
        );
        Self {
            kind,
            channel,
            payload,
        }
    }

    /// Append the frame's header, with the preamble where one is due.
    pub fn put_header(&self, buffer: &mut BytesMut) {
        if self.kind.is_greeting() {
            buffer.put_slice(&PREAMBLE);
        }
        let mut rest = [0; 8];
        rest[..4].copy_from_slice(&self.channel.to_le_bytes());
        let length = u32::try_from(self.payload.len()).expect("bounded by MAX_PAYLOAD");
        rest[4..].copy_from_slice(&length.to_le_bytes());
        buffer.put_slice(&MAGIC);
        buffer.put_u8(self.kind as u8);
        buffer.put_u8(check(self.kind as u8, &rest));
        buffer.put_slice(&rest);
    }

    /// Append the whole frame.
    pub fn put(&self, buffer: &mut BytesMut) {
        self.put_header(buffer);
        buffer.put_slice(&self.payload);
    }
}

/// A header that is right in itself.
#[derive(Debug, Clone, Copy)]
struct Head {
    kind: Kind,
    channel: u32,
    length: usize,
}

impl Head {
    /// `bytes` has at least [`HEADER`] of them.
    fn parse(bytes: &[u8]) -> Result<Self, FrameError> {
        let right = bytes[..2] == MAGIC && bytes[3] == check(bytes[2], &bytes[4..HEADER]);
        let kind = Kind::from_byte(bytes[2])
            .filter(|_| right)
            .ok_or(FrameError::Header)?;
        let channel = u32::from_le_bytes(bytes[4..8].try_into().expect("four bytes"));
        let claimed = u32::from_le_bytes(bytes[8..HEADER].try_into().expect("four bytes"));
        let length = usize::try_from(claimed)
            .ok()
            .filter(|length| *length <= kind.longest());
        Ok(Self {
            kind,
            channel,
            length: length.ok_or(FrameError::Length(claimed))?,
        })
    }
}

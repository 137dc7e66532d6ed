//! The codec: bounded, self-checking frames on a byte stream that may have been cut anywhere.
//!
//! A frame is a 12-byte header and its payload. A [`PREAMBLE`] precedes each hello and welcome,
//! so that a peer finds the beginning of a session in whatever a former one left behind: a
//! guest that is reset cuts its last frame in the middle.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Longest payload. A power of two that keeps a frame within one buffer of a virtio-serial
/// port's chardev and that bounds what one frame can delay another.
pub const MAX_PAYLOAD: usize = 64 * 1024;

/// Precedes every hello and welcome. Random bytes, drawn once.
pub const PREAMBLE: [u8; 16] =
    [0xa7, 0x9c, 0x41, 0xe2, 0x0d, 0x5b, 0xf8, 0x36, 0x8a, 0xc3, 0x17, 0x64, 0xd9, 0x2e, 0xb5, 0x70];

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
    /// A length beyond [`MAX_PAYLOAD`].
    #[error("a frame of {0} bytes, longer than any may be")]
    Length(u32),
}

fn check(kind: u8, rest: &[u8]) -> u8 {
    rest.iter().fold(kind ^ 0x5a, |check, byte| check.rotate_left(1) ^ byte)
}

impl Frame {
    /// A frame to send.
    ///
    /// # Panics
    /// When the payload is longer than [`MAX_PAYLOAD`]: the caller cuts.
    pub fn new(kind: Kind, channel: u32, payload: impl Into<Bytes>) -> Self {
        let payload = payload.into();
        assert!(payload.len() <= MAX_PAYLOAD, "payload of {} bytes", payload.len());
        Self { kind, channel, payload }
    }

    /// Append the frame's header, with the preamble where one is due.
    pub fn put_header(&self, buffer: &mut BytesMut) {
        if matches!(self.kind, Kind::Hello | Kind::Welcome) {
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

/// Takes frames off the front of a buffer.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: BytesMut,
}

impl Decoder {
    /// Where to read into.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// The next whole frame, `None` while more bytes are needed.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        if self.buffer.len() >= PREAMBLE.len() && self.buffer.starts_with(&PREAMBLE) {
            self.buffer.advance(PREAMBLE.len());
        }
        // A preamble's first byte is a header's too: with fewer bytes than a header both may come.
        if self.buffer.len() < HEADER || PREAMBLE.starts_with(&self.buffer[..self.buffer.len().min(PREAMBLE.len())]) {
            return Ok(None);
        }
        let header = &self.buffer[..HEADER];
        let kind = kind_of(header).ok_or(FrameError::Header)?;
        let channel = u32::from_le_bytes(header[4..8].try_into().expect("four bytes"));
        let length = u32::from_le_bytes(header[8..].try_into().expect("four bytes"));
        let size = usize::try_from(length).unwrap_or(usize::MAX);
        if size > MAX_PAYLOAD {
            return Err(FrameError::Length(length));
        }
        if self.buffer.len() < HEADER + size {
            self.buffer.reserve(HEADER + size - self.buffer.len());
            return Ok(None);
        }
        self.buffer.advance(HEADER);
        let payload = self.buffer.split_to(size).freeze();
        Ok(Some(Frame { kind, channel, payload }))
    }

    /// Drop everything before the next preamble, or all but a possible beginning of one.
    /// Whether there was one.
    pub fn resynchronise(&mut self) -> bool {
        let found = memchr::memmem::find(&self.buffer, &PREAMBLE);
        let keep = found.unwrap_or_else(|| {
            let tail = self.buffer.len().saturating_sub(PREAMBLE.len() - 1);
            (tail..self.buffer.len()).find(|at| PREAMBLE.starts_with(&self.buffer[*at..])).unwrap_or(self.buffer.len())
        });
        self.buffer.advance(keep);
        found.is_some()
    }

    /// For a frame that stays incomplete: whether a new session's hello cut it. Then everything
    /// before that hello is dropped. A preamble counts only before a whole, right header, for
    /// files may hold its bytes: this program's own does.
    pub fn cut_by_hello(&mut self) -> bool {
        let found = memchr::memmem::find_iter(&self.buffer, &PREAMBLE).find(|at| {
            let header = &self.buffer[at + PREAMBLE.len()..];
            *at > 0 && header.len() >= HEADER && kind_of(header) == Some(Kind::Hello)
        });
        if let Some(at) = found {
            self.buffer.advance(at);
        }
        found.is_some()
    }
}

/// The kind of a right header; it has at least [`HEADER`] bytes.
fn kind_of(header: &[u8]) -> Option<Kind> {
    let right = header[..2] == MAGIC && header[3] == check(header[2], &header[4..HEADER]);
    Kind::from_byte(header[2]).filter(|_| right)
}

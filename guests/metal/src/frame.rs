//! Frames of attest's protocol, as its crate `attest-protocol` has them, without memory of their own:
//! payloads come in the parts in which they arrive.

/// Precedes a hello and a welcome.
pub const PREAMBLE: [u8; 16] = [
    0xa7, 0x9c, 0x41, 0xe2, 0x0d, 0x5b, 0xf8, 0x36, 0x8a, 0xc3, 0x17, 0x64, 0xd9, 0x2e, 0xb5, 0x70,
];
/// Bytes of a header.
pub const HEADER: usize = 12;
/// Longest payload.
pub const MAX_PAYLOAD: usize = 64 * 1024;
/// Bytes of a stream that may be under way, ungranted.
pub const WINDOW: usize = 256 * 1024;
const MAGIC: [u8; 2] = [0xa7, 0x57];
const LEAST_COST: usize = 256;

/// What a data frame takes of its stream's window.
pub fn cost(payload: usize) -> usize {
    if payload < LEAST_COST {
        LEAST_COST
    } else {
        payload
    }
}

/// Numbers of the kinds of frames.
pub mod kind {
    #![expect(
        missing_docs,
        reason = "named in attest-protocol, where they are explained"
    )]
    pub const HELLO: u8 = 1;
    pub const WELCOME: u8 = 2;
    pub const OPEN: u8 = 3;
    pub const DATA_IN: u8 = 4;
    pub const DATA_OUT: u8 = 5;
    pub const DATA_ERR: u8 = 6;
    pub const EOF: u8 = 7;
    pub const CREDIT: u8 = 8;
    pub const NOTICE: u8 = 9;
    pub const CONTROL: u8 = 10;
    pub const CANCEL: u8 = 11;
    pub const FINISHED: u8 = 12;
}

fn check(kind: u8, rest: &[u8]) -> u8 {
    rest.iter()
        .fold(kind ^ 0x5a, |check, byte| check.rotate_left(1) ^ byte)
}

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// One of [`kind`].
    pub kind: u8,
    /// 0 for hello and welcome.
    pub channel: u32,
    /// Bytes of the payload.
    pub length: usize,
}

impl Head {
    /// As it is on the wire, without a preamble.
    pub fn encode(self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..2].copy_from_slice(&MAGIC);
        bytes[2] = self.kind;
        bytes[4..8].copy_from_slice(&self.channel.to_le_bytes());
        #[expect(clippy::cast_possible_truncation, reason = "at most MAX_PAYLOAD")]
        let length = self.length as u32;
        bytes[8..].copy_from_slice(&length.to_le_bytes());
        bytes[3] = check(self.kind, &bytes[4..]);
        bytes
    }

    fn parse(bytes: &[u8; HEADER]) -> Option<Self> {
        let [m0, m1, kind, sum, c0, c1, c2, c3, l0, l1, l2, l3] = *bytes;
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let right = [m0, m1] == MAGIC
            && sum == check(kind, &bytes[4..])
            && (kind::HELLO..=kind::FINISHED).contains(&kind)
            && length <= MAX_PAYLOAD;
        right.then_some(Self {
            kind,
            channel: u32::from_le_bytes([c0, c1, c2, c3]),
            length,
        })
    }
}

/// What the bytes say.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// More of a frame's payload; the last part may be empty.
    Part {
        /// Of the frame.
        head: Head,
        /// As many as there are.
        bytes: &'a [u8],
        /// Whether the frame is whole.
        last: bool,
    },
    /// No frame of the session: the next welcome is searched for.
    Garbage,
}

/// Takes frames off the host's bytes. Before a welcome, all that is none is skipped.
#[derive(Debug)]
pub struct Decoder {
    /// A preamble and a header, or a header, as far as it has come.
    front: [u8; PREAMBLE.len() + HEADER],
    filled: usize,
    in_session: bool,
    /// The frame whose payload arrives, and what of it is to come.
    frame: Option<(Head, usize)>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// Searching.
    pub const fn new() -> Self {
        Self {
            front: [0; PREAMBLE.len() + HEADER],
            filled: 0,
            in_session: false,
            frame: None,
        }
    }

    /// The session is over: skip to the next welcome.
    pub fn search(&mut self) {
        *self = Self::new();
    }

    /// The next event; `None` when all bytes are taken.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Option<Event<'a>> {
        loop {
            if let Some((head, left)) = self.frame {
                if left > 0 && input.is_empty() {
                    return None;
                }
                let (bytes, rest) = input.split_at(left.min(input.len()));
                *input = rest;
                let left = left - bytes.len();
                self.frame = (left > 0).then_some((head, left));
                return Some(Event::Part {
                    head,
                    bytes,
                    last: left == 0,
                });
            }
            let (byte, rest) = input.split_first()?;
            *input = rest;
            if !self.front_takes(*byte) {
                let in_session = self.in_session;
                self.search();
                // It may be the first byte of a preamble.
                self.front_takes(*byte);
                if in_session {
                    return Some(Event::Garbage);
                }
            }
        }
    }

    /// Whether what begins a frame may go on like this.
    fn front_takes(&mut self, byte: u8) -> bool {
        let at = self.filled;
        // The second byte tells a preamble from a header.
        let greets = !self.in_session || at > 1 && self.front[1] == PREAMBLE[1];
        let right = match at {
            0 => byte == PREAMBLE[0],
            1 => byte == PREAMBLE[1] || self.in_session && byte == MAGIC[1],
            2..16 if greets => byte == PREAMBLE[at],
            _ => true,
        };
        if !right {
            return false;
        }
        self.front[at] = byte;
        self.filled += 1;
        let start = if greets { PREAMBLE.len() } else { 0 };
        if self.filled < 2 || self.filled < start + HEADER {
            return true;
        }
        let Some(Ok(bytes)) = self.front.get(start..start + HEADER).map(TryInto::try_into) else {
            return false;
        };
        match Head::parse(bytes) {
            Some(head) if (head.kind == kind::WELCOME) == greets => {
                self.filled = 0;
                self.in_session = true;
                self.frame = Some((head, head.length));
                true
            }
            _ => false,
        }
    }
}

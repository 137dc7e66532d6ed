//! Frames out of bytes, with a way back after a cut.

use bytes::{Buf, Bytes, BytesMut};
use memchr::memmem;

use super::{Frame, FrameError, HEADER, Head, Kind, MAGIC, PREAMBLE};

/// Smaller payloads are copied out of the read buffer: a byte that is kept must not keep a
/// whole buffer alive, or small frames would hold many times their window.
const COPIED_BELOW: usize = 16 * 1024;
/// Bytes of a preamble at the end of what arrived that are enough to be no accident.
const TELLING: usize = 4;

/// What the bytes say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A whole frame.
    Frame(Frame),
    /// The session is over: a new greeting cut a frame of it. The greeting follows.
    Restarted,
    /// The session is over: these bytes are no frame of it. The next greeting is searched for.
    Garbage(FrameError),
}

/// Takes frames off a stream of bytes. Between sessions everything but a greeting is skipped.
///
/// A greeting that a rebooted guest sends while a frame of its former life is incomplete falls
/// into that frame's payload. It is taken for one only when nothing but the greeting and its
/// repetitions follows it, because a peer that greets says nothing else until it is answered:
/// so a file that holds the bytes of a greeting passes.
#[derive(Debug)]
pub struct Decoder {
    buffer: BytesMut,
    greeting: Kind,
    in_session: bool,
    /// The frame at the front was seen incomplete: it may be one that was cut.
    waited: bool,
    /// Up to here no greeting cuts the frame at the front, whatever follows. Without it, a peer
    /// that sends a long frame byte by byte has all of it searched for each.
    searched: usize,
    /// The payload of the last frame, if it may have been cut.
    suspect: Bytes,
}

/// Whether some bytes are a greeting again and again.
enum Greets {
    Yes,
    No,
    /// Its beginning, as far as it goes.
    NotYet,
}

impl Decoder {
    /// The decoder of the side that gets this greeting.
    ///
    /// # Panics
    /// When the kind is no greeting.
    pub fn new(greeting: Kind) -> Self {
        assert!(greeting.is_greeting(), "{greeting:?} is no greeting");
        Self {
            buffer: BytesMut::new(),
            greeting,
            in_session: false,
            waited: false,
            searched: 0,
            suspect: Bytes::new(),
        }
    }

    /// Where to read into: append only.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// The session is over, or its greeting was not accepted: skip to the next greeting.
    pub fn search(&mut self) {
        self.in_session = false;
        self.waited = false;
        self.searched = 0;
        self.suspect = Bytes::new();
    }

    /// The next event; `None` while more bytes are needed.
    pub fn next_event(&mut self) -> Option<Event> {
        if self.in_session {
            self.next_of_session()
        } else {
            self.find_greeting()
        }
    }

    fn find_greeting(&mut self) -> Option<Event> {
        loop {
            let Some(at) = memmem::find(&self.buffer, &PREAMBLE) else {
                let keep = beginning_of_preamble(&self.buffer);
                self.buffer.advance(self.buffer.len() - keep);
                return None;
            };
            self.buffer.advance(at);
            let after = &self.buffer[PREAMBLE.len()..];
            if after.len() < HEADER {
                return None;
            }
            let head = Head::parse(after)
                .ok()
                .filter(|head| head.kind == self.greeting);
            let Some(head) = head else {
                self.buffer.advance(1);
                continue;
            };
            let payload = &after[HEADER..][..head.length.min(after.len() - HEADER)];
            if memmem::find(payload, &PREAMBLE).is_some() {
                // This greeting was cut by the next.
                self.buffer.advance(PREAMBLE.len());
                continue;
            }
            if payload.len() < head.length {
                return None;
            }
            self.in_session = true;
            self.buffer.advance(PREAMBLE.len());
            return Some(Event::Frame(self.take(head)));
        }
    }

    fn next_of_session(&mut self) -> Option<Event> {
        let (preamble, head) = match self.front() {
            Ok(Some(front)) => front,
            // A greeting that cut a header makes it a wrong one; nothing can hide in so few bytes.
            Ok(None) => {
                self.waited = !self.buffer.is_empty();
                return None;
            }
            Err(error) => return Some(self.broken(error)),
        };
        let size = preamble + HEADER + head.length;
        let whole = self.buffer.len() >= size;
        // Greetings that follow a greeting repeat it; one within it cuts it.
        let within = if preamble > 0 { size } else { usize::MAX };
        if (self.waited || !whole) && self.cut(within) {
            return Some(Event::Restarted);
        }
        if !whole {
            self.waited = true;
            self.buffer.reserve(size - self.buffer.len());
            return None;
        }
        self.buffer.advance(preamble);
        let frame = self.take(head);
        self.suspect = if self.waited {
            frame.payload.clone()
        } else {
            Bytes::new()
        };
        self.waited = false;
        self.searched = 0;
        Some(Event::Frame(frame))
    }

    /// The header at the front and the length of the preamble before it, once they are there.
    fn front(&self) -> Result<Option<(usize, Head)>, FrameError> {
        let preambled = self.buffer.len() > 1 && self.buffer[1] == PREAMBLE[1];
        let preamble = if preambled { PREAMBLE.len() } else { 0 };
        let there = self.buffer.len().min(preamble);
        if self.buffer[..there] != PREAMBLE[..there] {
            return Err(FrameError::Header);
        }
        if self.buffer.len() < preamble + HEADER {
            return Ok(None);
        }
        let head = Head::parse(&self.buffer[preamble..])?;
        if head.kind.is_greeting() == preambled {
            Ok(Some((preamble, head)))
        } else {
            Err(FrameError::Header)
        }
    }

    fn take(&mut self, head: Head) -> Frame {
        self.buffer.advance(HEADER);
        let payload = if head.length < COPIED_BELOW {
            let payload = Bytes::copy_from_slice(&self.buffer[..head.length]);
            self.buffer.advance(head.length);
            payload
        } else {
            self.buffer.split_to(head.length).freeze()
        };
        Frame {
            kind: head.kind,
            channel: head.channel,
            payload,
        }
    }

    /// Whether a new greeting that begins before `within` cut the frame at the front; then all
    /// before it is dropped.
    fn cut(&mut self, within: usize) -> bool {
        // One at the very front is a whole frame, and no cut.
        let from = self.searched.max(1).min(self.buffer.len());
        let mut open = None;
        for at in memmem::find_iter(&self.buffer[from..], &PREAMBLE).map(|at| from + at) {
            match self.greets(&self.buffer[at..]) {
                Greets::Yes if at < within => {
                    self.buffer.advance(at);
                    self.search();
                    return true;
                }
                Greets::No => {}
                Greets::Yes | Greets::NotYet => open = open.or(Some(at)),
            }
        }
        // The beginning of one more may be at the end.
        let tail = (self.buffer.len() + 1).saturating_sub(PREAMBLE.len());
        self.searched = open.unwrap_or(tail).max(from);
        false
    }

    /// Whether these bytes, from a preamble on, are a greeting again and again.
    fn greets(&self, bytes: &[u8]) -> Greets {
        let Some(head) = bytes.get(PREAMBLE.len()..PREAMBLE.len() + HEADER) else {
            return Greets::NotYet;
        };
        match Head::parse(head) {
            Ok(head) if head.kind == self.greeting => {
                let size = PREAMBLE.len() + HEADER + head.length;
                if bytes.len() < size {
                    Greets::NotYet
                } else if bytes[size..] == bytes[..bytes.len() - size] {
                    // Equal to itself one greeting earlier is periodic.
                    Greets::Yes
                } else {
                    Greets::No
                }
            }
            _ => Greets::No,
        }
    }

    /// No frame is at the front. A greeting may have cut the header, or begun in the frame before.
    fn broken(&mut self, error: FrameError) -> Event {
        let suspect = std::mem::take(&mut self.suspect);
        self.search();
        let mut all = BytesMut::with_capacity(suspect.len() + self.buffer.len());
        all.extend_from_slice(&suspect);
        all.extend_from_slice(&self.buffer);
        let greets = memmem::find_iter(&all, &PREAMBLE).find(|at| {
            let after = &all[at + PREAMBLE.len()..];
            match after.get(..HEADER) {
                Some(head) => Head::parse(head).is_ok_and(|head| head.kind == self.greeting),
                None => after
                    .iter()
                    .zip(MAGIC.iter().chain([&(self.greeting as u8)]))
                    .all(|(a, b)| a == b),
            }
        });
        let tail = beginning_of_preamble(&all);
        let at = greets.or_else(|| (tail >= TELLING).then(|| all.len() - tail));
        match at {
            Some(at) => {
                all.advance(at);
                self.buffer = all;
                Event::Restarted
            }
            None => Event::Garbage(error),
        }
    }
}

/// How many bytes at the end may begin a preamble.
fn beginning_of_preamble(bytes: &[u8]) -> usize {
    let longest = bytes.len().min(PREAMBLE.len() - 1);
    (1..=longest)
        .rev()
        .find(|length| bytes.ends_with(&PREAMBLE[..*length]))
        .unwrap_or(0)
}

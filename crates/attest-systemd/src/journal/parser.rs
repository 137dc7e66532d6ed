//! The export format, as it streams in.
//!
//! A field is `NAME=VALUE` and a newline; or, for any bytes, `NAME`, a newline, the length in
//! eight bytes (little-endian), the bytes, and a newline. An empty line ends an entry. All of
//! it comes from a guest: nothing is kept beyond what an entry may have, whatever a length says.

use super::entry::{Entry, Field, Fields};

/// Bytes that are kept of a message; of longer ones the beginning.
pub(super) const LONGEST_MESSAGE: usize = 64 * 1024;
/// Bytes of a field's name: journald's own limit.
const LONGEST_NAME: usize = 64;
/// Bytes of a value: journald's own limit, and less than any eight bytes of text as a number.
const LONGEST_VALUE: u64 = 768 << 20;

/// Reads the export format as it streams in. It never fails: what it cannot understand it
/// leaves out, and goes on with the next line.
#[derive(Debug, Default)]
pub struct Parser {
    state: State,
    fields: Fields,
}

#[derive(Debug)]
enum State {
    /// In a name.
    Name(Vec<u8>),
    /// In a value that ends with its line; kept if it is of a field.
    Line(Option<Field>, Vec<u8>),
    /// In the eight bytes of a length.
    Length(Option<Field>, Vec<u8>),
    /// In a value of which so many bytes are left.
    Bytes(Option<Field>, Vec<u8>, u64),
    /// After such a value.
    Newline,
}

impl Default for State {
    fn default() -> Self {
        Self::Name(Vec::new())
    }
}

impl Parser {
    /// At the beginning of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Take what came; the entries that are complete by it.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Entry> {
        let (mut entries, mut rest) = (Vec::new(), bytes);
        while !rest.is_empty() {
            rest = self.step(rest, &mut entries);
        }
        entries
    }

    /// The stream is at its end: the entry that was begun, if it is worth anything.
    pub fn finish(mut self) -> Option<Entry> {
        match std::mem::take(&mut self.state) {
            State::Line(field, value) | State::Bytes(field, value, _) => self.keep(field, value),
            _ => {}
        }
        self.fields.take()
    }

    /// Take some bytes; gives back the others.
    fn step<'a>(&mut self, bytes: &'a [u8], entries: &mut Vec<Entry>) -> &'a [u8] {
        match std::mem::take(&mut self.state) {
            State::Name(name) => self.name(name, bytes, entries),
            State::Line(field, mut value) => {
                let end = memchr::memchr(b'\n', bytes);
                let (line, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
                self.append(field, &mut value, line);
                if end.is_none() {
                    self.state = State::Line(field, value);
                    return rest;
                }
                self.keep(field, value);
                &rest[1..]
            }
            State::Length(field, mut length) => {
                let (head, rest) = bytes.split_at(bytes.len().min(8 - length.len()));
                length.extend_from_slice(head);
                let Ok(whole) = <[u8; 8]>::try_from(length.as_slice()) else {
                    self.state = State::Length(field, length);
                    return rest;
                };
                match u64::from_le_bytes(whole) {
                    // An empty value is complete without a byte more.
                    0 => {
                        self.keep(field, Vec::new());
                        self.state = State::Newline;
                    }
                    left @ 1..=LONGEST_VALUE => self.state = State::Bytes(field, Vec::new(), left),
                    // That was no length, but the next line.
                    _ => {}
                }
                rest
            }
            State::Bytes(field, mut value, left) => {
                let taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                let (part, rest) = bytes.split_at(taken);
                self.append(field, &mut value, part);
                let left = left - taken as u64;
                if left > 0 {
                    self.state = State::Bytes(field, value, left);
                } else {
                    self.keep(field, value);
                    self.state = State::Newline;
                }
                rest
            }
            // Without its newline it is damaged; the line that follows is as good as any.
            State::Newline => bytes.strip_prefix(b"\n").unwrap_or(bytes),
        }
    }

    fn name<'a>(
        &mut self,
        mut name: Vec<u8>,
        bytes: &'a [u8],
        entries: &mut Vec<Entry>,
    ) -> &'a [u8] {
        let end = memchr::memchr2(b'=', b'\n', bytes);
        let (part, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
        if name.len() + part.len() > LONGEST_NAME {
            // No field has such a name: the line is of no use.
            self.state = State::Line(None, Vec::new());
            return rest;
        }
        name.extend_from_slice(part);
        let Some((delimiter, rest)) = rest.split_first() else {
            self.state = State::Name(name);
            return rest;
        };
        match (delimiter, name.as_slice()) {
            (b'\n', b"") => entries.extend(self.fields.take()),
            (b'\n', name) if is_name(name) => {
                self.state = State::Length(Field::of(name), Vec::new());
            }
            // No name, so no length comes after it.
            (b'\n', _) => {}
            (_, name) => self.state = State::Line(Field::of(name), Vec::new()),
        }
        rest
    }

    fn append(&mut self, field: Option<Field>, value: &mut Vec<u8>, part: &[u8]) {
        let Some(field) = field else { return };
        let room = field.longest() - value.len();
        self.fields.cut |= field == Field::Message && part.len() > room;
        value.extend_from_slice(&part[..part.len().min(room)]);
    }

    fn keep(&mut self, field: Option<Field>, value: Vec<u8>) {
        if let Some(field) = field {
            self.fields.set(field, value);
        }
    }
}

fn is_name(name: &[u8]) -> bool {
    let good = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_';
    name.iter().all(good)
}

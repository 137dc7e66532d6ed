//! Messages: their headers, and where one ends in a stream of bytes.

use bytes::{Buf, Bytes, BytesMut};

use super::decode::{Decoder, decode};
use super::{Malformed, encode, signature};
use crate::value::Value;

/// Bytes of a message, header and all. The list of 10 000 units has 3 MB; the specification's
/// own limit of 128 MiB is for descriptors' worth of data that systemd never sends.
const LONGEST: usize = 8 * 1024 * 1024;
/// Bytes of the fields of a header: a path, three names, a signature.
const LONGEST_FIELDS: usize = 16 * 1024;
/// Bytes that say how long the rest is.
pub(crate) const PREFIX: usize = 16;

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Call,
    Return,
    Error,
    Signal,
}

/// A message, its body not yet read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Message {
    pub(crate) kind: Kind,
    pub(crate) serial: u32,
    pub(crate) reply_to: Option<u32>,
    pub(crate) path: String,
    pub(crate) interface: String,
    pub(crate) member: String,
    pub(crate) error: String,
    pub(crate) signature: String,
    pub(crate) body: Bytes,
    pub(crate) big: bool,
}

impl Message {
    /// A message to be sent; its body comes from [`encode`].
    pub(crate) fn new(kind: Kind, serial: u32, signature: &str, body: Vec<u8>) -> Self {
        Self {
            kind,
            serial,
            reply_to: None,
            path: String::new(),
            interface: String::new(),
            member: String::new(),
            error: String::new(),
            signature: signature.to_owned(),
            body: body.into(),
            big: false,
        }
    }

    /// The values of the body.
    pub(crate) fn values(&self) -> Result<Vec<Value>, Malformed> {
        decode(&self.signature, &self.body, self.big)
    }

    /// The first value of the body, when it is a text: for looking before reading all.
    pub(crate) fn first_text(&self) -> Option<&str> {
        let is_text = self.signature.starts_with('s');
        is_text.then(|| Decoder::new(&self.body, self.big).text().ok())?
    }

    /// As it travels. Fields that are empty are left out.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, Malformed> {
        let kind = match self.kind {
            Kind::Call => 1,
            Kind::Return => 2,
            Kind::Error => 3,
            Kind::Signal => 4,
        };
        let body = u32::try_from(self.body.len()).map_err(|_| Malformed("more than 4 GiB"))?;
        let mut bytes = vec![b'l', kind, 0, 1];
        bytes.extend(body.to_le_bytes());
        bytes.extend(self.serial.to_le_bytes());
        bytes.extend([0; 4]);
        for (code, kind, text) in [
            (1, "o", &self.path),
            (2, "s", &self.interface),
            (3, "s", &self.member),
            (4, "s", &self.error),
            (8, "g", &self.signature),
        ] {
            if text.is_empty() {
                continue;
            }
            field(&mut bytes, code, kind)?;
            let value = match kind {
                "o" => Value::Path(text.clone()),
                "s" => Value::Text(text.clone()),
                _ => Value::Signature(text.clone()),
            };
            // Texts begin aligned here: a field's head is 4 bytes long.
            bytes.extend(encode::encode(kind, &[value])?);
        }
        if let Some(serial) = self.reply_to {
            field(&mut bytes, 5, "u")?;
            bytes.extend(serial.to_le_bytes());
        }
        let fields = u32::try_from(bytes.len() - PREFIX).map_err(|_| Malformed("long fields"))?;
        bytes[12..PREFIX].copy_from_slice(&fields.to_le_bytes());
        encode::pad(&mut bytes, 8);
        bytes.extend_from_slice(&self.body);
        Ok(bytes)
    }

    /// Take the next message off the front of what has arrived, or say how many bytes there
    /// must be before it is worth asking again. That number grows with what really arrived.
    pub(crate) fn take(buffer: &mut BytesMut) -> Result<Result<Self, usize>, Malformed> {
        let Some(prefix) = buffer.first_chunk() else {
            return Ok(Err(PREFIX));
        };
        let Lengths { header, total } = lengths(prefix)?;
        if buffer.len() < total {
            return Ok(Err(total));
        }
        let mut whole = buffer.split_to(total).freeze();
        let head = whole.split_to(header);
        parse(&head, whole).map(Ok)
    }
}

fn field(bytes: &mut Vec<u8>, code: u8, kind: &str) -> Result<(), Malformed> {
    encode::pad(bytes, 8);
    bytes.push(code);
    encode::signature(bytes, kind)
}

/// Bytes of a message until its body, padding included, and until its end.
struct Lengths {
    header: usize,
    total: usize,
}

fn lengths(prefix: &[u8; PREFIX]) -> Result<Lengths, Malformed> {
    let big = match prefix[0] {
        b'l' => false,
        b'B' => true,
        _ => return Err(Malformed("something else than a D-Bus message")),
    };
    if prefix[3] != 1 {
        return Err(Malformed("a message of another version than 1"));
    }
    let number = |mut bytes: &[u8]| {
        let number = if big {
            bytes.get_u32()
        } else {
            bytes.get_u32_le()
        };
        number as usize
    };
    let (body, fields) = (number(&prefix[4..8]), number(&prefix[12..16]));
    if fields > LONGEST_FIELDS {
        return Err(Malformed("a header of more than 16 KiB"));
    }
    let header = (PREFIX + fields).next_multiple_of(8);
    if body > LONGEST - header {
        return Err(Malformed("a message of more than 8 MiB"));
    }
    let total = header + body;
    Ok(Lengths { header, total })
}

fn parse(head: &[u8], body: Bytes) -> Result<Message, Malformed> {
    let big = head[0] == b'B';
    let kind = match head[1] {
        1 => Kind::Call,
        2 => Kind::Return,
        3 => Kind::Error,
        4 => Kind::Signal,
        _ => return Err(Malformed("a message of an unknown kind")),
    };
    let serial = Decoder::new(&head[8..12], big).u32()?;
    let mut message = Message {
        body,
        big,
        ..Message::new(kind, serial, "", Vec::new())
    };
    fields(&mut message, head)?;
    let complete = match kind {
        Kind::Call => !message.path.is_empty() && !message.member.is_empty(),
        Kind::Return => message.reply_to.is_some(),
        Kind::Error => message.reply_to.is_some() && !message.error.is_empty(),
        Kind::Signal => {
            let names = [&message.path, &message.interface, &message.member];
            names.iter().all(|name| !name.is_empty())
        }
    };
    if serial == 0 || !complete {
        return Err(Malformed("a header that lacks a field"));
    }
    if message.signature.is_empty() && !message.body.is_empty() {
        return Err(Malformed("a body without a signature"));
    }
    Ok(message)
}

fn fields(message: &mut Message, head: &[u8]) -> Result<(), Malformed> {
    let end = PREFIX + Decoder::new(&head[12..16], message.big).u32()? as usize;
    if head[end..].iter().any(|byte| *byte != 0) {
        return Err(Malformed("padding that is not zero"));
    }
    let mut decoder = Decoder::new(&head[PREFIX..end], message.big);
    while !decoder.is_at_end() {
        decoder.align(8)?;
        let code = decoder.byte()?;
        let kind = decoder.signature()?;
        match (code, kind) {
            (1, "o") => decoder.text()?.clone_into(&mut message.path),
            (2, "s") => decoder.text()?.clone_into(&mut message.interface),
            (3, "s") => decoder.text()?.clone_into(&mut message.member),
            (4, "s") => decoder.text()?.clone_into(&mut message.error),
            (5, "u") => {
                decoder.align(4)?;
                message.reply_to = Some(decoder.u32()?);
            }
            (8, "g") => decoder.signature()?.clone_into(&mut message.signature),
            (1..=5 | 8, _) => return Err(Malformed("a field of a header of another type")),
            // Destination and sender: there are but two of us. And what is yet to be invented.
            _ => decoder.skip(kind)?,
        }
    }
    signature::check(&message.signature)
}

//! Values from the bytes of a message, in either byte order.

use super::{Malformed, signature};
use crate::value::{Value, Variant};

/// Values in variants, arrays and structs in each other: the specification's limit.
const DEEPEST: u8 = 64;
/// Values in one message. A list of 40 000 units has as many; it bounds the memory that a
/// message of many tiny values takes, to about 40 MB.
const MOST: usize = 1 << 19;

/// Read all values of a body.
pub(crate) fn decode(signature: &str, bytes: &[u8], big: bool) -> Result<Vec<Value>, Malformed> {
    signature::check(signature)?;
    let mut decoder = Decoder::new(bytes, big);
    let values = decoder.all(signature, 0)?;
    if decoder.at == bytes.len() {
        Ok(values)
    } else {
        Err(Malformed("a body that is longer than its signature says"))
    }
}

/// A place in the bytes of a header or a body, which both begin aligned.
pub(super) struct Decoder<'a> {
    bytes: &'a [u8],
    at: usize,
    big: bool,
    left: usize,
}

impl<'a> Decoder<'a> {
    pub(super) fn new(bytes: &'a [u8], big: bool) -> Self {
        let left = MOST;
        Self {
            bytes,
            at: 0,
            big,
            left,
        }
    }

    /// One value of each type of a checked signature.
    fn all(&mut self, signature: &str, depth: u8) -> Result<Vec<Value>, Malformed> {
        let (mut values, mut rest) = (Vec::new(), signature);
        while !rest.is_empty() {
            let (one, more) = signature::first(rest);
            values.push(self.value(one, depth)?);
            rest = more;
        }
        Ok(values)
    }

    /// One value of this type.
    fn value(&mut self, one: &str, depth: u8) -> Result<Value, Malformed> {
        if depth > DEEPEST {
            return Err(Malformed("values of more than 64 levels"));
        }
        self.left = self
            .left
            .checked_sub(1)
            .ok_or(Malformed("a message of too many values"))?;
        let code = one.as_bytes()[0];
        self.align(signature::alignment(code))?;
        Ok(match code {
            b'y' => Value::Byte(self.take(1)?[0]),
            b'b' => match self.u32()? {
                0 => Value::Bool(false),
                1 => Value::Bool(true),
                _ => return Err(Malformed("a boolean that is neither 0 nor 1")),
            },
            b'n' => Value::I16(i16::from_ne_bytes(self.number()?)),
            b'q' => Value::U16(u16::from_ne_bytes(self.number()?)),
            b'i' => Value::I32(i32::from_ne_bytes(self.number()?)),
            b'u' => Value::U32(self.u32()?),
            b'h' => Value::Handle(self.u32()?),
            b'x' => Value::I64(i64::from_ne_bytes(self.number()?)),
            b't' => Value::U64(u64::from_ne_bytes(self.number()?)),
            b'd' => Value::F64(f64::from_ne_bytes(self.number()?)),
            b's' => Value::Text(self.text()?.to_owned()),
            b'o' => Value::Path(self.text()?.to_owned()),
            b'g' => Value::Signature(self.signature()?.to_owned()),
            b'v' => self.variant(depth)?,
            b'(' => Value::Struct(self.all(&one[1..one.len() - 1], depth + 1)?),
            _ => self.array(&one[1..], depth)?,
        })
    }

    fn variant(&mut self, depth: u8) -> Result<Value, Malformed> {
        let signature = self.signature()?;
        signature::check_one(signature)?;
        Ok(Value::Variant(Box::new(Variant {
            signature: signature.to_owned(),
            value: self.value(signature, depth + 1)?,
        })))
    }

    fn array(&mut self, element: &str, depth: u8) -> Result<Value, Malformed> {
        let length = self.u32()? as usize;
        let code = element.as_bytes()[0];
        // The padding before the first element does not count, and is there without one.
        self.align(signature::alignment(code))?;
        if length > self.bytes.len() - self.at {
            return Err(Malformed("an array that is longer than its message"));
        }
        let end = self.at + length;
        if code == b'y' {
            return Ok(Value::Bytes(self.take(length)?.to_vec()));
        }
        let (mut items, mut pairs) = (Vec::new(), Vec::new());
        while self.at < end {
            if code == b'{' {
                self.align(8)?;
                let (key, value) = signature::first(&element[1..element.len() - 1]);
                pairs.push((self.value(key, depth + 2)?, self.value(value, depth + 2)?));
            } else {
                items.push(self.value(element, depth + 1)?);
            }
        }
        if self.at != end {
            return Err(Malformed("an array whose last element is longer than it"));
        }
        Ok(if code == b'{' {
            Value::Dict(pairs)
        } else {
            Value::Array(items)
        })
    }

    /// The text of the next string or path.
    pub(super) fn text(&mut self) -> Result<&'a str, Malformed> {
        self.align(4)?;
        let length = self.u32()? as usize;
        self.text_of(length)
    }

    /// The next signature; not yet checked.
    pub(super) fn signature(&mut self) -> Result<&'a str, Malformed> {
        let length = self.take(1)?[0];
        self.text_of(usize::from(length))
    }

    fn text_of(&mut self, length: usize) -> Result<&'a str, Malformed> {
        let bytes = self.take(length)?;
        if self.take(1)?[0] != 0 || memchr::memchr(0, bytes).is_some() {
            return Err(Malformed("a text that does not end at its end"));
        }
        std::str::from_utf8(bytes).map_err(|_| Malformed("a text that is not UTF-8"))
    }

    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_ne_bytes(self.number()?))
    }

    /// The bytes of a number, in this host's order.
    fn number<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let mut number = [0; N];
        number.copy_from_slice(self.take(N)?);
        if self.big != cfg!(target_endian = "big") {
            number.reverse();
        }
        Ok(number)
    }

    pub(super) fn byte(&mut self) -> Result<u8, Malformed> {
        Ok(self.take(1)?[0])
    }

    pub(super) fn align(&mut self, to: usize) -> Result<(), Malformed> {
        let padding = self.take(self.at.next_multiple_of(to) - self.at)?;
        if padding.iter().all(|byte| *byte == 0) {
            Ok(())
        } else {
            Err(Malformed("padding that is not zero"))
        }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let left = &self.bytes[self.at..];
        let (taken, _) = left
            .split_at_checked(count)
            .ok_or(Malformed("a message that is cut"))?;
        self.at += count;
        Ok(taken)
    }

    /// Pass over a value of this type, not yet checked.
    pub(super) fn skip(&mut self, signature: &str) -> Result<(), Malformed> {
        signature::check_one(signature)?;
        self.value(signature, 0).map(drop)
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }
}

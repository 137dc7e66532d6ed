//! Values into the bytes of a message, little-endian.

use super::{Malformed, signature};
use crate::value::Value;

/// Write the values of a body. An error is a mistake of the caller's: a value of another type
/// than its signature says, or a text with a NUL in it.
pub(crate) fn encode(signature: &str, values: &[Value]) -> Result<Vec<u8>, Malformed> {
    signature::check(signature)?;
    let mut bytes = Vec::new();
    all(&mut bytes, signature, values)?;
    Ok(bytes)
}

fn all(bytes: &mut Vec<u8>, signature: &str, values: &[Value]) -> Result<(), Malformed> {
    let mut rest = signature;
    for value in values {
        if rest.is_empty() {
            return Err(Malformed("more values than types"));
        }
        let (one, more) = signature::first(rest);
        write(bytes, one, value)?;
        rest = more;
    }
    if rest.is_empty() {
        Ok(())
    } else {
        Err(Malformed("fewer values than types"))
    }
}

fn write(bytes: &mut Vec<u8>, one: &str, value: &Value) -> Result<(), Malformed> {
    let code = one.as_bytes()[0];
    pad(bytes, signature::alignment(code));
    match (code, value) {
        (b'y', Value::Byte(number)) => bytes.push(*number),
        (b'b', Value::Bool(value)) => bytes.extend(u32::from(*value).to_le_bytes()),
        (b'n', Value::I16(number)) => bytes.extend(number.to_le_bytes()),
        (b'q', Value::U16(number)) => bytes.extend(number.to_le_bytes()),
        (b'i', Value::I32(number)) => bytes.extend(number.to_le_bytes()),
        (b'u', Value::U32(number)) | (b'h', Value::Handle(number)) => {
            bytes.extend(number.to_le_bytes());
        }
        (b'x', Value::I64(number)) => bytes.extend(number.to_le_bytes()),
        (b't', Value::U64(number)) => bytes.extend(number.to_le_bytes()),
        (b'd', Value::F64(number)) => bytes.extend(number.to_le_bytes()),
        (b's', Value::Text(text)) | (b'o', Value::Path(text)) => self::text(bytes, text)?,
        (b'g', Value::Signature(text)) => self::signature(bytes, text)?,
        (b'v', Value::Variant(variant)) => {
            signature::check_one(&variant.signature)?;
            self::signature(bytes, &variant.signature)?;
            write(bytes, &variant.signature, &variant.value)?;
        }
        (b'(', Value::Struct(fields)) => all(bytes, &one[1..one.len() - 1], fields)?,
        (b'a', _) => array(bytes, &one[1..], value)?,
        _ => return Err(Malformed("a value of another type than its signature says")),
    }
    Ok(())
}

fn array(bytes: &mut Vec<u8>, element: &str, value: &Value) -> Result<(), Malformed> {
    let length_at = bytes.len();
    bytes.extend([0; 4]);
    let code = element.as_bytes()[0];
    pad(bytes, signature::alignment(code));
    let begin = bytes.len();
    match (code, value) {
        (b'y', Value::Bytes(content)) => bytes.extend(content),
        (b'{', Value::Dict(pairs)) => {
            let (key, value) = signature::first(&element[1..element.len() - 1]);
            for pair in pairs {
                pad(bytes, 8);
                write(bytes, key, &pair.0)?;
                write(bytes, value, &pair.1)?;
            }
        }
        (b'y' | b'{', _) => return Err(Malformed("an array of another type")),
        (_, Value::Array(items)) => {
            for item in items {
                write(bytes, element, item)?;
            }
        }
        _ => return Err(Malformed("no array where one is expected")),
    }
    let length = length(bytes.len() - begin)?;
    bytes[length_at..length_at + 4].copy_from_slice(&length);
    Ok(())
}

fn text(bytes: &mut Vec<u8>, text: &str) -> Result<(), Malformed> {
    bytes.extend(length(text.len())?);
    ended(bytes, text)
}

pub(super) fn signature(bytes: &mut Vec<u8>, text: &str) -> Result<(), Malformed> {
    signature::check(text)?;
    // At most 255, as was just checked.
    bytes.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
    ended(bytes, text)
}

fn ended(bytes: &mut Vec<u8>, text: &str) -> Result<(), Malformed> {
    if text.contains('\0') {
        return Err(Malformed("a text with a NUL in it"));
    }
    bytes.extend(text.as_bytes());
    bytes.push(0);
    Ok(())
}

fn length(length: usize) -> Result<[u8; 4], Malformed> {
    let length = u32::try_from(length).map_err(|_| Malformed("more than 4 GiB"))?;
    Ok(length.to_le_bytes())
}

pub(super) fn pad(bytes: &mut Vec<u8>, to: usize) {
    bytes.resize(bytes.len().next_multiple_of(to), 0);
}

//! Values as D-Bus has them.

use std::fmt;

/// A value of a property, with its type.
///
/// [`Display`](fmt::Display) prints it as `systemctl show` does when it knows nothing of the
/// property but its type: numbers in decimal, booleans as `yes` and `no`, lists of texts
/// separated by spaces, bytes in hexadecimal. How a property of a certain name looks (times,
/// modes, limits) is known to [`Properties::text`](crate::Properties::text).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// `y`
    Byte(u8),
    /// `b`
    Bool(bool),
    /// `n`
    I16(i16),
    /// `q`
    U16(u16),
    /// `i`
    I32(i32),
    /// `u`
    U32(u32),
    /// `x`
    I64(i64),
    /// `t`
    U64(u64),
    /// `d`
    F64(f64),
    /// `s`
    Text(String),
    /// `o`: the path of an object.
    Path(String),
    /// `g`
    Signature(String),
    /// `h`: the index of a descriptor. None ever comes with it.
    Handle(u32),
    /// `ay`
    Bytes(Vec<u8>),
    /// `a…` of anything but bytes and pairs.
    Array(Vec<Value>),
    /// `(…)`
    Struct(Vec<Value>),
    /// `a{…}`, in the order in which it came.
    Dict(Vec<(Value, Value)>),
    /// `v`
    Variant(Box<Variant>),
}

/// A value that carries its type with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Variant {
    /// The signature of exactly one type.
    pub signature: String,
    /// A value of this type.
    pub value: Value,
}

impl Value {
    /// The text of a string, of an object's path or of a signature.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Path(text) | Self::Signature(text) => Some(text),
            _ => None,
        }
    }

    /// Any number that is not negative.
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Self::Byte(number) => Some(u64::from(*number)),
            Self::U16(number) => Some(u64::from(*number)),
            Self::U32(number) => Some(u64::from(*number)),
            Self::U64(number) => Some(*number),
            _ => u64::try_from(self.as_i64()?).ok(),
        }
    }

    /// Any number that fits.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::I16(number) => Some(i64::from(*number)),
            Self::I32(number) => Some(i64::from(*number)),
            Self::I64(number) => Some(*number),
            Self::Byte(_) | Self::U16(_) | Self::U32(_) | Self::U64(_) => {
                i64::try_from(self.as_u64()?).ok()
            }
            _ => None,
        }
    }

    /// A boolean.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The elements of an array or the fields of a struct.
    pub fn items(&self) -> Option<&[Self]> {
        match self {
            Self::Array(items) | Self::Struct(items) => Some(items),
            _ => None,
        }
    }

    /// The texts of an array of strings or of paths.
    pub fn texts(&self) -> Option<Vec<&str>> {
        self.items()?.iter().map(Self::as_str).collect()
    }

    /// Without the variants around it.
    #[must_use]
    pub fn unwrapped(self) -> Self {
        let mut value = self;
        while let Self::Variant(variant) = value {
            value = variant.value;
        }
        value
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Byte(number) => number.fmt(f),
            Self::Bool(value) => f.write_str(if *value { "yes" } else { "no" }),
            Self::I16(number) => number.fmt(f),
            Self::U16(number) => number.fmt(f),
            Self::I32(number) => number.fmt(f),
            Self::U32(number) | Self::Handle(number) => number.fmt(f),
            Self::I64(number) => number.fmt(f),
            Self::U64(number) => number.fmt(f),
            Self::F64(number) => number.fmt(f),
            Self::Text(text) | Self::Path(text) | Self::Signature(text) => f.write_str(text),
            Self::Bytes(bytes) => bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
            Self::Array(items) => joined(f, items, " "),
            Self::Struct(fields) => {
                f.write_str("{ ")?;
                joined(f, fields, " ; ")?;
                f.write_str(" }")
            }
            Self::Dict(pairs) => {
                for (at, (key, value)) in pairs.iter().enumerate() {
                    let space = if at == 0 { "" } else { " " };
                    write!(f, "{space}{key}={value}")?;
                }
                Ok(())
            }
            Self::Variant(variant) => variant.value.fmt(f),
        }
    }
}

fn joined(f: &mut fmt::Formatter<'_>, items: &[Value], separator: &str) -> fmt::Result {
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            f.write_str(separator)?;
        }
        match item {
            Value::Text(text) => f.write_str(&quoted(text))?,
            other => write!(f, "{other}")?,
        }
    }
    Ok(())
}

/// As systemd quotes an element of a list: only where a shell would need it.
pub(crate) fn quoted(text: &str) -> String {
    let plain = |c: char| !c.is_control() && !" \"\\`$*?['()<>|&;!".contains(c);
    if text.chars().all(plain) {
        return text.to_owned();
    }
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' | '`' | '$' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            c if c.is_ascii_control() => {
                quoted.extend(format!("\\{:03o}", u32::from(c)).chars());
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_look_as_systemctl_shows_them() {
        let list = Value::Array(vec!["a".into(), "b c".into(), "$d".into()]);
        for (value, text) in [
            (Value::Bool(true), "yes"),
            (Value::Bool(false), "no"),
            (Value::I32(-1), "-1"),
            (Value::Bytes(vec![0, 0xab]), "00ab"),
            (list, r#"a "b c" "\$d""#),
            (Value::Array(vec![]), ""),
            (Value::Struct(vec![Value::U32(7), "x".into()]), "{ 7 ; x }"),
            (Value::Dict(vec![("k".into(), Value::Byte(1))]), "k=1"),
        ] {
            assert_eq!(value.to_string(), text);
        }
    }

    #[test]
    fn numbers_convert_where_they_fit() {
        assert_eq!(Value::I32(3).as_u64(), Some(3));
        assert_eq!(Value::I32(-3).as_u64(), None);
        assert_eq!(Value::U64(u64::MAX).as_i64(), None);
        assert_eq!(Value::U64(u64::MAX).as_u64(), Some(u64::MAX));
        assert_eq!(Value::Byte(3).as_i64(), Some(3));
        assert_eq!(Value::from("3").as_u64(), None);
        assert_eq!(Value::from("3").as_i64(), None);
    }
}

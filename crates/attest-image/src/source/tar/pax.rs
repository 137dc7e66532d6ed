//! Extended headers of POSIX archives: lines of `LENGTH KEY=VALUE`, where a value may have any
//! bytes, ends of lines too (pax(1), "pax Extended Header").

use crate::tree::Time;

/// Records in the order in which they came; the last of a key counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Records(pub(super) Vec<(Vec<u8>, Vec<u8>)>);

impl Records {
    /// Read an extended header.
    pub(super) fn read(mut bytes: &[u8]) -> Result<Self, &'static str> {
        const DAMAGED: &str = "an extended header is damaged";
        let mut records = Vec::new();
        while !bytes.is_empty() {
            let space = bytes.iter().position(|byte| *byte == b' ').ok_or(DAMAGED)?;
            let length: usize = number(&bytes[..space]).ok_or(DAMAGED)?;
            let record = bytes.get(space + 1..length).ok_or(DAMAGED)?;
            let record = record.strip_suffix(b"\n").ok_or(DAMAGED)?;
            let equals = record
                .iter()
                .position(|byte| *byte == b'=')
                .ok_or(DAMAGED)?;
            records.push((record[..equals].to_vec(), record[equals + 1..].to_vec()));
            bytes = &bytes[length..];
        }
        Ok(Self(records))
    }

    /// These, then those of another header.
    pub(super) fn then(&self, other: Self) -> Self {
        Self(self.0.iter().cloned().chain(other.0).collect())
    }

    pub(super) fn get(&self, key: &str) -> Option<&[u8]> {
        let mut found = self
            .0
            .iter()
            .rev()
            .filter(|(name, _)| name == key.as_bytes());
        // An empty value takes back what an earlier header said.
        found
            .next()
            .map(|(_, value)| &**value)
            .filter(|value| !value.is_empty())
    }

    /// A number, if there is one, and whether it is one.
    pub(super) fn number(&self, key: &str) -> Result<Option<u64>, &'static str> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        number(value)
            .map(Some)
            .ok_or("a number of its extended header is none")
    }

    /// The values of all keys that begin so, by the rest of the key.
    pub(super) fn beginning<'a>(
        &'a self,
        prefix: &'a [u8],
    ) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let named = self.0.iter().filter_map(move |(key, value)| {
            let rest = key.strip_prefix(prefix)?;
            Some((rest, &**value))
        });
        named.filter(|(rest, _)| !rest.is_empty())
    }

    /// The time of modification, if one is given.
    pub(super) fn modified(&self) -> Result<Option<Time>, &'static str> {
        let Some(value) = self.get("mtime") else {
            return Ok(None);
        };
        let time = std::str::from_utf8(value).ok().and_then(time);
        time.map(Some)
            .ok_or("the time of its extended header is none")
    }
}

/// A number of decimal digits alone.
pub(super) fn number<T: std::str::FromStr>(digits: &[u8]) -> Option<T> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// `-?SECONDS[.FRACTION]`, of which nine digits count.
fn time(text: &str) -> Option<Time> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nanoseconds: u32 = format!("{fraction:0<9.9}").parse().ok()?;
    let time = Time {
        seconds,
        nanoseconds,
    };
    if !text.starts_with('-') || nanoseconds == 0 {
        return Some(time);
    }
    // A fraction of a negative number leads on backwards.
    Some(Time {
        seconds: seconds.checked_sub(1)?,
        nanoseconds: 1_000_000_000 - nanoseconds,
    })
}

#[cfg(test)]
pub(in crate::source) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A record as it is written: its length counts its own digits.
    pub(in crate::source) fn record(key: &str, value: &[u8]) -> Vec<u8> {
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while rest + length.to_string().len() != length {
            length += 1;
        }
        [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
    }

    proptest! {
        #[test]
        fn any_value_comes_back(records in prop::collection::vec(("[a-z.]{1,20}", prop::collection::vec(any::<u8>(), 0..200)), 0..5)) {
            let bytes: Vec<u8> = records.iter().flat_map(|(key, value)| record(key, value)).collect();
            let back = Records::read(&bytes).unwrap();
            let records: Vec<_> = records.into_iter().map(|(key, value)| (key.into_bytes(), value)).collect();
            prop_assert_eq!(back.0, records);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(prop_oneof![Just(b'9'), Just(b' '), Just(b'='), Just(b'\n'), any::<u8>()], 0..60)) {
            let _ = Records::read(&bytes);
        }
    }

    #[test]
    fn what_is_damaged_is_told() {
        for damaged in [
            "x", "5 a=", "99 a=b\n", "5 a=b", "2 \n", "+6 a=b\n", "0 a=b\n", "6 abc\n",
        ] {
            assert!(Records::read(damaged.as_bytes()).is_err(), "{damaged:?}");
        }
    }

    #[test]
    fn the_last_of_a_key_counts_and_nothing_takes_it_back() {
        let bytes = [
            record("path", b"a"),
            record("path", b"b"),
            record("size", b""),
        ]
        .concat();
        let records = Records::read(&bytes).unwrap();
        assert_eq!(records.get("path"), Some(&b"b"[..]));
        assert_eq!(records.number("size"), Ok(None));
        assert!(
            Records::read(&record("size", b"-1"))
                .unwrap()
                .number("size")
                .is_err()
        );
    }

    #[test]
    fn times_have_fractions_on_both_sides_of_1970() {
        let of = |text| time(text).map(|time| (time.seconds, time.nanoseconds));
        assert_eq!(of("12"), Some((12, 0)));
        assert_eq!(of("12.5"), Some((12, 500_000_000)));
        assert_eq!(of("12.1234567899"), Some((12, 123_456_789)));
        assert_eq!(of("-1.25"), Some((-2, 750_000_000)));
        assert_eq!(of("-0.5"), Some((-1, 500_000_000)));
        assert_eq!(of("1.x"), None);
        assert_eq!(of(""), None);
    }
}

//! Values with a text form: sizes, times, addresses of cards, modes.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Text that is not what it should be, with what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no {what}; write {example}")]
pub struct ValueError {
    text: String,
    what: &'static str,
    example: &'static str,
}

macro_rules! text_value {
    ($name:ident, $pattern:literal, $description:literal) => {
        impl TryFrom<String> for $name {
            type Error = ValueError;

            fn try_from(text: String) -> Result<Self, ValueError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern, "description": $description })
            }
        }
    };
}

/// An amount of memory or disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Size(pub u64);

text_value!(Size, "^[0-9]+ ?([KMGT](i?B)?)?$", "Bytes; K, M, G and T are powers of 1024: `256M`");

const UNITS: [(char, u64); 4] = [('T', 1 << 40), ('G', 1 << 30), ('M', 1 << 20), ('K', 1 << 10)];

impl FromStr for Size {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let error = || ValueError { text: text.to_owned(), what: "size", example: "a number and K, M, G or T, as 256M" };
        let bare = text.trim_end_matches('B').trim_end_matches('i');
        let unit = bare.chars().next_back().ok_or_else(error)?;
        let factor = UNITS.iter().find(|(letter, _)| *letter == unit);
        let number = if factor.is_some() { &bare[..bare.len() - 1] } else { bare };
        let number: u64 = number.trim().parse().map_err(|_| error())?;
        number.checked_mul(factor.map_or(1, |(_, factor)| *factor)).map(Self).ok_or_else(error)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS.iter().find(|(_, factor)| self.0 >= *factor && self.0 % factor == 0);
        match unit {
            Some((letter, factor)) => write!(f, "{}{letter}", self.0 / factor),
            None => write!(f, "{}", self.0),
        }
    }
}

/// A length of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Time(pub Duration);

text_value!(Time, "^[0-9]+ ?(ms|s|m|h)$", "A number and `ms`, `s`, `m` or `h`: `30s`");

impl FromStr for Time {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let error = || ValueError { text: text.to_owned(), what: "time", example: "a number and ms, s, m or h, as 30s" };
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = text[..digits].parse().map_err(|_| error())?;
        let factor: u64 = match text[digits..].trim_start() {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(error()),
        };
        number.checked_mul(factor).map(|ms| Self(Duration::from_millis(ms))).ok_or_else(error)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.0.as_millis())
    }
}

impl From<Duration> for Time {
    fn from(duration: Duration) -> Self {
        Self(duration)
    }
}

/// The address of a network card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac(pub [u8; 6]);

text_value!(Mac, "^([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}$", "Six pairs of hexadecimal digits: `02:00:00:00:00:01`");

impl FromStr for Mac {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let error = || ValueError { text: text.to_owned(), what: "MAC address", example: "six pairs, as 02:00:00:00:00:01" };
        let mut bytes = [0; 6];
        let mut pairs = text.split(':');
        for byte in &mut bytes {
            let pair = pairs.next().filter(|pair| pair.len() == 2).ok_or_else(error)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| error())?;
        }
        if pairs.next().is_some() { Err(error()) } else { Ok(Self(bytes)) }
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// Permissions of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mode(pub u32);

text_value!(Mode, "^[0-7]{3,4}$", "Three or four octal digits: `0644`");

impl FromStr for Mode {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let mode = u32::from_str_radix(text, 8).ok().filter(|_| (3..=4).contains(&text.len()));
        let error = || ValueError { text: text.to_owned(), what: "mode", example: "octal digits, as 0644" };
        mode.map(Self).ok_or_else(error)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

/// How a machine runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Backend {
    /// A virtual machine under QEMU.
    #[default]
    Qemu,
}

impl Backend {
    /// As in the manifest.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Qemu => "qemu",
        }
    }
}

/// QEMU's board.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MachineType {
    /// Small and fast to boot.
    #[default]
    Microvm,
    /// A PC with PCI Express.
    Q35,
}

/// What executes the guest's instructions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Accelerator {
    /// KVM where it works, else TCG.
    #[default]
    Auto,
    /// The host's processor.
    Kvm,
    /// QEMU's translator.
    Tcg,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_and_times_are_read() {
        let size = |text: &str| text.parse::<Size>().map(|size| size.0);
        assert_eq!(size("256M"), Ok(256 << 20));
        assert_eq!(size("1GiB"), Ok(1 << 30));
        assert_eq!(size("512"), Ok(512));
        assert!(size("").is_err() && size("M").is_err() && size("1.5G").is_err() && size("99999999T").is_err());
        let time = |text: &str| text.parse::<Time>().map(|time| time.0);
        assert_eq!(time("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(time("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(time("5").unwrap_err().to_string(), "`5` is no time; write a number and ms, s, m or h, as 30s");
    }

    proptest! {
        #[test]
        fn values_come_back_from_their_text(size: u64, time in 0_u64..1 << 50, mac: [u8; 6], mode in 0_u32..0o10000) {
            prop_assert_eq!(Size(size).to_string().parse(), Ok(Size(size)));
            let time = Time(Duration::from_millis(time));
            prop_assert_eq!(time.to_string().parse(), Ok(time));
            prop_assert_eq!(Mac(mac).to_string().parse(), Ok(Mac(mac)));
            prop_assert_eq!(Mode(mode).to_string().parse(), Ok(Mode(mode)));
        }
    }
}

//! Sizes and durations, written as text with a unit.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

const KIB: u64 = 1024;

/// A size in bytes, written as `"64M"`, `"1G"` or `"512K"`. The units are binary, as in QEMU:
/// `K`, `M`, `G` and `T` (also `KiB`, `MiB`, …) are 1024, 1024², 1024³ and 1024⁴ bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(u64);

impl Size {
    /// A size of this many bytes.
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// A size of this many MiB (1024² bytes).
    pub const fn from_mib(mib: u64) -> Self {
        Self(mib.saturating_mul(KIB * KIB))
    }

    /// The bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

/// A text that is no [`Size`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a size")]
pub struct SizeError(String);

impl FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let error = || SizeError(text.to_owned());
        let digits = text
            .find(|each: char| !each.is_ascii_digit())
            .ok_or_else(error)?;
        let (number, unit) = text.split_at(digits);
        let factor = match unit.trim_start() {
            "K" | "KiB" => KIB,
            "M" | "MiB" => KIB.pow(2),
            "G" | "GiB" => KIB.pow(3),
            "T" | "TiB" => KIB.pow(4),
            _ => return Err(error()),
        };
        let number: u64 = number.parse().map_err(|_| error())?;
        number.checked_mul(factor).map(Self).ok_or_else(error)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [
            ("T", KIB.pow(4)),
            ("G", KIB.pow(3)),
            ("M", KIB.pow(2)),
            ("K", KIB),
        ];
        match units
            .iter()
            .find(|(_, factor)| self.0 != 0 && self.0.is_multiple_of(*factor))
        {
            Some((unit, factor)) => write!(formatter, "{}{unit}", self.0 / factor),
            // Only sizes made in code have bytes that are no multiple of 1 KiB.
            None => write!(formatter, "{}K", self.0.div_ceil(KIB)),
        }
    }
}

/// A length of time, written as `"500ms"`, `"10s"`, `"2m"`, `"1h"` or a sum: `"1m 30s"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeSpan(Duration);

impl TimeSpan {
    /// As the standard library's type.
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl From<Duration> for TimeSpan {
    fn from(duration: Duration) -> Self {
        Self(duration)
    }
}

impl From<TimeSpan> for Duration {
    fn from(span: TimeSpan) -> Self {
        span.0
    }
}

/// A text that is no [`TimeSpan`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a length of time")]
pub struct TimeSpanError(String);

impl FromStr for TimeSpan {
    type Err = TimeSpanError;

    fn from_str(text: &str) -> Result<Self, TimeSpanError> {
        let bare_number = text.bytes().all(|byte| byte.is_ascii_digit());
        let parsed = humantime::parse_duration(text)
            .ok()
            .filter(|_| !bare_number);
        parsed
            .map(Self)
            .ok_or_else(|| TimeSpanError(text.to_owned()))
    }
}

impl fmt::Display for TimeSpan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(formatter)
    }
}

/// Serde and schema of a type that is written as text.
macro_rules! as_text {
    ($type:ident, $name:literal, $expecting:literal, $pattern:literal, $examples:expr, $description:literal) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl Visitor<'_> for Text {
                    type Value = $type;

                    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                        formatter.write_str($expecting)
                    }

                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$type, E> {
                        text.parse().map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
                    }
                }
                deserializer.deserialize_str(Text)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "type": "string",
                    "pattern": $pattern,
                    "examples": $examples,
                    "description": $description,
                })
            }
        }
    };
}

as_text!(
    Size,
    "Size",
    "a size with its unit, as \"256M\" or \"1G\"",
    "^[0-9]+ *([KMGT]|[KMGT]iB)$",
    ["256M", "1G"],
    "A size in bytes with a binary unit: K, M, G or T (1024, 1024², 1024³, 1024⁴ bytes)."
);
as_text!(
    TimeSpan,
    "TimeSpan",
    "a length of time with its unit, as \"500ms\", \"10s\", \"2m\" or \"1h\"",
    "^([0-9]+ *[a-z]+ *)+$",
    ["500ms", "10s", "2m", "1h"],
    "A length of time with its unit: ms, s, m or h; sums as \"1m 30s\" too."
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_binary() {
        assert_eq!("256M".parse(), Ok(Size::from_mib(256)));
        assert_eq!("1 GiB".parse(), Ok(Size::from_mib(1024)));
        assert_eq!(Size::from_mib(1536).to_string(), "1536M");
        assert_eq!(Size::from_bytes(0).to_string(), "0K");
        for wrong in [
            "",
            "M",
            "256",
            "256m",
            "1.5G",
            "-1M",
            "99999999999T",
            "1 000M",
        ] {
            assert!(wrong.parse::<Size>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn time_needs_its_unit() {
        assert_eq!("1m 30s".parse(), Ok(TimeSpan(Duration::from_secs(90))));
        assert_eq!(TimeSpan(Duration::from_millis(500)).to_string(), "500ms");
        for wrong in ["", "10", "0", "s", "-1s", "ten seconds"] {
            assert!(wrong.parse::<TimeSpan>().is_err(), "{wrong}");
        }
    }
}

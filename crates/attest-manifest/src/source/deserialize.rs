//! From located values to the types of the manifest, with every misfit, not only the first.

use std::fmt::{self, Display};

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, Expected, IntoDeserializer, MapAccess,
    SeqAccess, Unexpected, Visitor,
};

use super::node::{Entry, Node, Value};
use crate::problem::{Part, Place, Problem, Problems, SHOWN, Segment, did_you_mean, nearest};

/// The value, without whatever does not fit; the misfits; and the places that were left out.
pub(crate) fn deserialize<T: DeserializeOwned + Default>(
    node: &mut Node,
) -> (T, Problems, Vec<Place>) {
    let mut problems = Problems::default();
    let mut pruned = Vec::new();
    loop {
        let misfit = match T::deserialize(&*node) {
            Ok(value) => return (value, problems, pruned),
            Err(misfit) => misfit,
        };
        let place = misfit.place();
        problems.push(misfit.problem());
        let hopeless = place.0.is_empty() || pruned.len() >= SHOWN;
        pruned.push(place.clone());
        if hopeless {
            return (T::default(), problems, pruned);
        }
        node.prune(&place);
    }
}

/// A value that does not fit its type.
#[derive(Debug)]
pub(crate) struct Misfit {
    kind: Kind,
    part: Part,
    /// From the inside out.
    path: Vec<Segment>,
}

#[derive(Debug)]
enum Kind {
    UnknownKey(String, &'static [&'static str]),
    UnknownVariant(String, &'static [&'static str]),
    MissingKey(&'static str),
    Type { found: String, expected: String },
    Other(String),
}

impl Misfit {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            part: Part::Value,
            path: Vec::new(),
        }
    }

    fn below(mut self, segment: Segment) -> Self {
        self.path.push(segment);
        self
    }

    fn place(&self) -> Place {
        Place(self.path.iter().rev().cloned().collect())
    }

    fn problem(self) -> Problem {
        let place = self.place();
        let mut parent = place.clone();
        parent.0.pop();
        let within = if parent.0.is_empty() {
            "the manifest".to_owned()
        } else {
            format!("`{parent}`")
        };
        let (message, label, help) = match self.kind {
            Kind::UnknownKey(key, known) => {
                let help = moved_key(&place, &key)
                    .or_else(|| did_you_mean(&key, "the keys here are", known.iter().copied()));
                (
                    format!("{within} has no key `{key}`"),
                    "unknown key".to_owned(),
                    help,
                )
            }
            Kind::UnknownVariant(word, known) => {
                let all: Vec<String> = known.iter().map(|word| format!("\"{word}\"")).collect();
                let help = nearest(&word, known.iter().copied())
                    .map(|near| format!("did you mean \"{near}\"?"));
                (
                    format!("`{word}` is none of the values of `{place}`"),
                    format!("expected {}", all.join(" or ")),
                    help,
                )
            }
            Kind::MissingKey(key) => (
                format!("`{key}` is missing in `{place}`"),
                format!("needs `{key}`"),
                Some(format!("add `{key} = …`")),
            ),
            Kind::Type { found, expected } => {
                let what = if place.0.is_empty() {
                    "the manifest".to_owned()
                } else {
                    format!("`{place}`")
                };
                (
                    format!("{what} cannot be {found}"),
                    format!("expected {expected}"),
                    None,
                )
            }
            Kind::Other(message) => (message, String::new(), None),
        };
        Problem {
            place,
            part: self.part,
            message,
            label,
            help,
            related: None,
        }
    }
}

/// Keys that people know from elsewhere, or that stand one level too high or low.
fn moved_key(place: &Place, key: &str) -> Option<String> {
    let section = match place.0.first() {
        Some(Segment::Key(section)) if place.0.len() > 1 => section.as_str(),
        _ => "",
    };
    let text = match (section, key) {
        ("machines" | "defaults", "cpus" | "cores" | "smp" | "cpu") => "did you mean `vcpus`?",
        ("machines" | "defaults" | "tests", "env") => "did you mean `environment`?",
        ("machines" | "defaults", "ram" | "mem") => "did you mean `memory`?",
        ("machines", "network" | "nics") => "did you mean `networks`?",
        ("machines", "ip" | "address" | "mac") => {
            "it belongs to a network: `networks = [{ network = \"lan\", address = \"192.168.1.10\" }]`"
        }
        ("tests", "cmd" | "command" | "shell" | "exec") => "did you mean `run`?",
        ("tests", "cwd" | "dir" | "workdir") => "did you mean `directory`?",
        ("tests", "machine" | "node" | "host") => "did you mean `on`?",
        _ => return None,
    };
    Some(text.to_owned())
}

fn found(unexpected: Unexpected<'_>) -> String {
    match unexpected {
        Unexpected::Bool(value) => format!("`{value}`"),
        Unexpected::Signed(number) => format!("the number {number}"),
        Unexpected::Unsigned(number) => format!("the number {number}"),
        Unexpected::Float(_) => "a number with a fraction, or too large".to_owned(),
        Unexpected::Str(text) => {
            let short: String = text.chars().take(60).collect();
            let more = if short.len() < text.len() { "…" } else { "" };
            format!("the text \"{short}{more}\"")
        }
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "a table".to_owned(),
        Unexpected::Unit => "null".to_owned(),
        other => other.to_string(),
    }
}

/// serde's words for a type, in those of the manifest.
fn expected(expected: &dyn Expected) -> String {
    let text = expected.to_string();
    match text.as_str() {
        "a string" | "string or map" | "variant identifier" => "a text".to_owned(),
        "path string" => "a path".to_owned(),
        "a boolean" => "`true` or `false`".to_owned(),
        "a sequence" => "a list, `[…]`".to_owned(),
        "a map" => "a table".to_owned(),
        "u16" => "a whole number from 0 to 65535".to_owned(),
        "u32" | "i64" => "a whole number".to_owned(),
        _ if text.starts_with("struct ") => "a table".to_owned(),
        _ if text.starts_with("enum ") => "a text".to_owned(),
        _ => text,
    }
}

impl Display for Misfit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", self.kind)
    }
}

impl std::error::Error for Misfit {}

impl de::Error for Misfit {
    fn custom<T: Display>(message: T) -> Self {
        Self::new(Kind::Other(message.to_string()))
    }

    fn invalid_type(unexpected: Unexpected<'_>, exp: &dyn Expected) -> Self {
        Self::new(Kind::Type {
            found: found(unexpected),
            expected: expected(exp),
        })
    }

    fn invalid_value(unexpected: Unexpected<'_>, exp: &dyn Expected) -> Self {
        Self::invalid_type(unexpected, exp)
    }

    fn unknown_variant(variant: &str, known: &'static [&'static str]) -> Self {
        Self::new(Kind::UnknownVariant(
            variant.chars().take(80).collect(),
            known,
        ))
    }

    fn unknown_field(field: &str, known: &'static [&'static str]) -> Self {
        Self::new(Kind::UnknownKey(field.chars().take(80).collect(), known))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(Kind::MissingKey(field))
    }
}

impl<'de> Deserializer<'de> for &'de Node {
    type Error = Misfit;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match &self.value {
            Value::Null | Value::Pruned => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Integer(number) => match (i64::try_from(*number), u64::try_from(*number)) {
                (Ok(number), _) => visitor.visit_i64(number),
                (_, Ok(number)) => visitor.visit_u64(number),
                _ => Err(de::Error::invalid_type(
                    Unexpected::Float(f64::INFINITY),
                    &visitor,
                )),
            },
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Text(text) => visitor.visit_borrowed_str(text),
            Value::Datetime => Err(de::Error::invalid_type(
                Unexpected::Other("a date or time"),
                &visitor,
            )),
            Value::Array(nodes) => visitor.visit_seq(Elements {
                nodes: nodes.iter().enumerate(),
            }),
            Value::Table(table) => visitor.visit_map(Entries {
                entries: table.iter(),
                value: None,
            }),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.value {
            Value::Null | Value::Pruned => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        match &self.value {
            Value::Text(text) => {
                let text: StrDeserializer<'de, Misfit> = text.as_str().into_deserializer();
                visitor.visit_enum(text)
            }
            // No visitor of an enum takes anything else: this makes the error.
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        // serde would take a list for a struct: its fields without their names.
        match self.value {
            Value::Array(_) => Err(de::Error::invalid_type(Unexpected::Seq, &visitor)),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        visitor.visit_newtype_struct(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

struct Elements<'de> {
    nodes: std::iter::Enumerate<std::slice::Iter<'de, Node>>,
}

impl<'de> SeqAccess<'de> for Elements<'de> {
    type Error = Misfit;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Misfit> {
        let Some((index, node)) = self.nodes.find(|(_, node)| !node.is_pruned()) else {
            return Ok(None);
        };
        seed.deserialize(node)
            .map(Some)
            .map_err(|misfit| misfit.below(Segment::Index(index)))
    }
}

struct Entries<'de> {
    entries: indexmap::map::Iter<'de, String, Entry>,
    value: Option<(&'de String, &'de Entry)>,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = Misfit;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Misfit> {
        let Some((key, entry)) = self.entries.find(|(_, entry)| !entry.node.is_pruned()) else {
            return Ok(None);
        };
        self.value = Some((key, entry));
        let deserializer: StrDeserializer<'de, Misfit> = key.as_str().into_deserializer();
        let wrong = |misfit: Misfit| Misfit {
            part: Part::Key,
            ..misfit.below(Segment::Key(key.clone()))
        };
        seed.deserialize(deserializer).map(Some).map_err(wrong)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Misfit> {
        let (key, entry) = self
            .value
            .take()
            .expect("serde asks for a value only after its key");
        seed.deserialize(&entry.node)
            .map_err(|misfit| misfit.below(Segment::Key(key.clone())))
    }
}

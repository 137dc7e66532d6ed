//! JSON, by serde_json: its raw values are slices of the text, so their addresses are positions.

use std::fmt;
use std::ops::Range;

use indexmap::IndexMap;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::SyntaxError;
use super::node::{Entry, Node, Value};

/// Deeper than any manifest; each level is scanned once more.
const DEPTH: usize = 16;

pub(super) fn parse(text: &str) -> Result<Node, Vec<SyntaxError>> {
    let raw: &RawValue =
        serde_json::from_str(text).map_err(|error| vec![syntax_error(text, &error)])?;
    let mut reader = Reader {
        text,
        errors: Vec::new(),
    };
    let node = reader.node(raw, DEPTH);
    if reader.errors.is_empty() {
        Ok(node)
    } else {
        Err(reader.errors)
    }
}

struct Reader<'a> {
    text: &'a str,
    errors: Vec<SyntaxError>,
}

impl<'a> Reader<'a> {
    fn span(&self, raw: &'a RawValue) -> Range<usize> {
        let start = raw.get().as_ptr().addr() - self.text.as_ptr().addr();
        start..start + raw.get().len()
    }

    fn node(&mut self, raw: &'a RawValue, depth: usize) -> Node {
        let span = self.span(raw);
        let text = raw.get();
        let value = match text.as_bytes().first() {
            Some(b'{' | b'[') if depth == 0 => {
                self.error(
                    span.start..span.start + 1,
                    "this is nested too deeply",
                    "one level too many",
                );
                Value::Null
            }
            Some(b'{') => self.table(raw, depth - 1),
            Some(b'[') => match parsed::<Vec<&'a RawValue>>(text) {
                Ok(elements) => Value::Array(
                    elements
                        .into_iter()
                        .map(|each| self.node(each, depth - 1))
                        .collect(),
                ),
                Err(error) => self.inner_error(&span, &error),
            },
            Some(b'"') => match parsed::<String>(text) {
                Ok(text) => Value::Text(text),
                Err(error) => self.inner_error(&span, &error),
            },
            Some(b't') => Value::Bool(true),
            Some(b'f') => Value::Bool(false),
            Some(b'n') => Value::Null,
            _ => text.parse().map_or_else(
                |_| Value::Float(text.parse().unwrap_or(f64::INFINITY)),
                Value::Integer,
            ),
        };
        Node { span, value }
    }

    fn table(&mut self, raw: &'a RawValue, depth: usize) -> Value {
        let pairs = match parsed::<Pairs<'a>>(raw.get()) {
            Ok(Pairs(pairs)) => pairs,
            Err(error) => return self.inner_error(&self.span(raw), &error),
        };
        let mut table: IndexMap<String, Entry> = IndexMap::with_capacity(pairs.len());
        for (raw_key, raw_value) in pairs {
            let key = self.span(raw_key);
            let name = match parsed::<String>(raw_key.get()) {
                Ok(name) => name,
                Err(error) => {
                    self.inner_error(&key, &error);
                    continue;
                }
            };
            if let Some(first) = table.get(&name) {
                let error = SyntaxError::duplicate(&name, key, Some(first.key.clone()));
                self.push(error);
                continue;
            }
            let node = self.node(raw_value, depth);
            table.insert(name, Entry { key, node });
        }
        Value::Table(table)
    }

    /// What the first scan let through, as a lone surrogate in a string.
    fn inner_error(&mut self, span: &Range<usize>, error: &serde_json::Error) -> Value {
        let inner = syntax_error(&self.text[span.clone()], error);
        let place = span.start + inner.span.start..span.start + inner.span.end;
        self.push(SyntaxError {
            span: place,
            ..inner
        });
        Value::Null
    }

    fn error(&mut self, span: Range<usize>, message: &str, label: &str) {
        let (message, label) = (message.to_owned(), label.to_owned());
        self.push(SyntaxError {
            span,
            message,
            label,
            help: None,
            first: None,
        });
    }

    fn push(&mut self, error: SyntaxError) {
        if self.errors.len() <= crate::problem::SHOWN {
            self.errors.push(error);
        }
    }
}

fn parsed<'a, T: Deserialize<'a>>(text: &'a str) -> serde_json::Result<T> {
    serde_json::from_str(text)
}

fn syntax_error(text: &str, error: &serde_json::Error) -> SyntaxError {
    let line_start = match error.line() {
        0 | 1 => 0,
        line => text
            .match_indices('\n')
            .nth(line - 2)
            .map_or(0, |(index, _)| index + 1),
    };
    // Columns count bytes from 1, and 0 stands before the first.
    let mut start = (line_start + error.column().saturating_sub(1)).min(text.len());
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    let end = start + text[start..].chars().next().map_or(0, char::len_utf8);
    let full = error.to_string();
    let message = full.split(" at line ").next().unwrap_or_default();
    let after_comma =
        text[..start].trim_end().ends_with(',') && text[start..].starts_with(['}', ']']);
    SyntaxError {
        span: start..end,
        message: format!("this is no JSON: {message}"),
        label: "here".to_owned(),
        help: after_comma
            .then(|| "remove the comma before it: JSON has none after the last element".to_owned()),
        first: None,
    }
}

/// The pairs of an object, doubles too: serde_json's own map keeps the last silently.
struct Pairs<'a>(Vec<(&'a RawValue, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Vec<(&'de RawValue, &'de RawValue)>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(pairs)
            }
        }
        deserializer.deserialize_map(Object).map(Pairs)
    }
}

//! Where everything stands in the text: one tree of spans for TOML and for JSON.

use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use toml::de::{DeTable, DeValue};

/// Where a value stands, and what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) span: Range<usize>,
    children: Vec<(String, Range<usize>, Node)>,
}

/// A key that occurs twice in one JSON object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Duplicate {
    pub(crate) key: String,
    pub(crate) first: Range<usize>,
    pub(crate) second: Range<usize>,
}

impl Node {
    /// The span of the value at a path; of its key where `key` is set. The deepest part of the
    /// path that is there, when not all of it is.
    pub(crate) fn locate(&self, path: &[String], key: bool) -> Range<usize> {
        let mut node = self;
        let mut span = if path.is_empty() { self.span.clone() } else { 0..0 };
        for (depth, part) in path.iter().enumerate() {
            let Some((_, key_span, child)) = node.children.iter().find(|(name, ..)| name == part) else { break };
            let last = depth + 1 == path.len();
            span = if last && !key { child.span.clone() } else { key_span.clone() };
            node = child;
        }
        span
    }

    pub(crate) fn of_toml(text: &str) -> Result<Self, toml::de::Error> {
        let table = DeTable::parse(text)?;
        Ok(Self { span: table.span(), children: toml_table(table.get_ref()) })
    }

    /// `None` when it is no JSON.
    pub(crate) fn of_json(text: &str) -> Option<(Self, Vec<Duplicate>)> {
        let raw: &RawValue = serde_json::from_str(text).ok()?;
        let mut duplicates = Vec::new();
        let node = json(text, raw.get(), &mut duplicates);
        Some((node, duplicates))
    }
}

fn toml_table(table: &DeTable<'_>) -> Vec<(String, Range<usize>, Node)> {
    let entries = table.iter();
    entries.map(|(key, value)| (key.get_ref().to_string(), key.span(), toml_value(value.span(), value.get_ref()))).collect()
}

fn toml_value(span: Range<usize>, value: &DeValue<'_>) -> Node {
    let children = match value {
        DeValue::Table(table) => toml_table(table),
        DeValue::Array(values) => {
            let values = values.iter().enumerate();
            values.map(|(at, value)| (at.to_string(), value.span(), toml_value(value.span(), value.get_ref()))).collect()
        }
        _ => Vec::new(),
    };
    Node { span, children }
}

/// Keys and values of an object in their order, duplicates too.
struct Entries<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Entries<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(All)
    }
}

/// `part` is a slice of `text`.
fn span_in(text: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr() as usize - text.as_ptr() as usize;
    start..start + part.len()
}

fn json(text: &str, part: &str, duplicates: &mut Vec<Duplicate>) -> Node {
    let span = span_in(text, part);
    let mut children: Vec<(String, Range<usize>, Node)> = Vec::new();
    if part.starts_with('{') {
        let mut seen = std::collections::HashMap::new();
        for (key, value) in serde_json::from_str::<Entries<'_>>(part).map(|entries| entries.0).unwrap_or_default() {
            let node = json(text, value.get(), duplicates);
            let key_span = key_before(text, node.span.start);
            if let Some(first) = seen.insert(key.clone(), key_span.clone()) {
                duplicates.push(Duplicate { key: key.clone(), first, second: key_span.clone() });
            }
            children.push((key, key_span, node));
        }
    } else if part.starts_with('[') {
        for (at, value) in serde_json::from_str::<Vec<&RawValue>>(part).unwrap_or_default().into_iter().enumerate() {
            let node = json(text, value.get(), duplicates);
            children.push((at.to_string(), node.span.clone(), node));
        }
    }
    Node { span, children }
}

/// The key whose value starts at `value`: between the quotes before the colon.
fn key_before(text: &str, value: usize) -> Range<usize> {
    let head = &text.as_bytes()[..value];
    let Some(colon) = head.iter().rposition(|byte| *byte == b':') else { return value..value };
    let Some(end) = head[..colon].iter().rposition(|byte| *byte == b'"') else { return value..value };
    let mut start = end;
    while start > 0 {
        start -= 1;
        let escapes = head[..start].iter().rev().take_while(|byte| **byte == b'\\').count();
        if head[start] == b'"' && escapes % 2 == 0 {
            break;
        }
    }
    start..end + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(path: &str) -> Vec<String> {
        path.split('.').map(str::to_owned).collect()
    }

    #[test]
    fn toml_and_json_are_located_alike() {
        let toml = "[machines.a]\nmemory = \"1M\"\ndisks = [{ size = \"2M\" }]\n";
        let json = r#"{ "machines": { "a": { "memory" : "1M", "disks": [ { "size": "2M" } ] } } }"#;
        for (text, node) in [(toml, Node::of_toml(toml).unwrap()), (json, Node::of_json(json).unwrap().0)] {
            let shown = |span: Range<usize>| text[span].trim_matches('"').to_owned();
            assert_eq!(shown(node.locate(&path("machines.a.memory"), false)), "1M");
            assert_eq!(shown(node.locate(&path("machines.a.memory"), true)), "memory");
            assert_eq!(shown(node.locate(&path("machines.a.disks.0.size"), false)), "2M");
            assert_eq!(shown(node.locate(&path("machines.a.missing"), false)), "a");
        }
    }

    #[test]
    fn duplicates_of_json_are_found() {
        let text = r#"{ "a\"b": 1, "c": { "x": 1, "x": 2 } }"#;
        let (_, duplicates) = Node::of_json(text).unwrap();
        assert_eq!(duplicates.len(), 1);
        assert_eq!((&text[duplicates[0].first.clone()], duplicates[0].first.start < duplicates[0].second.start), ("\"x\"", true));
    }
}

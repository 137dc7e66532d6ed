//! A value and where it stands.

use std::ops::Range;

use indexmap::IndexMap;

use crate::problem::{Part, Place, Segment};

/// A value and the bytes of the text that it was read from.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) span: Range<usize>,
    pub(crate) value: Value,
}

/// The values that TOML and JSON have.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    /// TOML's dates and times; nothing in a manifest is one.
    Datetime,
    Array(Vec<Node>),
    Table(IndexMap<String, Entry>),
    /// Wrong, reported, and from then on as if it were not there.
    Pruned,
}

/// A key's own bytes and its value.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: Range<usize>,
    pub(crate) node: Node,
}

impl Node {
    pub(crate) fn is_pruned(&self) -> bool {
        matches!(self.value, Value::Pruned)
    }

    /// The bytes of a place, or of the nearest place above it that is in the text.
    pub(crate) fn locate(&self, place: &Place, part: Part) -> Range<usize> {
        let mut node = self;
        let mut key = None;
        for segment in &place.0 {
            match (&node.value, segment) {
                (Value::Table(table), Segment::Key(name)) if table.contains_key(name) => {
                    let entry = &table[name];
                    (node, key) = (&entry.node, Some(&entry.key));
                }
                (Value::Array(array), Segment::Index(index)) if *index < array.len() => {
                    (node, key) = (&array[*index], None);
                }
                _ => return key.cloned().unwrap_or_else(|| node.span.clone()),
            }
        }
        match (part, key) {
            (Part::Key, Some(key)) => key.clone(),
            _ => node.span.clone(),
        }
    }

    /// A place in what was deserialized, as one in the text: elements that were pruned count.
    pub(crate) fn with_pruned(&self, place: &Place) -> Place {
        let mut node = Some(self);
        let mut real = Vec::with_capacity(place.0.len());
        for segment in &place.0 {
            let step = match (node.map(|node| &node.value), segment) {
                (Some(Value::Array(array)), Segment::Index(seen)) => {
                    let visible = array
                        .iter()
                        .enumerate()
                        .filter(|(_, each)| !each.is_pruned())
                        .nth(*seen);
                    Segment::Index(visible.map_or(*seen, |(index, _)| index))
                }
                _ => segment.clone(),
            };
            node = node.and_then(|node| node.child(&step));
            real.push(step);
        }
        Place(real)
    }

    /// Take a place out of the values.
    pub(crate) fn prune(&mut self, place: &Place) {
        let mut node = self;
        for segment in &place.0 {
            let child = match (&mut node.value, segment) {
                (Value::Table(table), Segment::Key(name)) => {
                    table.get_mut(name).map(|entry| &mut entry.node)
                }
                (Value::Array(array), Segment::Index(index)) => array.get_mut(*index),
                _ => None,
            };
            let Some(child) = child else { return };
            node = child;
        }
        node.value = Value::Pruned;
    }

    fn child(&self, segment: &Segment) -> Option<&Self> {
        match (&self.value, segment) {
            (Value::Table(table), Segment::Key(name)) => table.get(name).map(|entry| &entry.node),
            (Value::Array(array), Segment::Index(index)) => array.get(*index),
            _ => None,
        }
    }
}

//! TOML, by the `toml` crate's spanned parser.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::SyntaxError;
use super::node::{Entry, Node, Value};

pub(super) fn parse(text: &str) -> Result<Node, Vec<SyntaxError>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Ok(table_node(table.span(), table.into_inner()));
    }
    let shown = errors.len().min(crate::problem::SHOWN + 1);
    let root = table.get_ref();
    Err(errors[..shown]
        .iter()
        .map(|error| syntax_error(text, root, error))
        .collect())
}

fn node(spanned: Spanned<DeValue<'_>>) -> Node {
    let span = spanned.span();
    let value = match spanned.into_inner() {
        DeValue::String(text) => Value::Text(text.into_owned()),
        // What fits into no i128 fits into no key of a manifest either.
        DeValue::Integer(number) => match i128::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Value::Integer(number),
            Err(_) => Value::Float(f64::INFINITY),
        },
        DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::INFINITY)),
        DeValue::Boolean(value) => Value::Bool(value),
        DeValue::Datetime(_) => Value::Datetime,
        DeValue::Array(array) => Value::Array(array.into_iter().map(node).collect()),
        DeValue::Table(table) => return table_node(span, table),
    };
    Node { span, value }
}

fn table_node(span: Range<usize>, table: DeTable<'_>) -> Node {
    let entries = table.into_iter().map(|(key, value)| {
        let entry = Entry {
            key: key.span(),
            node: node(value),
        };
        (key.into_inner().into_owned(), entry)
    });
    Node {
        span,
        value: Value::Table(entries.collect()),
    }
}

fn syntax_error(text: &str, root: &DeTable<'_>, error: &toml::de::Error) -> SyntaxError {
    let span = error.span().unwrap_or(text.len()..text.len());
    if error.message().starts_with("duplicate key") {
        let first = first_of(text, root, &span);
        return SyntaxError::duplicate(text.get(span.clone()).unwrap_or_default(), span, first);
    }
    let (message, label) = match error.message().split_once(", expected ") {
        Some((message, expected)) => (message, format!("expected {expected}")),
        None => (error.message(), String::new()),
    };
    SyntaxError {
        span,
        message: format!("this is no TOML: {message}"),
        label,
        help: None,
        first: None,
    }
}

/// Where the key stands that a later one repeats: the parser does not say.
fn first_of(text: &str, root: &DeTable<'_>, second: &Range<usize>) -> Option<Range<usize>> {
    let line = text[..second.start].rfind('\n').map_or(0, |end| end + 1);
    let header = text[line..].lines().next().unwrap_or_default();
    if header.trim_start().starts_with('[') {
        // The recovered tables know only the last of equal headers.
        let mut earlier = text[..line]
            .split_inclusive('\n')
            .rev()
            .scan(line, |end, each| {
                *end -= each.len();
                Some((*end, each))
            });
        let (start, first) = earlier.find(|(_, each)| each.trim() == header.trim())?;
        let name = text.get(second.clone())?;
        let start = start + first.rfind(name)?;
        return Some(start..start + name.len());
    }
    let mut keys = Vec::new();
    keys_named(root, text.get(second.clone())?, second.start, &mut keys);
    let section = text[..line]
        .rmatch_indices("\n[")
        .next()
        .map_or(0, |(index, _)| index);
    keys.into_iter()
        .filter(|key| key.start > section || section == 0)
        .max_by_key(|key| key.start)
}

fn keys_named(table: &DeTable<'_>, name: &str, before: usize, found: &mut Vec<Range<usize>>) {
    for (key, value) in table {
        if key.get_ref() == name && key.span().start < before {
            found.push(key.span());
        }
        keys_in(value.get_ref(), name, before, found);
    }
}

fn keys_in(value: &DeValue<'_>, name: &str, before: usize, found: &mut Vec<Range<usize>>) {
    match value {
        DeValue::Table(table) => keys_named(table, name, before, found),
        DeValue::Array(array) => array
            .iter()
            .for_each(|each| keys_in(each.get_ref(), name, before, found)),
        _ => {}
    }
}

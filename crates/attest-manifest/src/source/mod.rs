//! From text to values, remembering where each value stands.

mod deserialize;
mod json;
mod node;
mod toml;

use std::ops::Range;

pub(crate) use deserialize::deserialize;
pub(crate) use node::Node;

/// The languages of manifests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    Toml,
    Json,
}

impl Language {
    /// No TOML document begins with a brace.
    pub(crate) fn of(text: &str) -> Self {
        if text.trim_start().starts_with('{') {
            Self::Json
        } else {
            Self::Toml
        }
    }

    /// All that is wrong with the text as such, or its values. The flag of an error says that
    /// there may be more.
    pub(crate) fn parse(self, text: &str) -> Result<Node, Vec<SyntaxError>> {
        match self {
            Self::Toml => toml::parse(text),
            Self::Json => json::parse(text),
        }
    }
}

/// A text that is not of its language, or gives a key twice.
#[derive(Debug, Clone)]
pub(crate) struct SyntaxError {
    pub(crate) span: Range<usize>,
    pub(crate) message: String,
    pub(crate) label: String,
    pub(crate) help: Option<String>,
    /// The first of two equal keys.
    pub(crate) first: Option<Range<usize>>,
}

impl SyntaxError {
    fn duplicate(key: &str, span: Range<usize>, first: Option<Range<usize>>) -> Self {
        let key: String = key.chars().take(80).collect();
        Self {
            span,
            message: format!("`{key}` is given twice"),
            label: "the second".to_owned(),
            help: Some("rename one of them, or make one of both".to_owned()),
            first,
        }
    }
}

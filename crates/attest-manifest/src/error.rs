//! What is wrong with a manifest, and where in its text.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use crate::problem::{Part, Place, Problem, Problems};
use crate::render;
use crate::source::{Node, SyntaxError};

/// Why a manifest cannot be used. [`ManifestError::render`] shows it as rustc would.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// The file cannot be read.
    #[error("the manifest {} cannot be read", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is not text, or too long.
    #[error("the manifest {} is no text: {reason}", path.display())]
    NoText {
        /// Which file.
        path: PathBuf,
        /// What it is instead.
        reason: String,
    },
    /// The text is wrong.
    #[error("{0}")]
    Invalid(Invalid),
}

impl ManifestError {
    /// For people: every problem with its place in the text, underlined, and what to write
    /// instead. `color` adds terminal escapes.
    pub fn render(&self, color: bool) -> String {
        render::render(self, color)
    }

    /// The problems of an invalid manifest, in the order of the text; empty for other errors.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        match self {
            Self::Invalid(invalid) => &invalid.diagnostics,
            Self::Unreadable { .. } | Self::NoText { .. } => &[],
        }
    }
}

/// A manifest with problems.
#[derive(Debug, Clone)]
pub struct Invalid {
    pub(crate) source: Option<Arc<Source>>,
    pub(crate) diagnostics: Vec<Diagnostic>,
    pub(crate) more: usize,
}

impl Invalid {
    /// Problems beyond [`ManifestError::diagnostics`], of which only the first 20 are kept.
    /// There may be others behind them that show only when these are gone.
    pub fn more(&self) -> usize {
        self.more
    }
}

impl fmt::Display for Invalid {
    /// The first problem with its place, and how many more there are.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(first) = self.diagnostics.first() else {
            return formatter.write_str("the manifest is wrong");
        };
        if let Some(source) = &self.source {
            formatter.write_str(&source.name)?;
            if let Some(position) = first.position {
                write!(formatter, ":{}:{}", position.line, position.column)?;
            }
            formatter.write_str(": ")?;
        } else if !first.path.is_empty() {
            write!(formatter, "{}: ", first.path)?;
        }
        formatter.write_str(&first.message)?;
        match self.diagnostics.len() - 1 + self.more {
            0 => Ok(()),
            1 => formatter.write_str(" (and 1 more problem)"),
            more => write!(formatter, " (and {more} more problems)"),
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// What is wrong, in a line.
    pub message: String,
    /// Where in the values: `machines.server.memory`. Empty for errors of syntax.
    pub path: String,
    /// The offending bytes of the text (without a byte order mark); `None` for a manifest made
    /// in code.
    pub span: Option<Range<usize>>,
    /// Where the span begins.
    pub position: Option<Position>,
    /// To show under the offending text; may be empty.
    pub label: String,
    /// What to write instead.
    pub help: Option<String>,
    /// The other place that takes part, as the first of two equal names.
    pub related: Option<Related>,
}

/// A second place that takes part in a problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Related {
    /// Its bytes; `None` for a manifest made in code.
    pub span: Option<Range<usize>>,
    /// To show under it.
    pub label: String,
}

/// A place in a text, as editors count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// From 1.
    pub line: usize,
    /// Characters from the start of the line, from 1; a tab is one.
    pub column: usize,
}

/// A text and where it came from.
#[derive(Debug)]
pub(crate) struct Source {
    /// As the user named it.
    pub(crate) name: String,
    pub(crate) text: String,
}

impl Source {
    pub(crate) fn position(&self, offset: usize) -> Position {
        let before = &self.text[..self.text.floor_char_boundary(offset.min(self.text.len()))];
        let line_start = before.rfind('\n').map_or(0, |index| index + 1);
        let line = memchr::memchr_iter(b'\n', before.as_bytes()).count() + 1;
        Position {
            line,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

/// Errors of syntax.
pub(crate) fn syntax(source: Arc<Source>, errors: Vec<SyntaxError>) -> ManifestError {
    let mut errors = errors;
    let more = errors.len().saturating_sub(crate::problem::SHOWN);
    errors.truncate(crate::problem::SHOWN);
    let diagnostics = errors.into_iter().map(|error| Diagnostic {
        message: visible(&error.message),
        path: String::new(),
        position: Some(source.position(error.span.start)),
        span: Some(error.span),
        label: visible(&error.label),
        help: error.help,
        related: error.first.map(|span| Related {
            span: Some(span),
            label: "the first".to_owned(),
        }),
    });
    ManifestError::Invalid(Invalid {
        diagnostics: diagnostics.collect(),
        source: Some(source),
        more,
    })
}

/// Problems of values, with their places in the text where there is one.
pub(crate) fn invalid(text: Option<(Arc<Source>, &Node)>, problems: Problems) -> ManifestError {
    let mut diagnostics: Vec<Diagnostic> = problems
        .list
        .into_iter()
        .map(|problem| diagnostic(text.as_ref(), problem))
        .collect();
    diagnostics.sort_by_key(|diagnostic| diagnostic.span.as_ref().map(|span| span.start));
    let source = text.map(|(source, _)| source);
    ManifestError::Invalid(Invalid {
        source,
        diagnostics,
        more: problems.more,
    })
}

fn diagnostic(text: Option<&(Arc<Source>, &Node)>, problem: Problem) -> Diagnostic {
    let locate = |place: &Place, part: Part| text.map(|(_, node)| node.locate(place, part));
    let span = locate(&problem.place, problem.part);
    let position = text
        .zip(span.as_ref())
        .map(|((source, _), span)| source.position(span.start));
    Diagnostic {
        message: visible(&problem.message),
        path: problem.place.to_string(),
        span,
        position,
        label: visible(&problem.label),
        help: problem.help.as_deref().map(visible),
        related: problem.related.map(|(place, part, label)| Related {
            span: locate(&place, part),
            label,
        }),
    }
}

/// Control characters of the text must not reach the terminal.
fn visible(text: &str) -> String {
    let mut visible = String::with_capacity(text.len());
    for each in text.chars() {
        if each.is_control() {
            visible.extend(each.escape_default());
        } else {
            visible.push(each);
        }
    }
    visible
}

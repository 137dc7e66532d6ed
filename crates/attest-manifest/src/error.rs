//! What is wrong with a manifest: as many problems as can be found at once, each with its place
//! and what to write instead.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

/// Problems shown at once.
const SHOWN: usize = 20;

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// What is wrong.
    pub message: String,
    /// Said under the offending text.
    pub label: String,
    /// What to write instead.
    pub help: Option<String>,
    /// Where in the text, in bytes; empty for a manifest without text.
    pub span: Range<usize>,
    /// Another place that has to do with it, and what it is.
    pub other: Option<(Range<usize>, String)>,
}

/// A manifest that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestError {
    /// Its file.
    pub path: PathBuf,
    /// Its text; empty when it could not be read, or was made in code.
    pub source: String,
    /// What is wrong; never empty.
    pub diagnostics: Vec<Diagnostic>,
}

impl std::error::Error for ManifestError {}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl ManifestError {
    pub(crate) fn plain(path: PathBuf, message: String, help: Option<String>) -> Self {
        let diagnostic = Diagnostic { message, label: String::new(), help, span: 0..0, other: None };
        Self { path, source: String::new(), diagnostics: vec![diagnostic] }
    }

    /// Line and column (in characters), both from 1, of a problem.
    pub fn position(&self, diagnostic: &Diagnostic) -> (usize, usize) {
        let before = self.source.get(..diagnostic.span.start).unwrap_or("");
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        (line, column)
    }

    /// For people: each problem with its lines and the offending text underlined.
    pub fn render(&self, color: bool) -> String {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let path = self.path.display().to_string();
        let mut text = String::new();
        for diagnostic in self.diagnostics.iter().take(SHOWN) {
            text.push_str(&self.render_one(&renderer, &path, diagnostic));
            text.push_str("\n\n");
        }
        let more = self.diagnostics.len().saturating_sub(SHOWN);
        if more > 0 {
            text.push_str(&format!("and {more} more\n"));
        }
        text.truncate(text.trim_end().len());
        text
    }

    fn render_one(&self, renderer: &Renderer, path: &str, diagnostic: &Diagnostic) -> String {
        let title = Level::ERROR.primary_title(&diagnostic.message);
        let mut group = if self.source.is_empty() {
            annotate_snippets::Group::with_title(title).element(annotate_snippets::Origin::path(path))
        } else {
            let span = self.visible(&diagnostic.span);
            let mut snippet = Snippet::source(&self.source)
                .path(path)
                .annotation(AnnotationKind::Primary.span(span).label(&diagnostic.label));
            if let Some((span, label)) = &diagnostic.other {
                snippet = snippet.annotation(AnnotationKind::Context.span(self.visible(span)).label(label));
            }
            title.element(snippet)
        };
        if let Some(help) = &diagnostic.help {
            group = group.element(Level::HELP.message(help));
        }
        renderer.render(&[group])
    }

    /// Within the text, and not longer than its first line: a whole table is not underlined.
    fn visible(&self, span: &Range<usize>) -> Range<usize> {
        let start = floor(&self.source, span.start);
        let end = floor(&self.source, span.end.max(start));
        let line = self.source[start..end].find('\n').map_or(end, |at| start + at);
        start..line
    }
}

fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

//! Diagnostics as rustc shows them.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Element, Group, Level, Origin, Renderer, Snippet};

use crate::error::{Diagnostic, Invalid, ManifestError, Source};

/// Bytes of text between two places that are still shown as one snippet.
const TOGETHER: usize = 16 * 1024;
/// Bytes of a long line that are kept on each side of a place.
const AROUND: usize = 200;

/// Everything that is wrong, for people.
pub(crate) fn render(error: &ManifestError, color: bool) -> String {
    let renderer = if color {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    match error {
        ManifestError::Invalid(invalid) => render_invalid(&renderer, invalid),
        ManifestError::Unreadable { source, .. } => {
            let help = match source.kind() {
                std::io::ErrorKind::NotFound => {
                    Some("name a manifest or its directory: `attest run PATH`")
                }
                std::io::ErrorKind::PermissionDenied => Some("make it readable: `chmod +r`"),
                _ => None,
            };
            plain(&renderer, &format!("{error}: {source}"), help)
        }
        ManifestError::NoText { .. } => {
            let help = Some("a manifest is TOML or JSON in UTF-8");
            plain(&renderer, &error.to_string(), help)
        }
    }
}

fn plain(renderer: &Renderer, title: &str, help: Option<&str>) -> String {
    let mut group = Group::with_title(Level::ERROR.primary_title(title));
    if let Some(help) = help {
        group = group.element(Level::HELP.message(help));
    }
    renderer.render(&[group])
}

fn render_invalid(renderer: &Renderer, invalid: &Invalid) -> String {
    let mut texts: Vec<String> = invalid
        .diagnostics
        .iter()
        .map(|each| render_one(renderer, invalid.source.as_deref(), each))
        .collect();
    if invalid.more > 0 {
        let text = format!(
            "and {} more; the first {} are shown",
            invalid.more,
            invalid.diagnostics.len()
        );
        texts.push(renderer.render(&[Group::with_title(Level::NOTE.primary_title(text))]));
    }
    texts.join("\n\n")
}

fn render_one(renderer: &Renderer, source: Option<&Source>, diagnostic: &Diagnostic) -> String {
    let mut title = diagnostic.message.clone();
    if source.is_none() && !diagnostic.path.is_empty() {
        title = format!("{}: {title}", diagnostic.path);
    }
    let mut group = Group::with_title(Level::ERROR.primary_title(title));
    if let (Some(source), Some(span)) = (source, &diagnostic.span) {
        for element in snippets(source, span, diagnostic) {
            group = group.element(element);
        }
    }
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    renderer.render(&[group])
}

/// A place to underline.
struct Mark<'a> {
    span: Range<usize>,
    label: &'a str,
    kind: AnnotationKind,
}

/// One snippet with both places when they are close, else one for each.
fn snippets<'a>(
    source: &'a Source,
    span: &Range<usize>,
    diagnostic: &'a Diagnostic,
) -> Vec<Element<'a>> {
    let primary = Mark {
        span: one_line(&source.text, span),
        label: &diagnostic.label,
        kind: AnnotationKind::Primary,
    };
    let related = diagnostic.related.as_ref().and_then(|related| {
        let span = one_line(&source.text, related.span.as_ref()?);
        Some(Mark {
            span,
            label: &related.label,
            kind: AnnotationKind::Context,
        })
    });
    let windows = match related {
        Some(related) => {
            let both = window(
                &source.text,
                &(primary.span.start.min(related.span.start)
                    ..primary.span.end.max(related.span.end)),
            );
            if both.len() <= TOGETHER {
                vec![(both, vec![primary, related])]
            } else {
                vec![
                    (window(&source.text, &primary.span), vec![primary]),
                    (window(&source.text, &related.span), vec![related]),
                ]
            }
        }
        None => vec![(window(&source.text, &primary.span), vec![primary])],
    };
    windows
        .into_iter()
        .flat_map(|(window, marks)| snippet(source, window, marks))
        .collect()
}

fn snippet<'a>(source: &'a Source, window: Range<usize>, marks: Vec<Mark<'a>>) -> Vec<Element<'a>> {
    let position = source.position(marks[0].span.start);
    let cut = window.start > 0 && source.text.as_bytes()[window.start - 1] != b'\n';
    let mut snippet = Snippet::source(&source.text[window.clone()])
        .line_start(source.position(window.start).line);
    for mark in marks {
        let span = mark.span.start - window.start..mark.span.end - window.start;
        let annotation = mark.kind.span(span);
        snippet = snippet.annotation(if mark.label.is_empty() {
            annotation
        } else {
            annotation.label(mark.label)
        });
    }
    if cut {
        // The snippet cannot know how much of the line is left out before it.
        let origin = Origin::path(source.name.as_str())
            .line(position.line)
            .char_column(position.column);
        vec![origin.into(), snippet.into()]
    } else {
        vec![snippet.path(source.name.as_str()).into()]
    }
}

/// The part of a span on its first line: a whole table need not be underlined to be found.
fn one_line(text: &str, span: &Range<usize>) -> Range<usize> {
    let start = text.floor_char_boundary(span.start.min(text.len()));
    let end = text.floor_char_boundary(span.end.clamp(start, text.len()));
    let line = text[start..end]
        .split(['\n', '\r'])
        .next()
        .unwrap_or_default();
    // At most what a window holds.
    let kept = line.floor_char_boundary(line.len().min(AROUND));
    start..start + kept
}

/// The whole lines of a span, or what is around it on a line that is too long.
fn window(text: &str, span: &Range<usize>) -> Range<usize> {
    let line_start = text[..span.start].rfind('\n').map_or(0, |index| index + 1);
    let line_end = text[span.end..]
        .find('\n')
        .map_or(text.len(), |index| span.end + index);
    let start = if span.start - line_start > 5 * AROUND {
        text.ceil_char_boundary(span.start - AROUND)
    } else {
        line_start
    };
    let end = if line_end - span.end > 5 * AROUND {
        text.floor_char_boundary(span.end + AROUND)
    } else {
        line_end
    };
    // A carriage return belongs to the end of the line.
    let end = if text[..end].ends_with('\r') {
        end - 1
    } else {
        end
    };
    start..end.max(span.end)
}

//! Why a test did not pass, for the page.

use attest_events::{FailureDetail, Verdict};

use super::html::Html;
use crate::sanitize::sanitize;

/// Lines of a part that are shown: its last ones.
const LINES: usize = 100;
/// Characters of a line that are shown.
const WIDTH: usize = 500;
/// Bytes of a message, or of a program's output, that are shown.
const BYTES: usize = 16 << 10;
/// Consoles of a failure, and journals.
const TAILS: usize = 8;

/// All that is known, as the terminal has it.
pub(super) fn in_full(verdict: Verdict, detail: &FailureDetail, output: &str) -> Html {
    let mut html = Html::default();
    html.tag("<div class=\"failure\">");
    if let Some(machine) = &detail.machine {
        html.tag("<p>on <b>")
            .text_up_to(machine, WIDTH)
            .tag("</b></p>");
    }
    message(&mut html, &detail.message);
    if verdict == Verdict::Infrastructure {
        html.tag(
            "<p>This says nothing about the system under test: something beneath it broke.</p>",
        );
    }
    if let Some(command) = &detail.command {
        html.tag("<h4>command</h4>");
        block(&mut html, first(command, BYTES));
    }
    for (name, output) in [
        ("<h4>end of stdout</h4>", &detail.stdout),
        ("<h4>end of stderr</h4>", &detail.stderr),
    ] {
        if let Some(output) = output.as_deref().filter(|output| !output.is_empty()) {
            html.tag(name);
            block(&mut html, last(output, BYTES));
        }
    }
    for journal in detail.journals.iter().take(TAILS) {
        html.tag("<h4>end of the journal of ");
        html.text_up_to(&journal.unit, WIDTH).tag(" on ");
        html.text_up_to(&journal.machine, WIDTH).tag("</h4>");
        lines(&mut html, &journal.lines);
    }
    for console in detail.consoles.iter().take(TAILS) {
        html.tag("<h4>end of the console of ");
        html.text_up_to(&console.machine, WIDTH)
            .tag(", all of it in ");
        file(&mut html, &console.file, output);
        html.tag("</h4>");
        lines(&mut html, &console.lines);
    }
    let tails = detail.journals.len().max(detail.consoles.len());
    if tails > TAILS {
        html.tag("<p class=\"note\">More consoles and journals are in ");
        html.tag("<a href=\"./events.jsonl\">events.jsonl</a>.</p>");
    }
    if let Some(command) = &detail.kept {
        html.tag("<p>kept: <code>")
            .text_up_to(command, WIDTH)
            .tag("</code></p>");
    }
    html.tag("</div>");
    html
}

/// Where there is no room for more.
pub(super) fn in_brief(gist: &str) -> Html {
    let mut html = Html::default();
    html.tag("<div class=\"failure\"><pre class=\"message\">");
    html.text_up_to(gist, WIDTH).tag("</pre></div>");
    html
}

/// The message: where it is too long, its begin and its end, for either may say most.
fn message(html: &mut Html, text: &str) {
    html.tag("<pre class=\"message\">");
    if text.len() <= BYTES {
        html.lines_up_to(text, WIDTH);
    } else {
        html.lines_up_to(first(text, BYTES / 4), WIDTH).tag("…\n");
        html.lines_up_to(last(text, BYTES / 2), WIDTH);
    }
    html.tag("</pre>");
}

fn block(html: &mut Html, text: &str) {
    html.tag("<pre>").lines_up_to(text, WIDTH).tag("</pre>");
}

fn lines(html: &mut Html, lines: &[String]) {
    html.tag("<pre>");
    for line in &lines[lines.len().saturating_sub(LINES)..] {
        html.lines_up_to(&sanitize(first(line, BYTES)), WIDTH);
    }
    html.tag("</pre>");
}

/// A file, with a link where it lies below the page.
fn file(html: &mut Html, path: &str, output: &str) {
    let below = path
        .strip_prefix(output)
        .and_then(|rest| rest.strip_prefix('/'));
    match below.filter(|below| !below.split('/').any(|part| part == "..")) {
        Some(below) => html
            .tag("<a href=\"")
            .beside(below)
            .tag("\">")
            .text_up_to(below, WIDTH)
            .tag("</a>"),
        None => html.text_up_to(path, WIDTH),
    };
}

fn first(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

/// The end of a text, in whole lines where it has some.
fn last(text: &str, bytes: usize) -> &str {
    let from = text.ceil_char_boundary(text.len().saturating_sub(bytes));
    let end = &text[from..];
    match end.split_once('\n') {
        Some((_, whole)) if from > 0 => whole,
        _ => end,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_below_the_page_are_links() {
        let shown = |path: &str| {
            let mut html = Html::default();
            file(&mut html, path, "/out");
            html.into_string()
        };
        assert_eq!(shown("/out/a/b.log"), "<a href=\"./a/b.log\">a/b.log</a>");
        for other in ["/out/../secret", "/outside/b.log", "b.log", "javascript:x"] {
            assert_eq!(shown(other), other);
        }
    }

    #[test]
    fn long_parts_keep_the_end_that_says_most() {
        let text = format!("first\n{}last", "a line\n".repeat(10_000));
        assert_eq!(last(&text, 10), "last");
        assert_eq!(last("ä", 1), "");
        let mut html = Html::default();
        message(&mut html, &text);
        let html = html.into_string();
        assert!(html.contains("first\n") && html.contains("…\n") && html.contains("last\n"));
        assert!(html.len() < 2 * BYTES);
    }
}

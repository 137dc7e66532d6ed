//! A test that did not pass, told in full.

use std::fmt::Write as _;

use attest_events::{FailureDetail, Verdict};

use crate::look::{Look, Palette};
use crate::sanitize::{cut, sanitize, sanitized_lines};

/// What the terminal remembers of a bad test until the end.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) test: String,
    pub(crate) verdict: Verdict,
    pub(crate) detail: FailureDetail,
    /// Which try of how many, where there were several.
    pub(crate) of_tries: Option<(u32, u32)>,
}

/// The word at the head of a verdict line.
pub(crate) fn label(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "PASS",
        Verdict::Failed => "FAIL",
        Verdict::TimedOut => "TIMEOUT",
        Verdict::Infrastructure => "ERROR",
        Verdict::Interrupted => "STOPPED",
        Verdict::Skipped => "SKIP",
    }
}

/// The one line of a message that says most: its first, or the last of a Python traceback.
pub(crate) fn gist(message: &str) -> String {
    let mut lines = sanitized_lines(message).filter(|line| !line.trim().is_empty());
    let first = lines.next().unwrap_or_default();
    if !first.starts_with("Traceback ") {
        return first;
    }
    lines.last().unwrap_or(first)
}

/// The failure as a block of text.
pub(crate) fn render(failure: &Failure, look: Look, palette: Palette) -> String {
    let Palette { bad, strong, .. } = palette;
    let detail = &failure.detail;
    // Of those that were followed by others, only those are told that one of them passed after.
    let earlier = failure.of_tries.filter(|(number, of)| number < of);
    let (style, label) = match earlier {
        Some(_) => (palette.warning, "FLAKY"),
        None => (bad, label(failure.verdict)),
    };
    let name = sanitize(&failure.test);
    let mut text = format!("{style}{label}{style:#} {strong}{name}{strong:#}");
    if let Some(machine) = &detail.machine {
        let _ = write!(text, " on {}", sanitize(machine));
    }
    if let Some((number, of)) = failure.of_tries {
        let verdict = failure.verdict.name();
        let _ = write!(text, " ({verdict} at try {number} of {of})");
    }
    text.push('\n');
    for line in sanitized_lines(&detail.message) {
        let _ = writeln!(text, "  {line}");
    }
    if failure.verdict == Verdict::Infrastructure {
        text.push_str(
            "  This says nothing about the system under test: something beneath it broke.\n",
        );
    }
    if let Some(command) = &detail.command {
        section(
            &mut text,
            "command",
            sanitized_lines(command),
            None,
            palette,
        );
    }
    // A line of a program's output is cut later than one of a console: it is often the reason.
    let width = look.width.map(|width| width * 4);
    for (name, output) in [("stdout", &detail.stdout), ("stderr", &detail.stderr)] {
        match output.as_deref() {
            None => {}
            Some("") => {
                let _ = writeln!(text, "  {name}: nothing");
            }
            Some(output) => section(
                &mut text,
                &format!("end of {name}"),
                sanitized_lines(output),
                width,
                palette,
            ),
        }
    }
    for journal in &detail.journals {
        let title = format!(
            "end of the journal of {} on {}",
            sanitize(&journal.unit),
            sanitize(&journal.machine)
        );
        let lines = journal.lines.iter().map(|line| sanitize(line));
        section(&mut text, &title, lines, width, palette);
    }
    for console in &detail.consoles {
        let title = format!(
            "end of the console of {}, all of it in {}",
            sanitize(&console.machine),
            sanitize(&console.file)
        );
        let lines = console.lines.iter().map(|line| sanitize(line));
        section(&mut text, &title, lines, look.width, palette);
    }
    if let Some(command) = &detail.kept {
        let _ = writeln!(text, "  kept: {}", sanitize(command));
    }
    text
}

fn section(
    text: &mut String,
    title: &str,
    lines: impl Iterator<Item = String>,
    width: Option<usize>,
    palette: Palette,
) {
    let faint = palette.faint;
    let _ = writeln!(text, "  {title}:");
    for line in lines {
        let line = cut(
            &line,
            width.map(|width| width.saturating_sub("    | ".len())),
        );
        let _ = writeln!(
            text,
            "{}",
            format!("    {faint}|{faint:#} {line}").trim_end()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_that_says_most() {
        assert_eq!(gist("step 1: no\nand more\n"), "step 1: no");
        let traceback = "Traceback (most recent call last):\n  File \"t.py\"\nValueError: x\n\n";
        assert_eq!(gist(traceback), "ValueError: x");
        assert_eq!(gist("Traceback (most"), "Traceback (most");
        assert_eq!(gist(""), "");
    }
}

//! The page.

use attest_events::{Breakdown, ExitCode, Verdict};

use super::bars;
use super::html::Html;
use super::lane::{Kind, Lane, Operation};
use super::rows::{NAME, badge, lane, name, note};
use super::scale::Scale;
use super::seen::Seen;
use crate::human::duration;
use crate::table::{Cells, cells};

/// Characters of a command in the table of the longest.
const COMMAND: usize = 160;
/// Commands and waits in it.
const LONGEST: usize = 15;
/// Failures that are named at the top, and rows of the breakdown.
const LISTED: usize = 100;
/// Up to so many tests, all are shown in full.
const FEW: usize = 8;
/// Of more, those that did not pass, if they are no more than that: or else nobody would see the
/// others for them.
const OPEN: usize = 3;

/// Forbids whatever the page does not need, so that even a mistake in its making runs nothing.
const HEAD: &str = "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
    <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
    style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'\"/>\n\
    <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
    <meta name=\"color-scheme\" content=\"light dark\"/>\n<style>\n";

pub(super) fn page(seen: &Seen, breakdown: &Breakdown) -> Html {
    let mut html = Html::default();
    html.tag(HEAD)
        .tag(include_str!("page.css"))
        .tag("</style>\n<title>attest: ");
    html.text(&outcome(seen)).tag("</title>\n</head>\n<body>\n");
    header(&mut html, seen, breakdown);
    let tests = numbered(seen);
    bad(&mut html, &tests);
    // Without phases, nothing is known of it.
    if !breakdown.total.is_empty() {
        where_it_went(&mut html, breakdown);
    }
    timeline(&mut html, seen, &tests);
    longest(&mut html, seen, &tests);
    remarks(&mut html, seen);
    footer(&mut html, seen);
    html.tag("</body>\n</html>\n");
    html
}

/// The tests in the order in which they began, numbered from 1.
fn numbered(seen: &Seen) -> Vec<(u32, &Lane)> {
    (1..).zip(seen.tests.items()).collect()
}

/// How the run ended, in a few words.
fn outcome(seen: &Seen) -> String {
    let Some(end) = &seen.end else {
        return "the run broke off".to_owned();
    };
    let counts = Verdict::ALL.map(|verdict| (verdict, end.summary.of(verdict)));
    let counts = counts.into_iter().filter(|(_, count)| *count > 0);
    let counts: Vec<String> = counts
        .map(|(verdict, count)| format!("{count} {}", verdict.name()))
        .collect();
    if counts.is_empty() {
        return end.exit_code.meaning().to_owned();
    }
    counts.join(", ")
}

fn header(html: &mut Html, seen: &Seen, breakdown: &Breakdown) {
    html.tag("<header>\n<h1 class=\"");
    let is_good = seen
        .end
        .as_ref()
        .is_some_and(|end| end.exit_code == ExitCode::Passed);
    html.tag(if is_good { "good" } else { "bad" }).tag("\">");
    html.text(&outcome(seen)).tag(" <small>");
    if let Some(end) = seen.end.as_ref().filter(|end| end.summary.flaky > 0) {
        html.tag("(").number(end.summary.flaky).tag(" flaky) ");
    }
    html.tag("in ")
        .text(&duration(breakdown.wall_ns))
        .tag("</small></h1>\n<p>");
    match &seen.end {
        None => {
            html.tag("The run broke off: it has no result, and its last seconds may not be here.")
        }
        Some(end) => {
            html.tag("Exit code ")
                .number(end.exit_code.code())
                .tag(": ");
            html.text(end.exit_code.meaning()).tag(".")
        }
    };
    if let Some(begin) = &seen.begin {
        let s = if begin.tests == 1 { "" } else { "s" };
        let at_once = match begin.jobs {
            jobs @ 2.. if begin.tests > 1 => format!(", up to {jobs} at once"),
            _ => String::new(),
        };
        html.text(&format!(" {} test{s}{at_once}, ", begin.tests));
        html.tag("begun at ").text_up_to(&begin.time, NAME);
        html.tag(" with attest ").text_up_to(&begin.version, NAME);
        html.tag(", in <code>")
            .text_up_to(&begin.output, COMMAND)
            .tag("</code>.");
    }
    html.tag(" Beside this page: <a href=\"./events.jsonl\">events.jsonl</a>, ");
    html.tag("<a href=\"./junit.xml\">junit.xml</a>, and the consoles.</p>\n</header>\n");
}

/// The tests that did not pass, or not at once, with links.
fn bad(html: &mut Html, tests: &[(u32, &Lane)]) {
    let bad: Vec<_> = tests
        .iter()
        .filter(|(_, lane)| lane.is_bad() || lane.tries.len() > 1)
        .collect();
    if bad.is_empty() {
        return;
    }
    html.tag("<section>\n<h2>What went wrong</h2>\n<ul class=\"bad-list\">\n");
    for (number, lane) in bad.iter().take(LISTED) {
        html.tag("<li>");
        badge(html, lane);
        html.tag(" <a href=\"#t").number(*number).tag("\">");
        name(html, lane);
        html.tag("</a> ");
        // Of a flaky test, the try that failed has the reason.
        let gist = lane
            .tries
            .iter()
            .rev()
            .map(|of| &of.gist)
            .find(|gist| !gist.is_empty());
        html.text_up_to(gist.map_or("", String::as_str), COMMAND)
            .tag("</li>\n");
    }
    html.tag("</ul>\n");
    if let more @ 1.. = bad.len().saturating_sub(LISTED) {
        note(html, &format!("{more} more are in the timeline."));
    }
    html.tag("</section>\n");
}

/// The same numbers as the terminal has.
fn where_it_went(html: &mut Html, breakdown: &Breakdown) {
    let Cells {
        phases,
        rows,
        notes,
    } = cells(breakdown);
    html.tag("<section>\n<h2>Where the time went</h2>\n");
    bars::shares(html, breakdown);
    html.tag("<div class=\"wide\"><table class=\"numbers\">\n");
    for (index, row) in rows.iter().take(LISTED).enumerate() {
        html.tag(if index == 1 {
            "<tr class=\"run\">"
        } else {
            "<tr>"
        });
        for (column, cell) in row.iter().enumerate() {
            let phase = column.checked_sub(1).and_then(|column| phases.get(column));
            match (index, phase) {
                (0, Some(phase)) => html.tag("<th><i class=\"").tag(phase.name()).tag("\"></i>"),
                (0, None) => html.tag("<th>"),
                _ => html.tag("<td>"),
            };
            html.text_up_to(cell, NAME);
            html.tag(if index == 0 { "</th>" } else { "</td>" });
        }
        html.tag("</tr>\n");
    }
    html.tag("</table></div>\n");
    if let more @ 1.. = rows.len().saturating_sub(LISTED) {
        note(html, &format!("{more} more machines are left out here."));
    }
    for text in notes.iter().take(LISTED) {
        note(html, text);
    }
    html.tag("</section>\n");
}

fn timeline(html: &mut Html, seen: &Seen, tests: &[(u32, &Lane)]) {
    html.tag("<section class=\"timeline\">\n<h2>Timeline</h2>\n");
    note(
        html,
        "A row is a test, from its begin until its lab was gone, on the scale of the whole run. Opened, it shows its machines, commands and waits on a scale of its own. Hover over a bar for its text and its times.",
    );
    bars::legend(html);
    let bad = tests.iter().filter(|(_, lane)| lane.is_bad()).count();
    if bad > 0 && tests.len() > FEW {
        html.tag("<p><label><input type=\"checkbox\" id=\"only-bad\"/> only what did not pass</label></p>\n");
    }
    let scale = Scale::new(0, seen.now_ns());
    html.tag("<div class=\"rows\">\n");
    bars::axis(html, scale);
    html.tag("\n");
    let few = tests.len() <= FEW;
    let opens = |lane: &Lane| few || (lane.is_bad() && bad <= OPEN);
    if !seen.outside.phases.items().is_empty() || seen.outside.has_inside() {
        lane(html, 0, &seen.outside, scale, opens(&seen.outside));
    }
    for (number, of) in tests {
        lane(html, *number, of, scale, opens(of));
    }
    html.tag("</div>\n</section>\n");
}

fn longest(html: &mut Html, seen: &Seen, tests: &[(u32, &Lane)]) {
    let lanes = tests.iter().map(|(number, lane)| (*number, *lane));
    let mut all: Vec<(u32, &Lane, &Operation)> = lanes
        .chain([(0, &seen.outside)])
        .flat_map(|(number, lane)| {
            let operations = lane.operations.items().iter();
            operations.map(move |operation| (number, lane, operation))
        })
        .filter(|(_, _, operation)| operation.kind != Kind::Subtest)
        .collect();
    if all.is_empty() {
        return;
    }
    all.sort_by_key(|(_, _, operation)| std::cmp::Reverse(operation.took_ns()));
    html.tag("<section>\n<h2>What took longest</h2>\n<div class=\"wide\"><table>\n");
    html.tag("<tr><th>took</th><th>test</th><th>machine</th><th>what</th></tr>\n");
    for (number, lane, operation) in all.into_iter().take(LONGEST) {
        html.tag(if operation.is_bad() {
            "<tr class=\"bad\">"
        } else {
            "<tr>"
        });
        html.tag("<td class=\"took\">")
            .text(&duration(operation.took_ns()));
        html.tag("</td><td><a href=\"#t").number(number).tag("\">");
        name(html, lane);
        html.tag("</a></td><td>");
        let machine = operation.machine.and_then(|row| lane.machines.get(row));
        html.text_up_to(machine.map_or("", |machine| &machine.name), NAME);
        html.tag("</td><td>")
            .text_up_to(&operation.name, NAME)
            .tag(" <code>");
        html.text_up_to(&operation.text, COMMAND).tag("</code>");
        if let Some(error) = &operation.error {
            html.tag(" failed: ").text_up_to(error, COMMAND);
        } else if !operation.is_over {
            html.tag(" did not end");
        }
        html.tag("</td></tr>\n");
    }
    html.tag("</table></div>\n</section>\n");
}

fn remarks(html: &mut Html, seen: &Seen) {
    if seen.remarks.is_empty() {
        return;
    }
    html.tag("<section>\n<h2>Choices and warnings</h2>\n<ul>\n");
    for remark in &seen.remarks {
        html.tag("<li>");
        if remark.is_warning {
            html.tag("<b class=\"badge warn\">warning</b> ");
        }
        html.text(&remark.text).tag("</li>\n");
    }
    html.tag("</ul>\n");
    if seen.remarks_left_out > 0 {
        note(
            html,
            &format!("{} more are in events.jsonl.", seen.remarks_left_out),
        );
    }
    html.tag("</section>\n");
}

/// What is not on the page, in all.
fn footer(html: &mut Html, seen: &Seen) {
    let mut left_out = Vec::new();
    if let Some((count, (is_bad, longest))) = seen.tests.left_out() {
        let whose = if is_bad {
            ""
        } else {
            " that passed and took no longer than "
        };
        let longest = if is_bad {
            String::new()
        } else {
            duration(longest)
        };
        left_out.push(format!("{count} tests{whose}{longest}"));
    }
    let lanes = seen.tests.items().iter().chain([&seen.outside]);
    let operations: usize = lanes
        .filter_map(|lane| Some(lane.operations.left_out()?.0))
        .sum();
    if operations > 0 {
        left_out.push(format!(
            "{operations} commands and waits, as said at their tests"
        ));
    }
    if seen.failures_cut > 0 {
        left_out.push(format!(
            "{} failures but for their first line",
            seen.failures_cut
        ));
    }
    html.tag("<footer>\n");
    if left_out.is_empty() {
        note(
            html,
            "Nothing was left out but the outputs of commands and the consoles.",
        );
    } else {
        note(
            html,
            &format!("Left out, to keep the page small: {}.", left_out.join("; ")),
        );
    }
    html.tag("<p class=\"note\"><a href=\"./events.jsonl\">events.jsonl</a> has everything.</p>\n</footer>\n");
}

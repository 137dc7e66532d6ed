//! A test on the page: its row, and what is inside.

use attest_events::Verdict;

use super::bars;
use super::html::Html;
use super::lane::Lane;
use super::most::Rank;
use super::scale::Scale;
use crate::failure::label;
use crate::human::duration;

/// Characters of a name that are shown.
pub(super) const NAME: usize = 80;
/// A test that took no longer (nanoseconds) was hardly begun.
const SHORT: u64 = 1_000_000;

/// A row of the timeline; with what is inside, if there is something.
pub(super) fn lane(html: &mut Html, number: u32, lane: &Lane, scale: Scale, is_open: bool) {
    let has_inside = lane.has_inside();
    html.tag(match (has_inside, is_open) {
        (true, true) => "<details open=\"\" class=\"lane",
        (true, false) => "<details class=\"lane",
        (false, _) => "<div class=\"lane",
    });
    html.tag(if lane.is_bad() { " failed\"" } else { "\"" });
    if has_inside {
        // A link to what is inside opens it.
        html.tag("><summary class=\"row\">");
    } else {
        html.tag(" id=\"t").number(number);
        html.tag("\"><div class=\"row\">");
    }
    html.tag("<span class=\"name\">");
    if lane.test.is_some() {
        badge(html, lane);
    }
    html.tag("<span class=\"text\" title=\"");
    name(html, lane);
    html.tag("\">");
    name(html, lane);
    html.tag("</span>");
    if lane.verdict.is_some() {
        html.tag("<span class=\"took\">")
            .text(&duration(lane.took_ns))
            .tag("</span>");
    }
    html.tag("</span>");
    bars::overview(html, lane, scale);
    if has_inside {
        html.tag("</summary>\n");
        inside(html, number, lane);
        html.tag("</details>\n");
    } else {
        html.tag("</div></div>\n");
    }
}

fn inside(html: &mut Html, number: u32, lane: &Lane) {
    html.tag("<div class=\"inside\" id=\"t")
        .number(number)
        .tag("\">\n");
    let all = lane.ended_ns.saturating_sub(lane.began_ns);
    if lane.test.is_some() && all > SHORT {
        let all = duration(all);
        let began = duration(lane.began_ns);
        let took = duration(lane.took_ns);
        note(
            html,
            &format!(
                "{all} in all, of which the test itself took {took}; it began {began} into the run."
            ),
        );
    }
    if !lane.machines.is_empty() || !lane.operations.items().is_empty() {
        rows(html, lane);
    }
    left_out_of(html, lane);
    for of in &lane.tries {
        if of.failure.is_empty() {
            continue;
        }
        if lane.tries.len() > 1 {
            html.tag("<h3>try ")
                .number(of.number)
                .tag(": ")
                .tag(of.verdict.name())
                .tag("</h3>");
        }
        html.part(&of.failure).tag("\n");
    }
    html.tag("</div>\n");
}

/// The lane again, and its machines, on a scale of its own.
fn rows(html: &mut Html, lane: &Lane) {
    html.tag("<div class=\"rows\">\n");
    let scale = Scale::new(lane.began_ns, lane.ended_ns);
    bars::axis(html, scale);
    html.tag("\n<div class=\"row\"><span class=\"name\"><span class=\"text\">phases</span></span>");
    bars::of_test(html, lane, scale);
    html.tag("</div>\n");
    for (row, machine) in lane.machines.iter().enumerate() {
        html.tag("<div class=\"row\"><span class=\"name\"><span class=\"text\" title=\"");
        html.text_up_to(&machine.name, NAME)
            .tag("\">")
            .text_up_to(&machine.name, NAME);
        html.tag("</span></span>");
        bars::of_machine(html, lane, row, machine, scale);
        html.tag("</div>\n");
    }
    html.tag("</div>\n");
}

fn left_out_of(html: &mut Html, lane: &Lane) {
    if let Some(left_out) = lane.operations.left_out() {
        note(html, &left_out_text("commands and waits", left_out));
    }
    let of_machines = lane.machines.iter().map(|machine| &machine.phases);
    let phases = of_machines.chain([&lane.phases]);
    let phases: usize = phases.filter_map(|of| Some(of.left_out()?.0)).sum();
    if phases > 0 {
        note(html, &format!("{phases} shorter phases are left out."));
    }
    if lane.has_more_machines {
        note(html, "It has more machines, which have no row.");
    }
    if lane.tries_left_out > 0 {
        note(
            html,
            &format!(
                "{} of its tries are left out, before the last.",
                lane.tries_left_out
            ),
        );
    }
}

fn left_out_text(what: &str, (count, (is_bad, longest)): (usize, Rank)) -> String {
    if is_bad {
        return format!("{count} more {what} are left out.");
    }
    let longest = duration(longest);
    format!("{count} more {what} are left out: none of them failed or took longer than {longest}.")
}

pub(super) fn badge(html: &mut Html, lane: &Lane) {
    let (class, text) = match lane.verdict {
        None => ("bad", "NO END"),
        Some(Verdict::Passed) if lane.tries.len() > 1 => ("warn", "FLAKY"),
        Some(Verdict::Passed) => ("good", label(Verdict::Passed)),
        Some(Verdict::Skipped) => ("none", label(Verdict::Skipped)),
        Some(verdict) => ("bad", label(verdict)),
    };
    html.tag("<b class=\"badge ")
        .tag(class)
        .tag("\">")
        .tag(text)
        .tag("</b>");
}

pub(super) fn name(html: &mut Html, lane: &Lane) {
    html.text_up_to(lane.test.as_deref().unwrap_or("outside of tests"), NAME);
}

pub(super) fn note(html: &mut Html, text: &str) {
    html.tag("<p class=\"note\">").text(text).tag("</p>\n");
}

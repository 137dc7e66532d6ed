//! Rows of bars, as SVG.

use attest_events::{Breakdown, Phase, Verdict};

use super::html::Html;
use super::lane::{Kind, Lane, Machine, Operation, Span, Try};
use super::scale::Scale;
use crate::human::duration;
use crate::sanitize::{cut, sanitize};

/// Of a row, pixels.
const ROW: u32 = 22;
/// From one bar of a command to the next below, pixels.
const THIN: u32 = 16;
/// Bars of commands above each other in one row; what runs beside more is drawn over the last.
const LEVELS: usize = 8;
/// Characters of a command that its tooltip has.
const TITLE: usize = 120;
/// Narrower than this part of 100, a bar is drawn wider, so that it can be seen.
const NARROWEST: f64 = 0.15;
/// What a character takes of the width, in percent: on a screen of 1200 pixels some 900 are the bars'.
const CHARACTER: f64 = 0.72;

/// One bar.
struct Bar<'a> {
    class: &'static str,
    /// In percent.
    from: f64,
    to: f64,
    y: u32,
    height: u32,
    /// The first that fits is written into it.
    labels: &'a [&'a str],
    title: &'a str,
}

impl Bar<'_> {
    fn draw(&self, html: &mut Html) {
        let width = (self.to - self.from).max(NARROWEST);
        let from = self.from.min(100.0 - width);
        let label = self.label(width);
        // A graphic of its own cuts what does not fit.
        html.tag(if label.is_some() { "<svg" } else { "<rect" });
        html.tag(" class=\"")
            .tag(self.class)
            .tag("\" x=\"")
            .percent(from);
        html.tag("\" y=\"")
            .number(self.y)
            .tag("\" width=\"")
            .percent(width);
        html.tag("\" height=\"").number(self.height);
        html.tag("\"><title>").text(self.title).tag("</title>");
        match label {
            None => html.tag("</rect>"),
            Some(label) => {
                html.tag("<rect width=\"100%\" height=\"100%\"/><text x=\"4\" y=\"");
                html.number(self.height / 2 + 4).tag("\">");
                html.text(label).tag("</text></svg>")
            }
        };
    }

    fn label(&self, width: f64) -> Option<&str> {
        let fits = |label: &&&str| label.chars().count() <= characters(width);
        self.labels.iter().find(fits).copied()
    }
}

/// How many characters fit into a part of the width.
fn characters(percent: f64) -> usize {
    let fit = ((percent - 1.0) / CHARACTER).max(0.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "some hundred"
    )]
    let fit = fit as usize;
    fit
}

/// The lines and labels of a scale, for rows that follow in the same element.
pub(super) fn axis(html: &mut Html, scale: Scale) {
    let ticks = scale.ticks();
    html.tag("<svg class=\"axis\" height=\"20\">");
    // At the edge, a label would be cut.
    for (place, label) in ticks.iter().filter(|(place, _)| *place < 95.0) {
        html.tag("<text y=\"14\" dx=\"3\" x=\"").percent(*place);
        html.tag("\">").text(label).tag("</text>");
    }
    html.tag("</svg><svg class=\"grid\">");
    for (place, _) in &ticks {
        html.tag("<line y2=\"100%\" x1=\"").percent(*place);
        html.tag("\" x2=\"").percent(*place).tag("\"/>");
    }
    html.tag("</svg>");
}

/// A lane on the scale of the whole run: its phases, its tries, and in a few words why it did not
/// pass.
pub(super) fn overview(html: &mut Html, lane: &Lane, scale: Scale) {
    open(html, ROW);
    phases(html, lane.phases.items(), scale, false);
    tries(html, &lane.tries, scale);
    reason(html, lane, scale);
    html.tag("</svg>");
}

/// The phases of a lane, and what was done on no machine.
pub(super) fn of_test(html: &mut Html, lane: &Lane, scale: Scale) {
    let operations = done_on(lane, None);
    let (placed, levels) = levels(&operations);
    let height = if levels == 0 {
        ROW
    } else {
        ROW + 2 + THIN * levels
    };
    open(html, height);
    phases(html, lane.phases.items(), scale, true);
    tries(html, &lane.tries, scale);
    done(html, &placed, scale, ROW + 1);
    html.tag("</svg>");
}

/// The phases of a machine, and over them what was done on it: one follows the other.
pub(super) fn of_machine(
    html: &mut Html,
    lane: &Lane,
    row: usize,
    machine: &Machine,
    scale: Scale,
) {
    let operations = done_on(lane, Some(row));
    let (placed, levels) = levels(&operations);
    open(html, ROW.max(5 + THIN * levels));
    phases(html, machine.phases.items(), scale, true);
    done(html, &placed, scale, 3);
    if let Some((at_ns, how)) = &machine.ending {
        let at = scale.place(*at_ns);
        mark(html, at, how);
        // Before it, nothing may be covered.
        let room_before = if placed.is_empty() { at } else { 0.0 };
        beside(html, (room_before, at + 0.5), how);
    }
    html.tag("</svg>");
}

fn open(html: &mut Html, height: u32) {
    html.tag("<svg class=\"bars\" height=\"")
        .number(height)
        .tag("\">");
}

fn phases(html: &mut Html, spans: &[Span], scale: Scale, with_times: bool) {
    for span in spans {
        let name = span.phase.name();
        let took = duration(span.ended_ns.saturating_sub(span.began_ns));
        let broken_off = if span.is_over { "" } else { ", broken off" };
        let label = format!("{name} {took}");
        let labels: [&str; 2] = [&label, name];
        Bar {
            class: match (span.is_over, name) {
                (true, name) => name,
                (false, _) => "open",
            },
            from: scale.place(span.began_ns),
            to: scale.place(span.ended_ns),
            y: 1,
            height: ROW - 2,
            labels: &labels[usize::from(!with_times)..],
            title: &format!("{label}{broken_off}, from {} on", duration(span.began_ns)),
        }
        .draw(html);
    }
}

/// Where a test was tried several times: a thin bar below its phases for each try.
fn tries(html: &mut Html, tries: &[Try], scale: Scale) {
    let [_, _, ..] = tries else { return };
    for of in tries {
        let (number, verdict) = (of.number, of.verdict.name());
        let colon = if of.gist.is_empty() { "" } else { ": " };
        Bar {
            class: if of.verdict.is_bad() { "bad" } else { "good" },
            from: scale.place(of.began_ns),
            to: scale.place(of.ended_ns),
            y: ROW - 4,
            height: 4,
            labels: &[],
            title: &format!("try {number}: {verdict}{colon}{}", of.gist),
        }
        .draw(html);
    }
}

/// Why a test did not pass, where its lane ends.
fn reason(html: &mut Html, lane: &Lane, scale: Scale) {
    let (from, to) = (scale.place(lane.began_ns), scale.place(lane.ended_ns));
    let last = lane.tries.last();
    let gist = last.map(|last| last.gist.as_str()).unwrap_or_default();
    if lane.is_bad() {
        let name = lane.verdict.map_or("broken off", Verdict::name);
        let colon = if gist.is_empty() { "" } else { ": " };
        mark(html, to, &format!("{name}{colon}{gist}"));
    }
    beside(html, (from, to + 0.5), gist);
}

/// Something went wrong there.
fn mark(html: &mut Html, at: f64, title: &str) {
    Bar {
        class: "bad",
        from: at,
        to: at + 0.4,
        y: 0,
        height: ROW,
        labels: &[],
        title,
    }
    .draw(html);
}

/// Text beside a bar, where there is room: behind it, or before it.
fn beside(html: &mut Html, (from, to): (f64, f64), text: &str) {
    let room = characters(100.0 - to).max(characters(from));
    if text.is_empty() || room < 12 {
        return;
    }
    html.tag("<text y=\"15\" class=\"");
    if room == characters(100.0 - to) {
        html.tag("why\" dx=\"4\" x=\"").percent(to);
    } else {
        html.tag("why end\" dx=\"-4\" x=\"").percent(from);
    }
    html.tag("\">").text_up_to(text, room).tag("</text>");
}

/// What was done on a machine, or on none, in its order.
fn done_on(lane: &Lane, machine: Option<usize>) -> Vec<&Operation> {
    let operations = lane.operations.items().iter();
    let mut operations: Vec<&Operation> = operations
        .filter(|operation| operation.machine == machine)
        .collect();
    operations.sort_by_key(|operation| operation.began_ns);
    operations
}

/// Each with its level, and how many levels there are: what runs at once is on levels of its own.
fn levels<'a>(operations: &[&'a Operation]) -> (Vec<(u32, &'a Operation)>, u32) {
    // When each level is free again, from the top.
    let mut free: Vec<(u32, u64)> = Vec::new();
    let placed = operations.iter().map(|&operation| {
        let levels = free.len();
        let is_free = |(_, since): &(u32, u64)| *since <= operation.began_ns;
        let place = match free.iter().position(is_free) {
            Some(place) => place,
            None if levels == LEVELS => levels - 1,
            None => {
                let next = free.last().map_or(0, |(level, _)| level + 1);
                free.push((next, 0));
                levels
            }
        };
        let (level, since) = &mut free[place];
        *since = operation.ended_ns.max(*since);
        (*level, operation)
    });
    let placed = placed.collect();
    (placed, free.last().map_or(0, |(level, _)| level + 1))
}

fn done(html: &mut Html, placed: &[(u32, &Operation)], scale: Scale, top: u32) {
    for (level, operation) in placed {
        let Operation { name, text, .. } = operation;
        let took = duration(operation.took_ns());
        let from = duration(operation.began_ns);
        let text = cut(&sanitize(text), Some(TITLE));
        let mut title = format!("{name}: {text} — {took}, from {from} on");
        match &operation.error {
            Some(error) => title = format!("{title}; failed: {}", cut(error, Some(TITLE))),
            None if !operation.is_over => title.push_str("; did not end"),
            None => {}
        }
        let (from, to) = (
            scale.place(operation.began_ns),
            scale.place(operation.ended_ns),
        );
        let room = characters((to - from).max(NARROWEST));
        let label = if room < 8 {
            None
        } else {
            Some(cut(&text, Some(room)))
        };
        let label = label.as_deref();
        Bar {
            class: match operation.kind {
                _ if operation.error.is_some() => "bad",
                _ if !operation.is_over => "open",
                Kind::Command => "command",
                Kind::Wait => "wait",
                Kind::Other => "other",
                Kind::Subtest => "subtest",
            },
            from,
            to,
            y: top + THIN * level,
            height: THIN - 2,
            labels: label.as_slice(),
            title: &title,
        }
        .draw(html);
    }
}

/// The run's phases as parts of a whole, the greatest of them with their names.
pub(super) fn shares(html: &mut Html, breakdown: &Breakdown) {
    let scale = Scale::new(0, breakdown.sum_ns());
    html.tag("<div class=\"shares\">");
    open(html, 34);
    let mut from_ns: u64 = 0;
    for time in breakdown.total.iter().filter(|time| time.ns > 0) {
        let to_ns = from_ns.saturating_add(time.ns);
        let (from, to) = (scale.place(from_ns), scale.place(to_ns));
        let (name, took) = (time.phase.name(), duration(time.ns));
        let title = format!("{name} {took}, {:.0} %", to - from);
        Bar {
            class: name,
            from,
            to,
            y: 1,
            height: 32,
            labels: &[&title, &format!("{name} {took}"), name],
            title: &title,
        }
        .draw(html);
        from_ns = to_ns;
    }
    html.tag("</svg></div>\n");
}

/// What the colours say.
pub(super) fn legend(html: &mut Html) {
    html.tag("<p class=\"legend\">");
    for phase in Phase::ALL {
        key(html, phase.name(), phase.name());
    }
    for (class, text) in [
        ("command", "command"),
        ("wait", "wait"),
        ("other", "copy, reboot, …"),
        ("subtest", "subtest"),
        ("open", "did not end"),
        ("bad", "failed"),
    ] {
        key(html, class, text);
    }
    html.tag("</p>\n");
}

fn key(html: &mut Html, class: &'static str, text: &'static str) {
    html.tag("<span><i class=\"")
        .tag(class)
        .tag("\"></i>")
        .tag(text)
        .tag("</span> ");
}

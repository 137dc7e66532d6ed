//! `attest doctor --matrix`: what each backend has, with the reason for every no.

use std::fmt::Write as _;

use attest::doctor::{Row, matrix};
use serde_json::{Map, json};

use crate::arguments::Format;

const INTRODUCTION: &str = "\
# What each backend has

`attest doctor --matrix` prints this page from what the backends say of themselves. What a backend has not is
refused by name before anything starts; the numbers are those of the reasons below. What of it this host can
run is said by `attest doctor`. `vm-script` and `container-script` are what start scripts of NixOS tests run.
";

pub(super) fn text(format: Format) -> String {
    let rows = matrix();
    match format {
        Format::Json => json(&rows),
        Format::Human => markdown(&rows),
    }
}

/// One line for each ability.
fn json(rows: &[Row]) -> String {
    let mut text = String::new();
    for row in rows {
        let backends: Map<_, _> = row
            .backends
            .iter()
            .map(|(backend, lacks)| {
                let has = json!({ "has": lacks.is_none(), "reason": lacks });
                (backend.name().to_owned(), has)
            })
            .collect();
        let line =
            json!({ "ability": row.ability, "describes": row.describes, "backends": backends });
        let _ = writeln!(text, "{line}");
    }
    text
}

fn markdown(rows: &[Row]) -> String {
    let mut reasons = Vec::new();
    let mut lines = vec![head(rows)];
    lines.extend(rows.iter().map(|row| cells(row, &mut reasons)));
    let mut text = INTRODUCTION.to_owned();
    text.push('\n');
    table(&lines, &mut text);
    text.push('\n');
    for (number, reason) in (1..).zip(reasons) {
        let _ = writeln!(text, "{number}. {reason}");
    }
    text
}

fn head(rows: &[Row]) -> Vec<String> {
    let backends = rows.iter().take(1).flat_map(|row| &row.backends);
    let names = backends.map(|(backend, _)| format!("`{}`", backend.name()));
    std::iter::once("a machine".to_owned())
        .chain(names)
        .collect()
}

/// A reason that was given before keeps its number.
fn cells(row: &Row, reasons: &mut Vec<&'static str>) -> Vec<String> {
    let mut cells = vec![format!("**{}**: {}", row.ability, row.describes)];
    for (_, lacks) in &row.backends {
        let Some(reason) = lacks else {
            cells.push("yes".to_owned());
            continue;
        };
        let known = reasons.iter().position(|known| known == reason);
        let place = known.unwrap_or_else(|| {
            reasons.push(reason);
            reasons.len() - 1
        });
        cells.push(format!("no ({})", place + 1));
    }
    cells
}

/// With columns as wide as their widest cell, for who reads it on a terminal.
fn table(lines: &[Vec<String>], text: &mut String) {
    let columns = lines.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let cells = lines.iter().map(|line| line[column].chars().count());
        cells.max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for (index, line) in lines.iter().enumerate() {
        let cells = line.iter().zip(&widths);
        let cells: Vec<_> = cells
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        let _ = writeln!(text, "| {} |", cells.join(" | "));
        if index == 0 {
            let rules: Vec<_> = widths.iter().map(|width| "-".repeat(*width)).collect();
            let _ = writeln!(text, "| {} |", rules.join(" | "));
        }
    }
}

#[cfg(test)]
mod tests {
    use attest::Backend;

    use super::*;

    #[test]
    fn a_reason_has_one_number() {
        let row = |ability, lacks: [Option<&'static str>; 2]| Row {
            ability,
            describes: "does it",
            backends: [Backend::Qemu, Backend::Ssh]
                .into_iter()
                .zip(lacks)
                .collect(),
        };
        let rows = [
            row("one", [None, Some("it is elsewhere")]),
            row("two", [Some("it is slow"), Some("it is elsewhere")]),
        ];
        let page = markdown(&rows);
        let table = page.strip_prefix(INTRODUCTION).unwrap();
        let expected = "
| a machine        | `qemu` | `ssh`  |
| ---------------- | ------ | ------ |
| **one**: does it | yes    | no (1) |
| **two**: does it | no (2) | no (1) |

1. it is elsewhere
2. it is slow
";
        assert_eq!(table, expected);
    }
}

//! Results as a Markdown table.

use std::fmt::Write as _;

use super::results::{Results, Row, Spread};
use super::times::Part;

/// The whole document.
pub(crate) fn markdown(results: &Results) -> String {
    let mut text = header(results);
    let mut suites: Vec<&str> = results.rows.iter().map(|row| row.suite).collect();
    suites.dedup();
    for suite in suites {
        let rows: Vec<&Row> = results
            .rows
            .iter()
            .filter(|row| row.suite == suite)
            .collect();
        let _ = writeln!(text, "\n## {suite}\n");
        text += &counts(&rows);
        text += &table(&rows);
        text += &notes(&rows);
    }
    text += &skipped(results);
    text
}

fn header(results: &Results) -> String {
    let header = &results.header;
    let versions: Vec<String> = header
        .versions
        .iter()
        .map(|(name, version)| format!("{name}: {version}"))
        .collect();
    format!(
        "Measured on {}: {}, {} processors, {} MiB, {}. Guests: {}; Linux {}. {}.\n\
         Up to {} runs of each way, in turns; medians, in seconds, with the least and the most. \"×\" is how many times \
         as fast as the NixOS test driver, pair by pair: on the same image, and on the one that the distribution \
         would start (\"stock\"). \"own\" is attest's own share: the wall time of its own \
         parts, and what its processes used of the processors meanwhile.\n",
        header.date,
        header.processor,
        header.processors,
        header.memory_mib,
        header.system,
        header.accelerator,
        header.kernel,
        versions.join("; "),
        header.rounds,
    )
}

/// How much is done in it.
fn counts(rows: &[&Row]) -> String {
    let counted = rows.iter().find_map(|row| row.counted);
    counted.map_or_else(String::new, |counted| {
        format!(
            "{} commands, {} waits, {} copies.\n\n",
            counted.commands, counted.waits, counted.copies
        )
    })
}

fn table(rows: &[&Row]) -> String {
    let mut text = "| | n | total | × | × stock |".to_owned();
    for part in Part::ALL {
        let _ = write!(text, " {} |", part.name());
    }
    text += " own |\n|---|--:|--:|--:|--:|";
    text += &"--:|".repeat(Part::ALL.len() + 1);
    text.push('\n');
    for row in rows {
        let _ = write!(
            text,
            "| {} | {} | {} | {} | {} |",
            row.variant,
            row.n,
            seconds(row.total_ms),
            faster(row),
            row.faster_than_stock.map_or_else(none, times)
        );
        for part in Part::ALL {
            let took = row.parts_ms.get(part.name());
            let cell = took.map_or_else(|| "–".to_owned(), |ms| format!("{:.2}", ms / 1e3));
            let _ = write!(text, " {cell} |");
        }
        let _ = writeln!(text, " {} |", own(row));
    }
    text
}

fn seconds(spread: Spread) -> String {
    let [median, min, max] = [spread.median, spread.min, spread.max].map(|ms| ms / 1e3);
    format!("**{median:.2}** ({min:.2}–{max:.2})")
}

fn faster(row: &Row) -> String {
    let Some(faster) = row.faster else {
        return none();
    };
    let target = row.target.map_or_else(String::new, |target| {
        let met = if faster.median >= target {
            "met"
        } else {
            "missed"
        };
        format!(", target {target}: {met}")
    });
    format!("{}{target}", times(faster))
}

fn times(ratio: Spread) -> String {
    let Spread { median, min, max } = ratio;
    format!("{median:.1} ({min:.1}–{max:.1})")
}

fn none() -> String {
    "–".to_owned()
}

fn own(row: &Row) -> String {
    let Some(own) = &row.own else {
        return "–".to_owned();
    };
    let met = if own.is_met() { "" } else { ", over" };
    let (ms, waited, percent) = (own.ms, own.waited_ms, own.percent);
    format!("{ms:.0} ms, {waited:.0} waited for ({percent:.1} %{met})")
}

fn notes(rows: &[&Row]) -> String {
    let mut text = String::new();
    for row in rows.iter().filter(|row| !row.notes.is_empty()) {
        let _ = write!(text, "\n{}: {}\n", row.variant, row.notes.join("; "));
    }
    text
}

fn skipped(results: &Results) -> String {
    if results.skipped.is_empty() {
        return String::new();
    }
    let mut text = "\n## Not run\n\n".to_owned();
    for skipped in &results.skipped {
        let (suite, variant, reason) = (skipped.suite, &skipped.variant, &skipped.reason);
        let _ = writeln!(text, "- {suite}, {variant}: {reason}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::header::Header;
    use super::super::results::{Nixos, Skipped, row, tests as sample};
    use super::super::suite::Image;
    use super::super::times::Counted;
    use super::super::variant::Variant;
    use super::*;

    #[test]
    fn a_document_says_all_of_it() {
        let nixos = sample::runs(Variant::Nixos(Image::Lean), &[30_000, 32_000, 31_000]);
        let stock = sample::runs(Variant::Nixos(Image::Stock), &[60_000, 62_000, 61_000]);
        let restored = sample::runs(sample::restored(), &[1000, 1100, 1200]);
        let all = [nixos, stock, restored];
        let mut rows: Vec<Row> = all
            .iter()
            .filter_map(|runs| row("policy-reload", runs, Nixos::among(&all)))
            .collect();
        rows[0].notes = vec!["on its own start scripts"];
        rows[2].counted = Some(Counted {
            commands: 70,
            waits: 8,
            copies: 0,
        });
        let results = Results {
            header: Header {
                date: "2026-11-28T00:00:00Z".to_owned(),
                processor: "A processor".to_owned(),
                processors: 2,
                memory_mib: 24_000,
                system: "A system".to_owned(),
                accelerator: "TCG".to_owned(),
                kernel: "6.1".to_owned(),
                versions: vec![("attest".to_owned(), "0.1.0".to_owned())],
                rounds: 3,
            },
            rows,
            skipped: vec![Skipped {
                suite: "policy-reload",
                variant: Variant::Peer("vmtest").to_string(),
                reason: "there is no `vmtest` on PATH".to_owned(),
            }],
            broken: Vec::new(),
        };
        insta::assert_snapshot!(markdown(&results));
    }
}

//! The table of what is kept.

use std::fmt::Write as _;

use attest::images::CacheEntry;
use attest_report::sanitize;

/// Digits of a key, at least: as many as git shows of a commit.
const SHORTEST: usize = 7;

/// A column, and on which side its cells are aligned.
#[derive(Debug, Clone, Copy)]
pub(in crate::command) enum Column {
    Left(&'static str),
    Right(&'static str),
}

impl Column {
    fn name(self) -> &'static str {
        match self {
            Self::Left(name) | Self::Right(name) => name,
        }
    }
}

/// The table; nothing where there is nothing.
pub(super) fn table(columns: &[Column], rows: &[Vec<String>]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let header: Vec<_> = columns
        .iter()
        .map(|column| column.name().to_owned())
        .collect();
    let rows = rows.iter().map(|row| row.iter().map(|cell| sanitize(cell)));
    let rows: Vec<Vec<_>> = rows.map(Iterator::collect).collect();
    let lines: Vec<_> = [header].into_iter().chain(rows).collect();
    let widths = (0..columns.len()).map(|column| {
        let widths = lines.iter().map(|line| line[column].chars().count());
        widths.max().unwrap_or_default()
    });
    let widths: Vec<_> = widths.collect();
    let faint = anstyle::Style::new().dimmed();
    let mut text = String::new();
    for (index, line) in lines.iter().enumerate() {
        let cells = columns.iter().zip(line).zip(&widths);
        let cells = cells.map(|((column, cell), width)| match column {
            Column::Left(_) => format!("{cell:<width$}"),
            Column::Right(_) => format!("{cell:>width$}"),
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        let line = line.trim_end();
        let _ = match index {
            0 => writeln!(text, "{faint}{line}{faint:#}"),
            _ => writeln!(text, "{line}"),
        };
    }
    text
}

/// The names of entries, as short as they can be.
pub(super) fn names(entries: &[CacheEntry]) -> Vec<String> {
    let digits = digits(entries);
    let short = |entry: &CacheEntry| {
        let key = entry.key();
        let cut = key.len().saturating_sub(digits);
        entry.name[..entry.name.len() - cut].to_owned()
    };
    entries.iter().map(short).collect()
}

/// How much of a key names its entry and no other. What is broken has a name of its own.
fn digits(entries: &[CacheEntry]) -> usize {
    let of = |is_broken: bool| {
        let entries = entries.iter().filter(|entry| entry.is_broken == is_broken);
        let mut keys: Vec<_> = entries.map(CacheEntry::key).collect();
        keys.sort_unstable();
        // What is in two places has one name.
        keys.dedup();
        let common = keys.windows(2).map(|pair| {
            let pairs = pair[0].bytes().zip(pair[1].bytes());
            pairs.take_while(|(one, other)| one == other).count() + 1
        });
        common.max().unwrap_or_default()
    };
    of(false).max(of(true)).max(SHORTEST)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn entry(name: &str, is_broken: bool) -> CacheEntry {
        CacheEntry {
            name: name.to_owned(),
            kind: String::new(),
            about: None,
            path: name.into(),
            bytes: 0,
            created: SystemTime::UNIX_EPOCH,
            used: SystemTime::UNIX_EPOCH,
            in_use: false,
            is_broken,
        }
    }

    #[test]
    fn cells_stand_below_each_other_and_are_harmless() {
        let columns = [
            Column::Left("NAME"),
            Column::Right("SIZE"),
            Column::Left("ABOUT"),
        ];
        let rows = [
            ["root-0123456", "2.4 MB", "debian: \u{1b}[2Jweb"],
            ["kernel-fedcba9", "37 GB", ""],
        ];
        let rows = rows.map(|row| row.map(str::to_owned).to_vec());
        let shown = anstream::adapter::strip_str(&table(&columns, &rows)).to_string();
        insta::assert_snapshot!(shown, @r"
        NAME              SIZE  ABOUT
        root-0123456    2.4 MB  debian: web
        kernel-fedcba9   37 GB
        ");
        assert_eq!(table(&columns, &[]), "");
    }

    #[test]
    fn entries_are_named_as_shortly_as_can_be() {
        let named = |entries: &[(&str, bool)]| {
            let entries: Vec<_> = entries
                .iter()
                .map(|(name, is_broken)| entry(name, *is_broken))
                .collect();
            names(&entries).join(" ")
        };
        let (one, alike, other) = (
            "root-0123456789abcdef0123456789abcdef",
            "root-0123456780abcdef0123456789abcdef",
            "kernel-fedcba98765432100123456789abcdef",
        );
        assert_eq!(
            named(&[(one, false), (other, false)]),
            "root-0123456 kernel-fedcba9"
        );
        assert_eq!(
            named(&[(one, false), (alike, false)]),
            "root-0123456789 root-0123456780"
        );
        // In two places, and once more broken.
        let broken = "root-broken-0123456789abcdef0123456789abcdef";
        assert_eq!(
            named(&[(one, false), (one, false), (broken, true)]),
            "root-0123456 root-0123456 root-broken-0123456"
        );
    }
}

//! The table of what is in the cache.

use std::fmt::Write as _;
use std::time::SystemTime;

use attest::images::CacheEntry;
use attest_report::sanitize;

use crate::human::{age, size};

/// Digits of a key, at least: as many as git shows of a commit.
const SHORTEST: usize = 7;

/// The table; nothing where there is nothing.
pub(super) fn table(entries: &[CacheEntry], now: SystemTime) -> String {
    if entries.is_empty() {
        return String::new();
    }
    let ago = |time| age(now.duration_since(time).unwrap_or_default());
    let digits = digits(entries);
    let header = ["NAME", "SIZE", "MADE", "USED", "ABOUT"].map(str::to_owned);
    let rows = entries.iter().map(|entry| {
        let key = entry.key();
        let used = if entry.in_use {
            "in use".to_owned()
        } else {
            ago(entry.used)
        };
        [
            format!("{}-{}", entry.kind, key.get(..digits).unwrap_or(key)),
            size(entry.bytes),
            ago(entry.created),
            used,
            sanitize(entry.about.as_deref().unwrap_or_default()),
        ]
    });
    let rows: Vec<_> = [header].into_iter().chain(rows).collect();
    let width = |column: usize| {
        let widths = rows.iter().map(|row| row[column].chars().count());
        widths.max().unwrap_or_default()
    };
    let widths = [0, 1, 2, 3].map(width);
    let faint = anstyle::Style::new().dimmed();
    let mut text = String::new();
    for (index, [name, size, made, used, about]) in rows.iter().enumerate() {
        let [first, second, third, fourth] = widths;
        let line =
            format!("{name:<first$}  {size:>second$}  {made:<third$}  {used:<fourth$}  {about}");
        let line = line.trim_end();
        let _ = match index {
            0 => writeln!(text, "{faint}{line}{faint:#}"),
            _ => writeln!(text, "{line}"),
        };
    }
    text
}

/// How much of a key names its entry and no other.
fn digits(entries: &[CacheEntry]) -> usize {
    let mut keys: Vec<_> = entries.iter().map(CacheEntry::key).collect();
    keys.sort_unstable();
    let common = keys.windows(2).map(|pair| {
        let pairs = pair[0].bytes().zip(pair[1].bytes());
        pairs.take_while(|(one, other)| one == other).count() + 1
    });
    common.max().unwrap_or_default().max(SHORTEST)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn entry(name: &str, minutes: u64, now: SystemTime) -> CacheEntry {
        let ago = now - Duration::from_mins(minutes);
        CacheEntry {
            name: name.to_owned(),
            kind: name.rsplit_once('-').unwrap().0.to_owned(),
            about: None,
            path: name.into(),
            bytes: minutes * 1_234_567,
            created: ago,
            used: ago,
            in_use: false,
        }
    }

    #[test]
    fn a_table_names_entries_as_shortly_as_it_can() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_hours(24 * 365);
        let mut entries = [
            entry("root-0123456789abcdef0123456789abcdef", 2, now),
            entry("kernel-fedcba98765432100123456789abcdef", 3000, now),
        ];
        entries[0].about = Some("debian: \u{1b}[2Jweb".to_owned());
        entries[0].in_use = true;
        let shown = anstream::adapter::strip_str(&table(&entries, now)).to_string();
        insta::assert_snapshot!(shown, @r"
        NAME              SIZE  MADE        USED        ABOUT
        root-0123456    2.4 MB  2 min ago   in use      debian: web
        kernel-fedcba9  3.7 GB  2 days ago  2 days ago
        ");
        let alike = [
            entry("root-0123456789abcdef0123456789abcdef", 2, now),
            entry("root-0123456780abcdef0123456789abcdef", 2, now),
        ];
        assert_eq!(digits(&alike), 10);
        assert_eq!(table(&[], now), "");
    }
}

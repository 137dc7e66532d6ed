//! `attest snapshot`: the labs that are kept as they were.

use std::time::SystemTime;

use attest::images::{CacheEntry, SnapshotError, SnapshotStore, about_lab};
use attest::manifest::Size;
use serde_json::Value;

use super::CommandResult;
use super::entries::{Column, Entries, Shown, Sort, used};
use crate::arguments::{Snapshot, SnapshotCommand, Verbosity};
use crate::failure::Failure;
use crate::human::{count, size};
use crate::progress::Shower;

pub(crate) fn run(arguments: &Snapshot, verbosity: &Verbosity) -> CommandResult {
    let store = attest::images::snapshots(arguments.cache.as_deref())?;
    if !verbosity.quiet {
        warn(&store);
    }
    let shower = Shower::new(verbosity);
    let entries = Entries {
        caches: store.caches(),
        sort: Snapshots,
        shown: Shown {
            format: arguments.format,
            is_quiet: verbosity.quiet,
        },
    };
    match &arguments.command {
        SnapshotCommand::Ls => entries.ls(),
        SnapshotCommand::Inspect(entry) => entries.inspect(entry),
        SnapshotCommand::Rm(chosen) => entries.rm(&chosen.names),
        SnapshotCommand::Gc(gc) => entries.gc(&gc.clearing, shower),
        SnapshotCommand::Verify(chosen) => entries.verify(&chosen.names, shower),
    }
}

/// Say what is not looked at. That there is no memory to keep files in is no mistake.
fn warn(store: &SnapshotStore) {
    let style = anstyle::AnsiColor::Yellow.on_default().bold();
    for error in store.unusable() {
        if !matches!(error, SnapshotError::NotInMemory { .. }) {
            let error = attest::chain(error);
            crate::terminal::tell(&format!("{style}warning{style:#}: {error}"));
        }
    }
}

/// Snapshots of labs.
struct Snapshots;

impl Sort for Snapshots {
    const COLUMNS: &'static [Column] = &[
        Column::Left("LAB"),
        Column::Left("POINT"),
        Column::Right("SIZE"),
        Column::Left("USED"),
        Column::Left("WHERE"),
    ];

    fn cells(&self, entry: &CacheEntry, now: SystemTime) -> Vec<String> {
        let about = about_lab(&entry.path).unwrap_or_default();
        let place = entry.path.parent().unwrap_or(&entry.path);
        vec![
            text(&about["lab"]),
            text(&about["point"]),
            size(entry.bytes),
            used(entry, now),
            place.display().to_string(),
        ]
    }

    fn lines(&self, entry: &CacheEntry) -> Result<Vec<(String, String)>, Failure> {
        Ok(match about_lab(&entry.path) {
            Some(about) => described(&about),
            None => vec![(
                "lab".to_owned(),
                "- (snapshot.json cannot be read)".to_owned(),
            )],
        })
    }

    fn object(&self, entry: &CacheEntry) -> Result<(&'static str, Value), Failure> {
        Ok(("snapshot", about_lab(&entry.path).unwrap_or_default()))
    }
}

/// What a snapshot says of itself: its machines, and what it was made of.
fn described(about: &Value) -> Vec<(String, String)> {
    let mut lines: Vec<_> = ["lab", "point"]
        .map(|what| (what.to_owned(), text(&about[what])))
        .into();
    let machines = about["machines"].as_array().into_iter().flatten();
    lines.extend(machines.map(|machine| ("machine".to_owned(), of_machine(machine))));
    let fields = about["fields"].as_object().into_iter().flatten();
    lines.extend(
        fields.map(|(name, value)| ("made of".to_owned(), format!("{name}: {}", text(value)))),
    );
    lines
}

fn of_machine(machine: &Value) -> String {
    let mut words = vec![text(&machine["name"])];
    if let Some(memory) = machine["memory"].as_u64() {
        words.push(format!("{} of memory", Size::from_bytes(memory)));
    }
    if let Some(vcpus) = machine["vcpus"].as_u64() {
        let vcpus = usize::try_from(vcpus).unwrap_or(usize::MAX);
        words.push(count(vcpus, "vCPU", "vCPUs"));
    }
    words.join(", ")
}

/// A value as a word: what is no string, as JSON.
fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_snapshot_says_what_it_is() {
        let shown = |about: &Value| {
            let lines = described(about).into_iter();
            let lines: Vec<_> = lines
                .map(|(what, value)| format!("{what}: {value}"))
                .collect();
            lines.join("\n")
        };
        let machines = json!([
            { "name": "server", "memory": 268_435_456, "vcpus": 1 },
            { "name": "client", "memory": 1 << 30, "vcpus": 2 },
            { "name": "odd" },
        ]);
        let about = json!({
            "lab": "web", "made": "2026-11-28T07:00:00Z", "point": "ready", "machines": machines,
            "fields": { "kernel": "6.1.0", "agent": 7 },
        });
        insta::assert_snapshot!(shown(&about), @r"
        lab: web
        point: ready
        machine: server, 256M of memory, 1 vCPU
        machine: client, 1G of memory, 2 vCPUs
        machine: odd
        made of: agent: 7
        made of: kernel: 6.1.0
        ");
        insta::assert_snapshot!(shown(&json!([])), @r"
        lab: -
        point: -
        ");
    }
}

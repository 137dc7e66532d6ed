//! What is kept in caches, shown and removed: one way for images and for snapshots.

mod table;

use std::cmp::Reverse;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use attest::events;
use attest::images::{CacheEntry, Caches, Damage, Damaged, Keep, SealedFile};
use attest::manifest::Size;
use attest_report::sanitize;
use serde_json::{Value, json};
pub(super) use table::Column;

use super::CommandResult;
use crate::arguments::{Clearing, EntryName, Format};
use crate::failure::Failure;
use crate::human::{age, count, size};
use crate::progress::Shower;
use crate::terminal;

/// What nobody used for so long goes, where nothing else is asked for.
const UNUSED_FOR: Duration = Duration::from_hours(30 * 24);

/// What entries of one sort say beyond what all do.
pub(super) trait Sort {
    /// The columns of the table behind the names.
    const COLUMNS: &'static [Column];

    /// Their cells.
    fn cells(&self, entry: &CacheEntry, now: SystemTime) -> Vec<String>;

    /// What it is: lines for people.
    fn lines(&self, entry: &CacheEntry) -> Result<Vec<(String, String)>, Failure>;

    /// The same for programs: a name, and the value that stands under it.
    fn object(&self, entry: &CacheEntry) -> Result<(&'static str, Value), Failure>;
}

/// What is kept, and how it is to be shown.
pub(super) struct Entries<S> {
    pub(super) caches: Caches,
    pub(super) sort: S,
    pub(super) shown: Shown,
}

/// In which form, and how much.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shown {
    pub(super) format: Format,
    pub(super) is_quiet: bool,
}

impl Shown {
    /// Print a text, or objects.
    pub(super) fn print(
        self,
        human: impl FnOnce() -> String,
        objects: impl Iterator<Item = Value>,
    ) -> Result<(), Failure> {
        let text = match self.format {
            Format::Human => human(),
            Format::Json => json_lines(objects),
        };
        terminal::print(text)
    }

    fn removed(self, entries: &[CacheEntry]) -> Result<(), Failure> {
        let human = || {
            let lines = entries.iter().filter(|_| !self.is_quiet).map(|entry| {
                let (name, size) = (&entry.name, size(entry.bytes));
                format!("removed {name}, {size}\n")
            });
            lines.collect()
        };
        self.print(human, entries.iter().map(as_json))
    }
}

impl<S: Sort> Entries<S> {
    pub(super) fn ls(&self) -> CommandResult {
        let mut entries = self.caches.ls()?;
        entries.sort_by_key(|entry| Reverse(entry.used));
        let human = || {
            let now = SystemTime::now();
            let names = table::names(&entries).into_iter();
            let rows = names.zip(&entries).map(|(name, entry)| {
                let mut row = vec![name];
                row.extend(self.sort.cells(entry, now));
                row
            });
            let columns = [&[Column::Left("NAME")], S::COLUMNS].concat();
            let mut text = table::table(&columns, &rows.collect::<Vec<_>>());
            if !self.shown.is_quiet {
                let _ = writeln!(text, "{} in {}", sum(&entries), self.places());
            }
            text
        };
        self.shown.print(human, entries.iter().map(as_json))?;
        Ok(ExitCode::SUCCESS)
    }

    pub(super) fn inspect(&self, name: &EntryName) -> CommandResult {
        let (entry, files) = self.caches.inspect(&name.name)?;
        let (lines, (key, value)) = (self.sort.lines(&entry)?, self.sort.object(&entry)?);
        let mut object = as_json(&entry);
        let described = files
            .iter()
            .map(|file| json!({ "name": file.name, "bytes": file.bytes, "blake3": file.digest }));
        object["files"] = described.collect();
        object[key] = value;
        let human = || inspected(&entry, &files, &lines);
        self.shown.print(human, [object].into_iter())?;
        Ok(ExitCode::SUCCESS)
    }

    pub(super) fn rm(&self, names: &[String]) -> CommandResult {
        for name in names {
            let entry = self.caches.rm(name)?;
            // Said at once: the next may fail.
            self.shown.removed(&[entry])?;
        }
        Ok(ExitCode::SUCCESS)
    }

    pub(super) fn gc(&self, clearing: &Clearing, mut shower: Shower) -> CommandResult {
        let bytes = clearing.max_size.map(Size::bytes);
        let unused_for = clearing.unused_for;
        let keep = Keep {
            unused_for: unused_for.or_else(|| bytes.is_none().then_some(UNUSED_FOR)),
            bytes,
            broken: false,
        };
        let removed = self.caches.gc(keep, &mut |step| shower.show(&step))?;
        drop(shower);
        self.shown.removed(&removed)?;
        let left = self.caches.ls()?;
        let human = || {
            let (removed, left) = (sum(&removed), sum(&left));
            format!("{removed} removed, {left} left in {}\n", self.places())
        };
        if !self.shown.is_quiet {
            self.shown.print(human, std::iter::empty())?;
        }
        Ok(ExitCode::SUCCESS)
    }

    pub(super) fn verify(&self, names: &[String], mut shower: Shower) -> CommandResult {
        let entries = match names {
            // What was set aside is known to be broken.
            [] => {
                let mut entries = self.caches.ls()?;
                entries.retain(|entry| !entry.is_broken);
                entries
            }
            names => {
                let chosen = names.iter().map(|name| Ok(self.caches.inspect(name)?.0));
                chosen.collect::<Result<_, Failure>>()?
            }
        };
        let damaged = self
            .caches
            .verify(&entries, &mut |step| shower.show(&step))?;
        drop(shower);
        let human = || match &damaged[..] {
            [] if self.shown.is_quiet => String::new(),
            [] => format!("{}: nothing is damaged\n", sum(&entries)),
            damaged => {
                let lines = damaged.iter().map(|damaged| sanitize(&damaged.to_string()));
                lines.map(|line| line + "\n").collect()
            }
        };
        self.shown
            .print(human, damaged.iter().map(damage_as_json))?;
        let code = if damaged.is_empty() {
            events::ExitCode::Passed
        } else {
            events::ExitCode::Infrastructure
        };
        Ok(ExitCode::from(code.code()))
    }

    fn places(&self) -> String {
        let places = self.caches.directories();
        let places: Vec<_> = places.map(|place| place.to_string_lossy()).collect();
        sanitize(&places.join(" and "))
    }
}

fn sum(entries: &[CacheEntry]) -> String {
    let bytes = entries.iter().map(|entry| entry.bytes).sum();
    let entries = count(entries.len(), "entry", "entries");
    format!("{entries}, {}", size(bytes))
}

/// How long ago it was used, for people.
pub(super) fn used(entry: &CacheEntry, now: SystemTime) -> String {
    if entry.in_use {
        "in use".to_owned()
    } else {
        ago(entry.used, now)
    }
}

pub(super) fn ago(time: SystemTime, now: SystemTime) -> String {
    age(now.duration_since(time).unwrap_or_default())
}

fn json_lines(objects: impl Iterator<Item = Value>) -> String {
    let mut text = String::new();
    for object in objects {
        let _ = writeln!(text, "{object}");
    }
    text
}

fn as_json(entry: &CacheEntry) -> Value {
    let time = |time: SystemTime| humantime::format_rfc3339_seconds(time).to_string();
    json!({
        "name": entry.name,
        "kind": entry.kind,
        "key": entry.key(),
        "about": entry.about,
        "path": entry.path,
        "bytes": entry.bytes,
        "created": time(entry.created),
        "used": time(entry.used),
        "in_use": entry.in_use,
        "broken": entry.is_broken,
    })
}

fn damage_as_json(damaged: &Damaged) -> Value {
    let damage = match damaged.damage {
        Damage::Changed => "changed",
        Damage::Missing => "missing",
        Damage::Truncated { .. } => "truncated",
    };
    json!({ "entry": damaged.entry, "file": damaged.file, "damage": damage })
}

fn inspected(entry: &CacheEntry, files: &[SealedFile], more: &[(String, String)]) -> String {
    let now = SystemTime::now();
    let when = |time: SystemTime| {
        let ago = ago(time, now);
        format!("{} ({ago})", humantime::format_rfc3339_seconds(time))
    };
    let yes = |is_so: bool| if is_so { "yes" } else { "no" }.to_owned();
    let about = entry.about.clone().unwrap_or_else(|| "-".to_owned());
    let mut lines = vec![
        ("name", entry.name.clone()),
        ("about", about),
        ("path", entry.path.display().to_string()),
        ("size", size(entry.bytes)),
        ("made", when(entry.created)),
        ("used", when(entry.used)),
        ("in use", yes(entry.in_use)),
    ];
    if entry.is_broken {
        lines.push(("broken", yes(true)));
    }
    lines.push(("files", files.len().to_string()));
    let mut text = String::new();
    for (what, value) in lines {
        let _ = writeln!(text, "{what:<11}{}", sanitize(&value));
    }
    let digest = |file: &SealedFile| sanitize(file.digest.as_deref().unwrap_or("-"));
    let digits = files.iter().map(|file| digest(file).chars().count());
    let digits = digits.max().unwrap_or_default();
    for file in files {
        let (name, digest) = (sanitize(&file.name), digest(file));
        let _ = writeln!(text, "  {digest:<digits$}  {:>7}  {name}", size(file.bytes));
    }
    for (what, value) in more {
        let _ = writeln!(text, "{:<11}{}", sanitize(what), sanitize(value));
    }
    text
}

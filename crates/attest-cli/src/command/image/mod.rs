//! `attest image`: what is in the cache.

mod list;

use std::fmt::Write as _;
use std::io::{Write as _, stdout};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use attest::events;
use attest::images::{Cache, CacheEntry, Damage, Keep, SealedFile};
use attest::manifest::Size;
use attest_report::sanitize;
use serde_json::json;

use super::CommandResult;
use crate::arguments::{Format, Image, ImageCommand, ImageGc, Verbosity};
use crate::failure::Failure;
use crate::human::{age, count, size};
use crate::progress::Shower;

/// What nobody used for so long goes, where nothing else is asked for.
const UNUSED_FOR: Duration = Duration::from_hours(30 * 24);

pub(crate) fn run(arguments: &Image, verbosity: &Verbosity) -> CommandResult {
    let cache = attest::images::cache(arguments.cache.as_deref())?;
    let mut shower = Shower::new(verbosity);
    let command = Command {
        cache,
        format: arguments.format,
        is_quiet: verbosity.quiet,
    };
    let (text, code) = match &arguments.command {
        ImageCommand::Ls => (command.ls()?, events::ExitCode::Passed),
        ImageCommand::Inspect(inspect) => {
            (command.inspect(&inspect.name)?, events::ExitCode::Passed)
        }
        ImageCommand::Rm(rm) => return command.rm(&rm.names),
        ImageCommand::Gc(gc) => (command.gc(gc, &mut shower)?, events::ExitCode::Passed),
        ImageCommand::Verify(verify) => command.verify(&verify.names, &mut shower)?,
    };
    drop(shower);
    print(&text)?;
    Ok(ExitCode::from(code.code()))
}

fn print(text: &str) -> Result<(), Failure> {
    // A reader that has seen enough is no error.
    match anstream::AutoStream::auto(stdout()).write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(
            Failure::infrastructure(format!("error: stdout cannot be written: {error}")),
        ),
        _ => Ok(()),
    }
}

struct Command {
    cache: Cache,
    format: Format,
    is_quiet: bool,
}

impl Command {
    fn ls(&self) -> Result<String, Failure> {
        let mut entries = self.cache.ls()?;
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.used));
        Ok(match self.format {
            Format::Json => json_lines(entries.iter().map(as_json)),
            Format::Human => {
                let mut text = list::table(&entries, SystemTime::now());
                if !self.is_quiet {
                    let _ = writeln!(text, "{} in {}", sum(&entries), self.place());
                }
                text
            }
        })
    }

    fn inspect(&self, name: &str) -> Result<String, Failure> {
        let (entry, files) = self.cache.inspect(name)?;
        Ok(match self.format {
            Format::Json => {
                let mut object = as_json(&entry);
                let files = files.iter().map(
                    |file| json!({ "name": file.name, "bytes": file.bytes, "blake3": file.digest }),
                );
                object["files"] = files.collect();
                json_lines([object].into_iter())
            }
            Format::Human => inspected(&entry, &files),
        })
    }

    fn rm(&self, names: &[String]) -> CommandResult {
        for name in names {
            let entry = self.cache.rm(name)?;
            // Said at once: the next may fail.
            print(&self.removed(&[entry]))?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn gc(&self, arguments: &ImageGc, shower: &mut Shower) -> Result<String, Failure> {
        let bytes = arguments.max_size.map(Size::bytes);
        let unused_for = arguments.unused_for;
        let keep = Keep {
            unused_for: unused_for.or_else(|| bytes.is_none().then_some(UNUSED_FOR)),
            bytes,
        };
        let removed = self.cache.gc(keep, &mut |step| shower.show(&step))?;
        let mut text = self.removed(&removed);
        if self.format == Format::Human && !self.is_quiet {
            let left = self.cache.ls()?;
            let (removed, left) = (sum(&removed), sum(&left));
            let _ = writeln!(text, "{removed} removed, {left} left in {}", self.place());
        }
        Ok(text)
    }

    fn verify(
        &self,
        names: &[String],
        shower: &mut Shower,
    ) -> Result<(String, events::ExitCode), Failure> {
        let chosen = names.iter().map(|name| Ok(self.cache.inspect(name)?.0));
        let entries = match names {
            [] => self.cache.ls()?,
            _ => chosen.collect::<Result<_, Failure>>()?,
        };
        let damaged = self
            .cache
            .verify(&entries, &mut |step| shower.show(&step))?;
        let mut text = String::new();
        match self.format {
            Format::Json => {
                let lines = damaged.iter().map(|damaged| {
                    let damage = match damaged.damage {
                        Damage::Changed => "changed",
                        Damage::Missing => "missing",
                    };
                    json!({ "entry": damaged.entry, "file": damaged.file, "damage": damage })
                });
                text = json_lines(lines);
            }
            Format::Human => {
                for damaged in &damaged {
                    let _ = writeln!(text, "{}", sanitize(&damaged.to_string()));
                }
                if damaged.is_empty() && !self.is_quiet {
                    let _ = writeln!(text, "{}: nothing is damaged", sum(&entries));
                }
            }
        }
        let code = if damaged.is_empty() {
            events::ExitCode::Passed
        } else {
            events::ExitCode::Infrastructure
        };
        Ok((text, code))
    }

    fn removed(&self, entries: &[CacheEntry]) -> String {
        match self.format {
            Format::Json => json_lines(entries.iter().map(as_json)),
            Format::Human if self.is_quiet => String::new(),
            Format::Human => {
                let lines = entries
                    .iter()
                    .map(|entry| format!("removed {}, {}\n", entry.name, size(entry.bytes)));
                lines.collect()
            }
        }
    }

    fn place(&self) -> String {
        sanitize(&self.cache.directory().to_string_lossy())
    }
}

fn sum(entries: &[CacheEntry]) -> String {
    let bytes = entries.iter().map(|entry| entry.bytes).sum();
    let entries = count(entries.len(), "entry", "entries");
    format!("{entries}, {}", size(bytes))
}

fn json_lines(objects: impl Iterator<Item = serde_json::Value>) -> String {
    let mut text = String::new();
    for object in objects {
        let _ = writeln!(text, "{object}");
    }
    text
}

fn as_json(entry: &CacheEntry) -> serde_json::Value {
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
    })
}

fn inspected(entry: &CacheEntry, files: &[SealedFile]) -> String {
    let when = |time: SystemTime| {
        let ago = SystemTime::now().duration_since(time).unwrap_or_default();
        let time = humantime::format_rfc3339_seconds(time);
        format!("{time} ({})", age(ago))
    };
    let in_use = if entry.in_use { "yes" } else { "no" };
    let lines = [
        ("name", entry.name.clone()),
        (
            "about",
            entry.about.clone().unwrap_or_else(|| "-".to_owned()),
        ),
        ("path", entry.path.display().to_string()),
        ("size", size(entry.bytes)),
        ("made", when(entry.created)),
        ("used", when(entry.used)),
        ("in use", in_use.to_owned()),
        ("files", files.len().to_string()),
    ];
    let mut text = String::new();
    for (what, value) in lines {
        let _ = writeln!(text, "{what:<8}{}", sanitize(&value));
    }
    for file in files {
        let name = sanitize(&file.name);
        let _ = writeln!(text, "  {}  {:>7}  {name}", file.digest, size(file.bytes));
    }
    text
}

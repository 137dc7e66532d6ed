//! `attest image`: what is in the cache, and what is written to files of its own.

mod export;

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

use attest::images::{Cache, CacheEntry, RootFacts};
use attest_report::sanitize;
use serde_json::{Value, json};

use super::CommandResult;
use super::entries::{Column, Entries, Shown, Sort, ago, used};
use crate::arguments::{Image, ImageBuild, ImageCommand, Verbosity};
use crate::failure::Failure;
use crate::human::{count, size};
use crate::progress::Shower;

pub(crate) fn run(arguments: &Image, verbosity: &Verbosity) -> CommandResult {
    let shower = Shower::new(verbosity);
    let shown = Shown {
        format: arguments.format,
        is_quiet: verbosity.quiet,
    };
    let cache = || attest::images::cache(arguments.cache.as_deref());
    let entries = || {
        Ok::<_, Failure>(Entries {
            caches: cache()?.into(),
            sort: Images,
            shown,
        })
    };
    match &arguments.command {
        ImageCommand::Build(arguments) => build(&cache()?, arguments, shown, shower),
        ImageCommand::Store(store) => export::store(store, shown, shower),
        ImageCommand::Initrd(initrd) => export::initrd(initrd),
        ImageCommand::Kernel(kernel) => export::kernel(kernel),
        ImageCommand::Ls => entries()?.ls(),
        ImageCommand::Inspect(entry) => entries()?.inspect(entry),
        ImageCommand::Rm(chosen) => entries()?.rm(&chosen.names),
        ImageCommand::Gc(gc) => entries()?.gc(&gc.clearing, shower),
        ImageCommand::Verify(chosen) => entries()?.verify(&chosen.names, shower),
    }
}

fn build(cache: &Cache, arguments: &ImageBuild, shown: Shown, mut shower: Shower) -> CommandResult {
    let (manifest, names) = (&arguments.manifest, &arguments.names);
    let ready = attest::images::build(cache, manifest, names, &mut |step| {
        shower.show(&step);
    })?;
    drop(shower);
    let human = || {
        let mut text = String::new();
        for image in ready.iter().filter(|_| !shown.is_quiet) {
            let place = image.entry().map_or("a disk that is ready", name_of);
            let (name, size) = (&image.name, size(image.bytes));
            let _ = writeln!(text, "{name}  {size}  {}", sanitize(place));
        }
        if ready.is_empty() && !shown.is_quiet {
            text.push_str("the manifest declares no images\n");
        }
        text
    };
    let objects = ready.iter().map(|image| {
        json!({ "image": image.name, "path": image.path, "bytes": image.bytes, "entry": image.entry().map(name_of) })
    });
    shown.print(human, objects)?;
    Ok(ExitCode::SUCCESS)
}

/// Of an entry's directory.
fn name_of(entry: &Path) -> &str {
    let name = entry.file_name().and_then(|name| name.to_str());
    name.unwrap_or_default()
}

/// Images, and what else is built.
struct Images;

impl Sort for Images {
    const COLUMNS: &'static [Column] = &[
        Column::Right("SIZE"),
        Column::Left("MADE"),
        Column::Left("USED"),
        Column::Left("ABOUT"),
    ];

    fn cells(&self, entry: &CacheEntry, now: SystemTime) -> Vec<String> {
        vec![
            size(entry.bytes),
            ago(entry.created, now),
            used(entry, now),
            entry.about.clone().unwrap_or_default(),
        ]
    }

    fn lines(&self, entry: &CacheEntry) -> Result<Vec<(String, String)>, Failure> {
        let facts = RootFacts::of_entry(&entry.path)?;
        Ok(facts.map(|facts| root(&facts)).unwrap_or_default())
    }

    fn object(&self, entry: &CacheEntry) -> Result<(&'static str, Value), Failure> {
        Ok(("root", json!(RootFacts::of_entry(&entry.path)?)))
    }
}

/// What a root says of itself.
fn root(facts: &RootFacts) -> Vec<(String, String)> {
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let nodes = usize::try_from(facts.nodes).unwrap_or(usize::MAX);
    let files = count(nodes, "file", "files");
    let lines = [
        ("system", or_none(&facts.system)),
        ("init", or_none(&facts.init)),
        ("holds", format!("{files}, {}", size(facts.bytes))),
        ("enabled", facts.enabled.join(" ")),
        ("masked", facts.masked.join(" ")),
        ("on demand", facts.on_demand.join(" ")),
    ];
    let lines = lines.into_iter().filter(|(_, value)| !value.is_empty());
    lines
        .map(|(what, value)| (what.to_owned(), value))
        .collect()
}

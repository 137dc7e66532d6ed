//! Where units are, and what their names mean.

use std::collections::BTreeSet;

use crate::tree::{Kind, Node, Tree};

/// Where a system has its units, the first of a name counts (systemd.unit(5)).
const LOAD_PATH: [&str; 4] = [
    super::CONFIGURATION,
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
];
/// What kinds there are.
const SUFFIXES: [&str; 11] = [
    "service",
    "socket",
    "device",
    "mount",
    "automount",
    "swap",
    "target",
    "path",
    "timer",
    "slice",
    "scope",
];
/// Aliases on the way to one unit.
const MOST_ALIASES: usize = 8;

/// A unit that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::customize) struct Found {
    /// Its own name, not an alias; with the instance.
    pub(in crate::customize) unit: String,
    /// Absolute path of its file.
    pub(in crate::customize) path: String,
}

/// A name with a suffix: `.service` when it has none.
pub(in crate::customize) fn with_suffix(unit: &str) -> String {
    let suffix = unit.rsplit_once('.').map(|(_, suffix)| suffix);
    match suffix {
        Some(suffix) if SUFFIXES.contains(&suffix) => unit.to_owned(),
        _ => format!("{unit}.service"),
    }
}

/// A unit by its name or an alias; a masked one is not there.
pub(in crate::customize) fn find(tree: &Tree, unit: &str) -> Option<Found> {
    let mut unit = unit.to_owned();
    for _ in 0..MOST_ALIASES {
        match look(tree, &unit)? {
            Look::File(path) => return Some(Found { unit, path }),
            Look::Alias(other) => unit = other,
            Look::Masked => return None,
        }
    }
    None
}

/// Whether a system has a unit of this name, or has masked it.
pub(in crate::customize) fn is_known(tree: &Tree, unit: &str) -> bool {
    matches!(look(tree, unit), Some(Look::Masked)) || find(tree, unit).is_some()
}

/// The name of a unit that this name is an alias of; the name itself where it is none.
pub(in crate::customize) fn real_name(tree: &Tree, unit: &str) -> Option<String> {
    find(tree, unit).map(|found| found.unit)
}

/// The names of all units.
pub(in crate::customize) fn known(tree: &Tree) -> BTreeSet<String> {
    let directories = LOAD_PATH
        .into_iter()
        .filter_map(|path| tree.get(path)?.entries());
    let names = directories.flat_map(crate::tree::Entries::iter);
    let names = names.filter_map(|(name, _)| std::str::from_utf8(name).ok());
    let units = names.filter(|name| {
        let suffix = name.rsplit_once('.').map(|(_, suffix)| suffix);
        suffix.is_some_and(|suffix| SUFFIXES.contains(&suffix))
    });
    units.map(str::to_owned).collect()
}

enum Look {
    File(String),
    Alias(String),
    /// The system's own of this name does not count.
    Masked,
}

fn look(tree: &Tree, unit: &str) -> Option<Look> {
    if let Some(found) = look_for(tree, unit, unit) {
        return Some(found);
    }
    let (template, instance) = template_of(unit)?;
    let found = look_for(tree, &template, unit)?;
    Some(match found {
        // An alias of a template has the same instances.
        Look::Alias(other) => Look::Alias(instantiate(&other, instance)),
        other => other,
    })
}

fn look_for(tree: &Tree, file: &str, unit: &str) -> Option<Look> {
    LOAD_PATH.into_iter().find_map(|directory| {
        let path = format!("{directory}/{file}");
        let there = tree.node(tree.find(&path).ok()??);
        match &there.kind {
            Kind::File(_) => Some(Look::File(format!("/{path}"))),
            Kind::Symlink(target) => {
                let target = std::str::from_utf8(target).ok()?;
                let name = target.rsplit('/').next()?;
                let is_own = name == file || name == unit;
                let is_there = tree
                    .get(&path)
                    .is_some_and(|node| node.contents().is_some());
                match is_own {
                    true if is_there => Some(Look::File(format!("/{path}"))),
                    true => None,
                    false if target == super::NOTHING => Some(Look::Masked),
                    false => Some(Look::Alias(name.to_owned())),
                }
            }
            _ => None,
        }
    })
}

/// `x@.service` and `y` of `x@y.service`.
fn template_of(unit: &str) -> Option<(String, &str)> {
    let (prefix, rest) = unit.split_once('@')?;
    let (instance, suffix) = rest.rsplit_once('.')?;
    (!instance.is_empty()).then(|| (format!("{prefix}@.{suffix}"), instance))
}

fn instantiate(template: &str, instance: &str) -> String {
    match template.split_once("@.") {
        Some((prefix, suffix)) => format!("{prefix}@{instance}.{suffix}"),
        None => template.to_owned(),
    }
}

impl Found {
    /// Whether it is a template without an instance.
    pub(super) fn is_template(&self) -> bool {
        self.unit.contains("@.")
    }

    /// The instance of a template.
    pub(super) fn instantiated(&self, instance: &str) -> Self {
        Self {
            unit: instantiate(&self.unit, instance),
            path: self.path.clone(),
        }
    }

    /// The file of drop-ins: of the unit, and of its template.
    pub(super) fn drop_ins(&self, tree: &Tree) -> Vec<Node> {
        let template = template_of(&self.unit).map(|(template, _)| template);
        let names = template.into_iter().chain([self.unit.clone()]);
        let directories = names.flat_map(|name| {
            // The first place counts, so it comes last.
            let places = LOAD_PATH.into_iter().rev();
            places.map(move |place| format!("{place}/{name}.d"))
        });
        let nodes = directories.flat_map(|directory| {
            let entries = tree.get(&directory).and_then(Node::entries).into_iter();
            let names = entries.flat_map(crate::tree::Entries::iter);
            let names = names.filter(|(name, _)| name.ends_with(b".conf"));
            let paths = names.map(|(name, _)| [directory.as_bytes(), b"/", name].concat());
            paths
                .filter_map(|path| tree.get(path).cloned())
                .collect::<Vec<_>>()
        });
        nodes.collect()
    }

    /// The specifiers that `[Install]` knows (systemd.unit(5)) in terms of the unit's name.
    pub(super) fn expand(&self, text: &str) -> String {
        let (stem, _) = self.unit.rsplit_once('.').unwrap_or((&self.unit, ""));
        let (prefix, instance) = stem.split_once('@').unwrap_or((stem, ""));
        let last = prefix.rsplit('-').next().unwrap_or_default();
        let mut expanded = String::with_capacity(text.len());
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            if character != '%' {
                expanded.push(character);
                continue;
            }
            match characters.next() {
                Some('n') => expanded.push_str(&self.unit),
                Some('N') => expanded.push_str(stem),
                Some('p') => expanded.push_str(prefix),
                Some('i') => expanded.push_str(instance),
                Some('j') => expanded.push_str(last),
                Some('%') => expanded.push('%'),
                other => {
                    expanded.push('%');
                    expanded.extend(other);
                }
            }
        }
        expanded
    }
}

//! Units of systemd, enabled, disabled and masked as `systemctl --root` does it: by links below
//! `/etc/systemd/system` (systemd.unit(5), systemctl(1)).

mod find;
mod install;

use std::collections::BTreeSet;

use super::CustomizeError;
use super::error::Near;
use crate::root::Units;
use crate::tree::{Kind, Node, Tree};

pub(super) use find::{Found, find, is_known, known, real_name, with_suffix};
use install::Install;

/// Where links are made.
const CONFIGURATION: &str = "etc/systemd/system";
/// What a masked unit is a link to.
pub(super) const NOTHING: &str = "/dev/null";
/// Ends of directories whose links start units, by the key of `[Install]`.
const DEPENDENCIES: [&str; 3] = ["wants", "requires", "upholds"];

/// Disable units, enable others, and mask others. Gives all that was enabled, with what came
/// along by `Also=`.
///
/// A unit is found by an alias too, and what masks one that is to be enabled is removed.
///
/// # Errors
/// Units that are not there, that cannot be enabled, or that are to be two things.
pub fn apply(tree: &mut Tree, units: &Units) -> Result<Vec<String>, CustomizeError> {
    contradiction(&units.enable, &units.disable, "disabled")?;
    contradiction(&units.enable, &units.mask, "masked")?;
    for unit in &units.disable {
        disable(tree, &with_suffix(unit))?;
    }
    let mut enabled = BTreeSet::new();
    for unit in &units.enable {
        enable(tree, &with_suffix(unit), &mut enabled)?;
    }
    for unit in &units.mask {
        let unit = with_suffix(unit);
        check_maskable(tree, &unit)?;
        if let Some(real) = real_name(tree, &unit)
            && real != unit
        {
            mask(tree, &real)?;
        }
        mask(tree, &unit)?;
    }
    Ok(enabled.into_iter().collect())
}

/// Let a unit never start.
pub(super) fn mask(tree: &mut Tree, unit: &str) -> Result<(), CustomizeError> {
    tree.insert(format!("{CONFIGURATION}/{unit}"), Node::symlink(NOTHING))?;
    Ok(())
}

/// Let what starts a unit at boot not start it; others still may.
pub(super) fn mask_start(tree: &mut Tree, unit: &str, starter: &str) -> Result<(), CustomizeError> {
    let place = format!("{CONFIGURATION}/{starter}.wants/{unit}");
    tree.insert(place, Node::symlink(NOTHING))?;
    Ok(())
}

fn contradiction(
    enable: &[String],
    others: &[String],
    other: &'static str,
) -> Result<(), CustomizeError> {
    let enable: Vec<String> = enable.iter().map(|unit| with_suffix(unit)).collect();
    let mut others = others.iter().map(|unit| with_suffix(unit));
    match others.find(|unit| enable.contains(unit)) {
        Some(unit) => Err(CustomizeError::Contradiction { unit, other }),
        None => Ok(()),
    }
}

fn missing(tree: &Tree, unit: &str) -> CustomizeError {
    let known = known(tree);
    CustomizeError::NoUnit {
        unit: unit.to_owned(),
        near: Near::of(unit, known.iter().map(String::as_str)),
    }
}

/// What generators make at each boot need not be there now.
fn check_maskable(tree: &Tree, unit: &str) -> Result<(), CustomizeError> {
    let of_generators = [
        ".mount",
        ".automount",
        ".swap",
        ".device",
        ".slice",
        ".scope",
    ];
    let script = unit.strip_suffix(".service").unwrap_or_default();
    let is_script = !script.is_empty() && tree.get(format!("etc/init.d/{script}")).is_some();
    let is_masked = tree.find(format!("{CONFIGURATION}/{unit}"))?.is_some();
    let may_come = of_generators.iter().any(|suffix| unit.ends_with(suffix));
    if may_come || is_script || is_masked || find(tree, unit).is_some() {
        Ok(())
    } else {
        Err(missing(tree, unit))
    }
}

fn enable(
    tree: &mut Tree,
    unit: &str,
    enabled: &mut BTreeSet<String>,
) -> Result<(), CustomizeError> {
    unmask(tree, unit)?;
    let found = find(tree, unit).ok_or_else(|| missing(tree, unit))?;
    let install = Install::of(tree, &found)?;
    let mut left = vec![(found, install)];
    while let Some((found, install)) = left.pop() {
        if !enabled.insert(found.unit.clone()) {
            continue;
        }
        link(tree, &found, &install)?;
        for also in install.also.iter().map(|also| found.expand(also)) {
            unmask(tree, &also)?;
            // What comes along may be static, or of a package that is not there.
            if let Some(found) = find(tree, &also) {
                let install = Install::of(tree, &found)?;
                left.push((found, install));
            }
        }
    }
    Ok(())
}

fn unmask(tree: &mut Tree, unit: &str) -> Result<(), CustomizeError> {
    let place = format!("{CONFIGURATION}/{unit}");
    let there = tree.find(&place)?.map(|id| &tree.node(id).kind);
    let is_masked = matches!(there, Some(Kind::Symlink(target)) if **target == *NOTHING.as_bytes());
    if is_masked {
        tree.remove(&place)?;
    }
    Ok(())
}

/// Make the links of one unit.
fn link(tree: &mut Tree, found: &Found, install: &Install) -> Result<(), CustomizeError> {
    // systemctl gives a template without an instance its default one.
    let found = match (&install.default_instance, found.is_template()) {
        (Some(instance), true) => &found.instantiated(instance),
        (None, true) if install.is_started() => {
            return Err(CustomizeError::Template {
                unit: found.unit.clone(),
            });
        }
        _ => found,
    };
    let starts_itself = super::lean::may_stay(&found.unit);
    if !install.is_something() && !starts_itself {
        return Err(CustomizeError::Static {
            unit: found.unit.clone(),
        });
    }
    let target = Node::symlink(&found.path);
    for alias in install.alias.iter().map(|alias| found.expand(alias)) {
        if alias != found.unit {
            tree.insert(format!("{CONFIGURATION}/{alias}"), target.clone())?;
        }
    }
    for (dependency, starters) in DEPENDENCIES.into_iter().zip(&install.starters) {
        for starter in starters.iter().map(|starter| found.expand(starter)) {
            let place = format!("{CONFIGURATION}/{starter}.{dependency}/{}", found.unit);
            tree.insert(place, target.clone())?;
        }
    }
    Ok(())
}

/// Remove the links that start a unit, and those that are its aliases.
fn disable(tree: &mut Tree, unit: &str) -> Result<(), CustomizeError> {
    let found = find(tree, unit);
    let mut names = BTreeSet::from([unit.to_owned()]);
    if let Some(found) = &found {
        let install = Install::of(tree, found)?;
        names.insert(found.unit.clone());
        names.extend(install.also.iter().map(|also| found.expand(also)));
    }
    let links = links(tree);
    let of_unit = |name: &str| {
        // All instances of a template that is named without one.
        let template = name.split_once('@').map(|(prefix, rest)| {
            let suffix = rest.rsplit_once('.').map_or("", |(_, suffix)| suffix);
            format!("{prefix}@.{suffix}")
        });
        names.contains(name) || template.is_some_and(|template| names.contains(&template))
    };
    let mut removed = false;
    for Link { path, name, target } in links {
        let is_starter = path.contains('/');
        // A link of the same name at the top is the unit itself, from elsewhere.
        if (is_starter && of_unit(&name)) || (!is_starter && name != target && of_unit(&target)) {
            removed |= tree.remove(format!("{CONFIGURATION}/{path}"))?;
        }
    }
    if found.is_none() && !removed {
        return Err(missing(tree, unit));
    }
    Ok(())
}

/// A link of the configuration.
struct Link {
    /// Below the configuration.
    path: String,
    /// Its last part.
    name: String,
    /// The last part of what it leads to.
    target: String,
}

fn links(tree: &Tree) -> Vec<Link> {
    let mut links = Vec::new();
    let mut directories = vec![String::new()];
    while let Some(below) = directories.pop() {
        let entries = tree.get(format!("{CONFIGURATION}/{below}"));
        let entries = entries.and_then(Node::entries).into_iter();
        for (name, id) in entries.flat_map(crate::tree::Entries::iter) {
            let Ok(name) = std::str::from_utf8(name) else {
                continue;
            };
            match &tree.node(id).kind {
                Kind::Symlink(target) => {
                    let target = String::from_utf8_lossy(target);
                    links.push(Link {
                        path: format!("{below}{name}"),
                        name: name.to_owned(),
                        target: target.rsplit('/').next().unwrap_or_default().to_owned(),
                    });
                }
                Kind::Directory(_) if below.is_empty() => {
                    let starts = DEPENDENCIES
                        .iter()
                        .any(|end| name.ends_with(&format!(".{end}")));
                    directories.extend(starts.then(|| format!("{name}/")));
                }
                _ => {}
            }
        }
    }
    links
}

#[cfg(test)]
mod tests;

//! A system that Nix built: the output of a configuration's top-level derivation with all that it
//! needs. That is what a `closureInfo` lists, or what is found by looking for references, as Nix
//! itself found it once; Nix and its database need not be there.

mod error;
mod scan;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path};

pub use error::NixError;

use super::directory;
use crate::error::ImageError;
use crate::progress::Step;
use crate::tree::{Node, Tree, shown};
use scan::Names;

/// Where every system has its store, and paths in files begin.
pub const STORE: &str = "/nix/store";

/// Symbolic links on the way to the store, as many as Linux follows (path_resolution(7)).
const MOST_LINKS: usize = 40;
/// Bytes of a list of paths, or of what Nix knows of them.
const MOST_LIST: u64 = 256 * 1024 * 1024;

/// Directories that a NixOS expects or makes where it could not on a root that is read-only, with
/// their modes: those of `stage-2-init.sh`, and those that systemd-nspawn wants to see.
const DIRECTORIES: [(&str, u16); 14] = [
    ("bin", 0o755),
    ("dev", 0o755),
    ("etc", 0o755),
    ("home", 0o755),
    ("mnt", 0o755),
    ("nix/var/nix/gcroots", 0o755),
    ("nix/var/nix/profiles", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("usr/bin", 0o755),
    ("var", 0o755),
];

/// A system that Nix built.
#[derive(Debug, Clone)]
pub struct NixSystem {
    /// Its root: the store with what it needs, and the directories that it expects.
    pub tree: Tree,
    /// What is to be started, an absolute path in the tree.
    pub init: String,
    /// How many paths of the store it is.
    pub paths: usize,
}

/// The system of a path that leads to its top-level in a store (as the link `result` does), or of
/// a directory that `closureInfo` made. `store` is where the paths lie that begin with
/// [`STORE`]: the same, but for stores that are somewhere else. `progress` hears how far it is.
///
/// Contents are read when they are needed, and may not change until then. Everything is root's,
/// whoever owns the store. What Nix knows of the paths (`registration` of a `closureInfo`) is put
/// at `/nix-path-registration`, where a NixOS may load it from.
///
/// # Errors
/// The path is no system, or something that it needs is missing or cannot be read.
pub fn nix(
    path: &Path,
    store: &Path,
    progress: &mut dyn FnMut(Step),
) -> Result<NixSystem, ImageError> {
    let failed = |source| ImageError::Nix {
        path: path.to_owned(),
        source,
    };
    let closure = if path.join("store-paths").is_file() {
        listed(path)?
    } else {
        let top = name_in(path, store).ok_or_else(|| NixError::NotInStore {
            store: store.to_owned(),
        });
        scanned(top.map_err(failed)?, store, progress).map_err(|error| match error {
            Failed::Nix(source) => failed(source),
            Failed::Image(error) => error,
        })?
    };
    closure.check(store).map_err(failed)?;
    let mut system = closure.system(store)?;
    let registration = path.join("registration");
    if closure.is_listed && registration.is_file() {
        let text = list(&registration)?;
        put(
            &mut system.tree,
            "nix-path-registration",
            Node::file(0o444, text),
        )?;
    }
    Ok(system)
}

/// The paths of a system.
struct Closure {
    /// The name of the system's own.
    top: String,
    names: BTreeSet<String>,
    is_listed: bool,
}

impl Closure {
    fn check(&self, store: &Path) -> Result<(), NixError> {
        let gone = |name: &&String| store.join(name).symlink_metadata().is_err();
        if let Some(name) = self.names.iter().find(gone) {
            return Err(NixError::Missing {
                name: name.clone(),
                store: store.to_owned(),
            });
        }
        is_system(&self.top, store)
    }

    fn system(&self, store: &Path) -> Result<NixSystem, ImageError> {
        let mut tree = Tree::new();
        for (path, mode) in DIRECTORIES {
            put(&mut tree, path, Node::directory(mode))?;
        }
        let names = self.names.iter().map(String::as_str);
        let mut tree = directory::named(tree, store, STORE, names)?;
        let top = format!("{STORE}/{}", self.top);
        let init = format!("{top}/init");
        // Where everyone else looks for it.
        put(&mut tree, "sbin/init", Node::symlink(&init))?;
        let release = format!("{top}/etc/os-release");
        if tree.get(&release).is_some() {
            put(&mut tree, "etc/os-release", Node::symlink(release))?;
        }
        let paths = self.names.len();
        Ok(NixSystem { tree, init, paths })
    }
}

fn put(tree: &mut Tree, path: &str, node: Node) -> Result<(), ImageError> {
    tree.insert(path, node)?;
    Ok(())
}

/// Its init may be a link that leads nowhere here, for the store is somewhere else.
fn is_system(name: &str, store: &Path) -> Result<(), NixError> {
    let there = store.join(name);
    if there.symlink_metadata().is_err() {
        return Err(NixError::Missing {
            name: name.to_owned(),
            store: store.to_owned(),
        });
    }
    if there.join("init").symlink_metadata().is_err() {
        return Err(NixError::NotASystem {
            name: name.to_owned(),
        });
    }
    Ok(())
}

/// The closure that a directory of `closureInfo` lists.
fn listed(path: &Path) -> Result<Closure, ImageError> {
    let failed = |source| ImageError::Nix {
        path: path.to_owned(),
        source,
    };
    let bytes = list(&path.join("store-paths"))?;
    let text = String::from_utf8_lossy(&bytes);
    let lines = text.lines().filter(|line| !line.is_empty());
    let names = lines.map(|line| {
        let name = line
            .strip_prefix(STORE)
            .and_then(|rest| rest.strip_prefix('/'));
        let name = name.filter(|name| is_name(name));
        name.map(str::to_owned).ok_or_else(|| NixError::Line {
            line: shown(line.as_bytes()),
        })
    });
    let names = names.collect::<Result<BTreeSet<_>, _>>().map_err(failed)?;
    let systems = names.iter().filter(|name| name.contains("-nixos-system-"));
    let mut systems: Vec<_> = systems.cloned().collect();
    match (systems.pop(), systems.is_empty()) {
        (Some(top), true) => Ok(Closure {
            top,
            names,
            is_listed: true,
        }),
        (last, _) => {
            systems.extend(last);
            Err(failed(NixError::Systems { names: systems }))
        }
    }
}

fn list(path: &Path) -> Result<Vec<u8>, ImageError> {
    let read = directory::file(path)?.read(MOST_LIST);
    read.map_err(ImageError::file(path, "it cannot be read"))
}

enum Failed {
    Nix(NixError),
    Image(ImageError),
}

/// The closure that references give.
fn scanned(top: String, store: &Path, progress: &mut dyn FnMut(Step)) -> Result<Closure, Failed> {
    let known = Names::of(store).map_err(ImageError::file(store, "the store cannot be read"));
    let known = known.map_err(Failed::Image)?;
    // Said before gigabytes are read.
    is_system(&top, store).map_err(Failed::Nix)?;
    let mut names = BTreeSet::from([top.clone()]);
    let mut left = vec![top.clone()];
    while let Some(name) = left.pop() {
        progress(Step::new(format!(
            "looking for what {top} needs: {} paths",
            names.len()
        )));
        let references = known.references(&store.join(name));
        let references = references.map_err(|(path, error)| {
            Failed::Image(ImageError::file(&path, "it cannot be read")(error))
        })?;
        for reference in references {
            if names.insert(reference.to_owned()) {
                left.push(reference.to_owned());
            }
        }
    }
    Ok(Closure {
        top,
        names,
        is_listed: false,
    })
}

/// The name in the store that a path leads to, which may be a link, or begin with [`STORE`]
/// though the store is somewhere else.
fn name_in(path: &Path, store: &Path) -> Option<String> {
    let mut path = std::path::absolute(path).ok()?;
    for _ in 0..MOST_LINKS {
        let below = path
            .strip_prefix(store)
            .or_else(|_| path.strip_prefix(STORE));
        if let Ok(below) = below {
            return only_name(below);
        }
        match fs::read_link(&path) {
            Ok(target) => path = path.parent()?.join(target),
            Err(_) => break,
        }
    }
    // A link in the middle of the way.
    let (path, store) = (path.canonicalize().ok()?, store.canonicalize().ok()?);
    only_name(path.strip_prefix(store).ok()?)
}

fn only_name(below: &Path) -> Option<String> {
    let mut parts = below.components();
    match (parts.next()?, parts.next()) {
        (Component::Normal(name), None) => {
            let name = name.to_str()?;
            is_name(name).then(|| name.to_owned())
        }
        _ => None,
    }
}

fn is_name(name: &str) -> bool {
    scan::hash(name).is_some() && !name.contains('/')
}

#[cfg(test)]
mod tests;

//! A system that Nix built: the output of a configuration's top-level derivation with all that it
//! needs. That is what a `closureInfo` lists, or what is found by looking for references, as Nix
//! itself found it once; Nix and its database need not be there.

mod error;
mod graph;
mod scan;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

pub use error::NixError;

use super::directory;
use crate::error::ImageError;
use crate::progress::Step;
use crate::tree::{Node, Tree};
use scan::Names;

/// Where every system has its store, and paths in files begin.
pub const STORE: &str = "/nix/store";

/// What tells a path of a store from all others, on any host: what is there never changes, so that its name is enough.
/// Nothing for other paths.
pub fn in_store(path: &Path) -> Option<blake3::Hash> {
    let is_there = path.starts_with(STORE);
    is_there.then(|| blake3::hash(path.as_os_str().as_encoded_bytes()))
}

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

/// Where a NixOS may load from what Nix knows of its paths.
const REGISTRATION: &str = "nix-path-registration";

/// A store that systems share.
#[derive(Debug, Clone)]
pub struct NixStore {
    /// Their root.
    pub tree: Tree,
    /// How many paths of the store it has.
    pub paths: usize,
}

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
    if closure.is_listed
        && let Some(text) = registration(path)?
    {
        put(&mut system.tree, REGISTRATION, Node::file(0o444, text))?;
    }
    Ok(system)
}

/// The root of any number of systems: a store with what all of them need, once, and the directories that
/// they expect. A closure is what `closureInfo` made, or a file in which Nix itself lists one: a graph of
/// `exportReferencesGraph`, or the JSON of structured attributes with such a graph in it. `store` is where the
/// paths lie. Which of the systems is started, says who starts a machine.
///
/// # Errors
/// A closure cannot be read, or something in it is not in the store.
pub fn nix_store(closures: &[PathBuf], store: &Path) -> Result<NixStore, ImageError> {
    let mut names = BTreeSet::new();
    let mut known = Vec::new();
    for path in closures {
        let failed = |source| ImageError::Nix {
            path: path.clone(),
            source,
        };
        let bytes = match path.join("store-paths") {
            listed if listed.is_file() => list(&listed)?,
            _ => list(path)?,
        };
        let listed = graph::names(&bytes).map_err(failed)?;
        is_there(&listed, store).map_err(failed)?;
        names.extend(listed);
        let of_file = registration(path)?.or_else(|| graph::registration(&bytes));
        known.extend(of_file.unwrap_or_default());
    }
    let mut tree = root(&names, store)?;
    if !known.is_empty() {
        put(&mut tree, REGISTRATION, Node::file(0o444, known))?;
    }
    let paths = names.len();
    Ok(NixStore { tree, paths })
}

/// What Nix knows of the paths of a `closureInfo`.
fn registration(closure: &Path) -> Result<Option<Vec<u8>>, ImageError> {
    let path = closure.join("registration");
    path.is_file().then(|| list(&path)).transpose()
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
        is_there(&self.names, store)?;
        is_system(&self.top, store)
    }

    fn system(&self, store: &Path) -> Result<NixSystem, ImageError> {
        let mut tree = root(&self.names, store)?;
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

/// The paths of these names in a store, and the directories that systems expect.
fn root(names: &BTreeSet<String>, store: &Path) -> Result<Tree, ImageError> {
    let mut tree = Tree::new();
    for (path, mode) in DIRECTORIES {
        put(&mut tree, path, Node::directory(mode))?;
    }
    let names = names.iter().map(String::as_str);
    directory::named(tree, store, STORE, names)
}

fn is_there(names: &BTreeSet<String>, store: &Path) -> Result<(), NixError> {
    let gone = |name: &&String| store.join(name).symlink_metadata().is_err();
    match names.iter().find(gone) {
        Some(name) => Err(NixError::Missing {
            name: name.clone(),
            store: store.to_owned(),
        }),
        None => Ok(()),
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
    let names = graph::names(&bytes).map_err(failed)?;
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

//! Which kernel modules to load, in which order: the closure of what is wanted in `modules.dep`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::ImageError;

/// What can go wrong with the modules of a kernel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ModuleError {
    /// Neither a module nor built in.
    #[error("it has no module `{0}`, and it is not built in either; use another kernel (--kernel)")]
    Missing(String),
    /// A module that needs itself.
    #[error("its modules.dep says that `{0}` needs itself")]
    Cycle(String),
    /// A module file of a form that this program cannot pack.
    #[error("its module `{0}` is compressed in an unknown way")]
    Compression(String),
}

/// Paths of module files relative to the kernel's module directory, dependencies first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModulePlan {
    /// In the order of loading.
    pub files: Vec<String>,
}

/// `-` and `_` are the same in module names, and a file's name ends at its first dot.
fn name_of(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split('.').next().unwrap_or(file).replace('-', "_")
}

/// The modules to load for `wanted`, from the texts of `modules.dep` and `modules.builtin`.
/// What is built in needs no loading.
///
/// # Errors
/// A wanted or needed module that does not exist, or a cycle.
pub fn plan_modules(dep: &str, builtin: &str, wanted: &[&str]) -> Result<ModulePlan, ModuleError> {
    let builtin: HashSet<String> = builtin.lines().map(|line| name_of(line.trim())).collect();
    let mut known = HashMap::new();
    for line in dep.lines() {
        if let Some((path, needs)) = line.split_once(':') {
            known.insert(name_of(path), (path, needs.split_whitespace().map(name_of).collect::<Vec<_>>()));
        }
    }
    let mut planner = Planner { builtin, known, done: HashSet::new(), doing: Vec::new(), files: Vec::new() };
    for module in wanted {
        planner.add(&name_of(module))?;
    }
    Ok(ModulePlan { files: planner.files })
}

/// A `modules.dep` for the uncompressed modules below a directory, from what each says of itself
/// (`depends=` in its `.modinfo`), as `depmod` makes it when a kernel is installed.
///
/// # Errors
/// A file that cannot be read.
pub(crate) fn index(directory: &Path) -> Result<String, ImageError> {
    let mut files = Vec::new();
    walk(directory, &mut files)?;
    files.sort();
    let mut modules = BTreeMap::new();
    for path in files {
        let bytes = fs::read(&path).map_err(ImageError::file(&path, "the module cannot be read"))?;
        let relative = path.strip_prefix(directory).unwrap_or(&path).to_string_lossy().into_owned();
        modules.insert(name_of(&relative), (relative, depends(&bytes)));
    }
    let mut text = String::new();
    for (path, needs) in modules.values() {
        text.push_str(path);
        text.push(':');
        for (needed, _) in needs.iter().filter_map(|name| modules.get(name)) {
            text.push(' ');
            text.push_str(needed);
        }
        text.push('\n');
    }
    Ok(text)
}

fn walk(directory: &Path, files: &mut Vec<PathBuf>) -> Result<(), ImageError> {
    let failed = || ImageError::file(directory, "the modules cannot be listed");
    for entry in fs::read_dir(directory).map_err(failed())? {
        let entry = entry.map_err(failed())?;
        if entry.file_type().map_err(failed())?.is_dir() {
            walk(&entry.path(), files)?;
        } else if entry.path().extension().is_some_and(|extension| extension == "ko") {
            files.push(entry.path());
        }
    }
    Ok(())
}

/// The names after `depends=` among a module's strings.
fn depends(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|window| window == KEY) else { return Vec::new() };
    let names = module[at + KEY.len()..].split(|byte| *byte == 0).next().unwrap_or_default();
    let names = String::from_utf8_lossy(names);
    names.split(',').filter(|name| !name.is_empty()).map(name_of).collect()
}

struct Planner<'a> {
    builtin: HashSet<String>,
    known: HashMap<String, (&'a str, Vec<String>)>,
    done: HashSet<String>,
    doing: Vec<String>,
    files: Vec<String>,
}

impl Planner<'_> {
    fn add(&mut self, name: &str) -> Result<(), ModuleError> {
        if self.builtin.contains(name) || self.done.contains(name) {
            return Ok(());
        }
        if self.doing.iter().any(|doing| doing == name) {
            return Err(ModuleError::Cycle(name.to_owned()));
        }
        let (path, needs) = self.known.get(name).cloned().ok_or_else(|| ModuleError::Missing(name.to_owned()))?;
        self.doing.push(name.to_owned());
        for needed in needs {
            self.add(&needed)?;
        }
        self.doing.pop();
        self.done.insert(name.to_owned());
        self.files.push(path.to_owned());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DEP: &str = "\
kernel/drivers/virtio/virtio.ko:
kernel/drivers/virtio/virtio_ring.ko: kernel/drivers/virtio/virtio.ko
kernel/drivers/net/virtio-net.ko.xz: kernel/net/core/failover.ko kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko
kernel/net/core/failover.ko:
kernel/a.ko: kernel/b.ko
kernel/b.ko: kernel/a.ko
";

    #[test]
    fn dependencies_come_first_and_once() {
        let plan = plan_modules(DEP, "kernel/net/core/failover.ko\n", &["virtio_net", "virtio"]).unwrap();
        assert_eq!(
            plan.files,
            [
                "kernel/drivers/virtio/virtio.ko",
                "kernel/drivers/virtio/virtio_ring.ko",
                "kernel/drivers/net/virtio-net.ko.xz",
            ]
        );
    }

    #[test]
    fn an_index_is_made_of_what_modules_say() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("kernel")).unwrap();
        let write = |name: &str, text: &[u8]| fs::write(directory.path().join("kernel").join(name), text).unwrap();
        write("b-x.ko", b"ELF...\0license=GPL\0depends=\0name=b_x\0");
        write("a.ko", b"ELF...\0license=GPL\0depends=b-x,built_in\0name=a\0");
        assert_eq!(index(directory.path()).unwrap(), "kernel/a.ko: kernel/b-x.ko\nkernel/b-x.ko:\n");
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        assert_eq!(plan_modules(DEP, "", &["nope"]), Err(ModuleError::Missing("nope".to_owned())));
        assert_eq!(plan_modules(DEP, "", &["a"]), Err(ModuleError::Cycle("a".to_owned())));
    }

    proptest! {
        /// For any graph without cycles: every dependency is loaded before its dependents.
        #[test]
        fn every_order_is_right(edges in prop::collection::vec((0_usize..30, 0_usize..30), 0..120)) {
            let mut text = String::new();
            for module in 0..30 {
                text.push_str(&format!("m{module}.ko:"));
                for (from, to) in &edges {
                    if *from == module && to < from {
                        text.push_str(&format!(" m{to}.ko"));
                    }
                }
                text.push('\n');
            }
            let plan = plan_modules(&text, "", &["m29", "m15", "m3"]).unwrap();
            let position = |module: usize| plan.files.iter().position(|file| *file == format!("m{module}.ko"));
            for (from, to) in edges.iter().filter(|(from, to)| to < from) {
                if let Some(at) = position(*from) {
                    prop_assert!(position(*to).unwrap() < at);
                }
            }
        }
    }
}

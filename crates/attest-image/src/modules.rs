//! Which kernel modules to load, in which order: the closure of what is wanted in `modules.dep`.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;

use crate::error::ImageError;
use crate::module_lists::ModuleLists;
use crate::packing::Packing;

/// Largest module that is unpacked; those of graphics cards have 20 MB and more.
const LARGEST: usize = 256 * 1024 * 1024;

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
}

/// Paths of module files relative to the kernel's module directory, dependencies first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModulePlan {
    /// In the order of loading.
    pub files: Vec<String>,
}

/// `-` and `_` are the same in module names, and a file's name ends at its first dot.
pub(crate) fn name_of(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split('.').next().unwrap_or(file).replace('-', "_")
}

/// The modules to load for `wanted`, and what they need, before them; what they only want goes before them where it is
/// there. What is built in needs no loading.
///
/// # Errors
/// A wanted or needed module that does not exist, or a cycle of needs.
pub fn plan_modules(lists: &ModuleLists, wanted: &[&str]) -> Result<ModulePlan, ModuleError> {
    let mut planner = Planner {
        builtin: lists
            .builtin
            .lines()
            .map(|line| name_of(line.trim()))
            .collect(),
        known: lists.needs(),
        wants: lists.wants(),
        seen: HashMap::new(),
        files: Vec::new(),
    };
    for module in wanted {
        planner.add(&name_of(module))?;
    }
    Ok(ModulePlan {
        files: planner.files,
    })
}

/// A module's plain bytes. Unpacked here and not by the guest: that costs the guest time, and
/// needs a kernel that can (`CONFIG_MODULE_DECOMPRESS`).
pub(crate) fn load(path: &Path) -> Result<Vec<u8>, ImageError> {
    let bytes = fs::read(path).map_err(ImageError::file(path, "the module cannot be read"))?;
    let Some(packing) = Packing::of(&bytes) else {
        return Ok(bytes);
    };
    packing
        .unpack(&bytes, LARGEST)
        .map_err(|_| ImageError::ModuleFile {
            path: path.to_owned(),
        })
}

/// The path of a module without what says how it is packed.
pub(crate) fn plain_name(file: &str) -> &str {
    [".gz", ".xz", ".zst"]
        .iter()
        .find_map(|ending| file.strip_suffix(ending))
        .unwrap_or(file)
}

/// The devices that a module drives, as patterns for their `modalias`, and its file systems as
/// `fs-NAME`. None for a module of neither kind: its aliases, if any, name ciphers.
pub(crate) fn drives(module: &[u8]) -> Vec<String> {
    let mut patterns = said(module, b"\0alias=");
    patterns.retain(|pattern| pattern.contains(':') || pattern.starts_with("fs-"));
    patterns
}

/// The values of a key among a module's strings (its `.modinfo`).
pub(crate) fn said(module: &[u8], key: &[u8]) -> Vec<String> {
    let values = memchr::memmem::find_iter(module, key).map(|at| {
        let rest = &module[at + key.len()..];
        let value = rest.split(|byte| *byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(value).into_owned()
    });
    values.collect()
}

/// Goes through what is needed depth first. Its stack is its own: a long chain in a file may not
/// overflow the thread's.
struct Planner<'a> {
    builtin: HashSet<String>,
    known: HashMap<String, (&'a str, Vec<String>)>,
    /// What each should have before it, but does without.
    wants: HashMap<String, Vec<String>>,
    /// `false` while what it needs is gone through.
    seen: HashMap<String, bool>,
    files: Vec<String>,
}

/// What is left to do for a module.
enum Task {
    Enter(String),
    Leave(String),
}

impl Planner<'_> {
    fn add(&mut self, wanted: &str) -> Result<(), ModuleError> {
        let mut tasks = vec![Task::Enter(wanted.to_owned())];
        while let Some(task) = tasks.pop() {
            match task {
                Task::Enter(name) => self.enter(name, &mut tasks)?,
                Task::Leave(name) => {
                    self.files.push(self.known[&name].0.to_owned());
                    self.seen.insert(name, true);
                }
            }
        }
        Ok(())
    }

    fn enter(&mut self, name: String, tasks: &mut Vec<Task>) -> Result<(), ModuleError> {
        if self.builtin.contains(&name) {
            return Ok(());
        }
        match self.seen.get(&name) {
            Some(true) => return Ok(()),
            Some(false) => return Err(ModuleError::Cycle(name)),
            None => {}
        }
        let Some((_, needs)) = self.known.get(&name) else {
            return Err(ModuleError::Missing(name));
        };
        self.seen.insert(name.clone(), false);
        let wants = self.wants.get(&name).into_iter().flatten();
        // One that is gone through already wants this one in turn: either may be first.
        let wants =
            wants.filter(|name| self.known.contains_key(*name) && !self.seen.contains_key(*name));
        let both: Vec<&String> = wants.chain(needs).collect();
        tasks.push(Task::Leave(name));
        tasks.extend(both.into_iter().rev().cloned().map(Task::Enter));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use proptest::prelude::*;

    use super::*;
    use crate::packing::tests::{gzip, xz, zstd};

    const DEP: &str = "\
kernel/drivers/virtio/virtio.ko:
kernel/drivers/virtio/virtio_ring.ko: kernel/drivers/virtio/virtio.ko
kernel/drivers/net/virtio-net.ko.xz: kernel/net/core/failover.ko kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko
kernel/net/core/failover.ko:
kernel/a.ko: kernel/b.ko
kernel/b.ko: kernel/a.ko
";

    fn lists(dependencies: &str) -> ModuleLists {
        ModuleLists {
            dependencies: dependencies.to_owned(),
            ..ModuleLists::default()
        }
    }

    #[test]
    fn what_is_only_wanted_comes_first_where_it_is_there() {
        let lists = ModuleLists {
            soft: "softdep libcrc32c pre: crc32c nowhere post: erofs\nsoftdep crc32c_generic pre: libcrc32c\n"
                .to_owned(),
            aliases: "alias crc32c crc32c_generic\nalias crc32c crc32c_intel\nalias cpu:type:x86* crc32c_intel\n"
                .to_owned(),
            ..lists("erofs.ko: libcrc32c.ko\nlibcrc32c.ko:\ncrc32c_generic.ko:\ncrc32c_intel.ko:\n")
        };
        let plan = plan_modules(&lists, &["erofs"]).unwrap();
        assert_eq!(
            plan.files,
            ["crc32c_generic.ko", "libcrc32c.ko", "erofs.ko"]
        );
        let plan = plan_modules(&lists, &["crc32c_generic"]).unwrap();
        assert_eq!(plan.files, ["libcrc32c.ko", "crc32c_generic.ko"]);
    }

    #[test]
    fn dependencies_come_first_and_once() {
        let lists = ModuleLists {
            builtin: "kernel/net/core/failover.ko\n".to_owned(),
            ..lists(DEP)
        };
        let plan = plan_modules(&lists, &["virtio_net", "virtio"]).unwrap();
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
    fn modules_are_unpacked_whatever_packed_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.ko");
        for bytes in [
            b"\x7fELF".to_vec(),
            gzip(b"\x7fELF"),
            xz(b"\x7fELF"),
            zstd(b"\x7fELF"),
        ] {
            fs::write(&path, &bytes).unwrap();
            assert_eq!(load(&path).unwrap(), b"\x7fELF");
        }
        fs::write(&path, &xz(b"\x7fELF")[..20]).unwrap();
        assert!(load(&path).unwrap_err().to_string().contains("a.ko"));
    }

    #[test]
    fn a_long_chain_is_no_danger() {
        let mut text = "m0.ko:\n".to_owned();
        for module in 1..200_000 {
            writeln!(text, "m{module}.ko: m{}.ko", module - 1).unwrap();
        }
        let plan = plan_modules(&lists(&text), &["m199999"]).unwrap();
        assert_eq!(plan.files.len(), 200_000);
        assert_eq!(plan.files[0], "m0.ko");
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        assert_eq!(
            plan_modules(&lists(DEP), &["nope"]),
            Err(ModuleError::Missing("nope".to_owned()))
        );
        assert_eq!(
            plan_modules(&lists(DEP), &["a"]),
            Err(ModuleError::Cycle("a".to_owned()))
        );
    }

    proptest! {
        /// For any graph without cycles: every dependency is loaded before its dependents.
        #[test]
        fn every_order_is_right(edges in prop::collection::vec((0_usize..30, 0_usize..30), 0..120)) {
            let mut text = String::new();
            for module in 0..30 {
                write!(text, "m{module}.ko:").unwrap();
                for (from, to) in &edges {
                    if *from == module && to < from {
                        write!(text, " m{to}.ko").unwrap();
                    }
                }
                text.push('\n');
            }
            let plan = plan_modules(&lists(&text), &["m29", "m15", "m3"]).unwrap();
            let position = |module: usize| plan.files.iter().position(|file| *file == format!("m{module}.ko"));
            for (from, to) in edges.iter().filter(|(from, to)| to < from) {
                if let Some(at) = position(*from) {
                    prop_assert!(position(*to).unwrap() < at);
                }
            }
        }
    }
}

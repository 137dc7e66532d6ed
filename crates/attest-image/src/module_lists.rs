//! What there is of modules, and what each needs: as `depmod` writes it when a kernel is installed, or made of what the
//! modules say of themselves.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::ImageError;
use crate::modules::{load, name_of, plain_name, said};

const DEPENDENCIES: &str = "modules.dep";
const SOFT: &str = "modules.softdep";
const ALIASES: &str = "modules.alias";
const BUILTIN: &str = "modules.builtin";

/// The texts of the files that `depmod` writes, in its own form (modules.dep(5)).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModuleLists {
    /// `modules.dep`: the files, each with what it needs.
    pub dependencies: String,
    /// `modules.softdep`: what modules want before and after them, by name or alias. Ciphers and checksums are asked
    /// for by what they do and so are never needed by name: a file system that has them as modules does not load
    /// without.
    pub soft: String,
    /// `modules.alias`.
    pub aliases: String,
    /// `modules.builtin`, which comes with the kernel.
    pub builtin: String,
}

impl ModuleLists {
    /// Those of a directory with modules; made, where it has no `modules.dep`.
    ///
    /// # Errors
    /// One cannot be read, or a module cannot.
    pub(crate) fn read(directory: &Path) -> Result<Self, ImageError> {
        // Old kernels have no such file.
        let builtin = read(&directory.join(BUILTIN))?.unwrap_or_default();
        let Some(dependencies) = read(&directory.join(DEPENDENCIES))? else {
            let made = Self::made_of(directory)?;
            return Ok(Self { builtin, ..made });
        };
        Ok(Self {
            dependencies,
            soft: read(&directory.join(SOFT))?.unwrap_or_default(),
            aliases: read(&directory.join(ALIASES))?.unwrap_or_default(),
            builtin,
        })
    }

    /// Of what each module below a directory says of itself (its `.modinfo`).
    ///
    /// # Errors
    /// A file that cannot be read or unpacked.
    fn made_of(directory: &Path) -> Result<Self, ImageError> {
        let mut files = Vec::new();
        walk(directory, &mut files)?;
        files.sort();
        let mut modules = BTreeMap::new();
        for path in files {
            let bytes = load(&path)?;
            let relative = path.strip_prefix(directory).unwrap_or(&path);
            let relative = relative.to_string_lossy().into_owned();
            modules.insert(name_of(&relative), Module::of(relative, &bytes));
        }
        let mut lists = Self::default();
        for (name, module) in &modules {
            let _ = write!(lists.dependencies, "{}:", module.file);
            for needed in module.needs.iter().filter_map(|name| modules.get(name)) {
                let _ = write!(lists.dependencies, " {}", needed.file);
            }
            lists.dependencies.push('\n');
            for soft in &module.soft {
                let _ = writeln!(lists.soft, "softdep {name} {soft}");
            }
            for alias in &module.aliases {
                let _ = writeln!(lists.aliases, "alias {alias} {name}");
            }
        }
        Ok(lists)
    }

    /// Make them where they are missing, as a package's installation does.
    ///
    /// # Errors
    /// As of [`ModuleLists::made_of`], and they cannot be written.
    pub(crate) fn write_missing(directory: &Path) -> Result<(), ImageError> {
        if directory.join(DEPENDENCIES).exists() {
            return Ok(());
        }
        let lists = Self::made_of(directory)?;
        // That which says that they are there comes last.
        let files = [
            (SOFT, lists.soft),
            (ALIASES, lists.aliases),
            (DEPENDENCIES, lists.dependencies),
        ];
        for (name, text) in files {
            let path = directory.join(name);
            fs::write(&path, text).map_err(ImageError::file(&path, "it cannot be written"))?;
        }
        Ok(())
    }

    /// By their names: the file of each, and what it needs.
    pub(crate) fn needs(&self) -> HashMap<String, (&str, Vec<String>)> {
        let lines = self.dependencies.lines();
        let modules = lines.filter_map(|line| line.split_once(':'));
        modules
            .map(|(path, needs)| {
                let needs = needs.split_whitespace().map(name_of).collect();
                (name_of(path), (path, needs))
            })
            .collect()
    }

    /// By their names: what each wants before it.
    pub(crate) fn wants(&self) -> HashMap<String, Vec<String>> {
        let aliases = self.plain_aliases();
        let mut wants: HashMap<String, Vec<String>> = HashMap::new();
        for line in self.soft.lines() {
            let Some((name, rest)) = line
                .strip_prefix("softdep ")
                .and_then(|line| line.split_once(' '))
            else {
                continue;
            };
            let of_it = wants.entry(name_of(name)).or_default();
            for word in before(rest) {
                of_it.push(name_of(word));
                of_it.extend(aliases.get(word).into_iter().flatten().cloned());
            }
        }
        wants
    }

    /// Modules by their aliases that are plain words. Those for some processors only are left out: others refuse them.
    fn plain_aliases(&self) -> HashMap<&str, Vec<String>> {
        let lines = self.aliases.lines();
        let pairs: Vec<(&str, &str)> = lines
            .filter_map(|line| line.strip_prefix("alias ")?.rsplit_once(' '))
            .collect();
        let of_processors: HashSet<&str> = pairs
            .iter()
            .filter(|(alias, _)| alias.starts_with("cpu:"))
            .map(|(_, name)| *name)
            .collect();
        let mut aliases: HashMap<&str, Vec<String>> = HashMap::new();
        for (alias, name) in pairs {
            if !of_processors.contains(name) && !alias.contains([':', '*']) {
                aliases.entry(alias).or_default().push(name_of(name));
            }
        }
        aliases
    }
}

/// The words after `pre:`.
fn before(soft: &str) -> impl Iterator<Item = &str> {
    let mut is_before = false;
    soft.split_whitespace().filter(move |word| {
        match *word {
            "pre:" => is_before = true,
            "post:" => is_before = false,
            _ => return is_before,
        }
        false
    })
}

/// What a module says of itself.
struct Module {
    file: String,
    needs: Vec<String>,
    soft: Vec<String>,
    aliases: Vec<String>,
}

impl Module {
    fn of(file: String, bytes: &[u8]) -> Self {
        let needs = said(bytes, b"\0depends=");
        let names = needs.iter().flat_map(|names| names.split(','));
        Self {
            file,
            needs: names.filter(|name| !name.is_empty()).map(name_of).collect(),
            soft: said(bytes, b"\0softdep="),
            aliases: said(bytes, b"\0alias="),
        }
    }
}

/// `None` where there is no such file.
fn read(path: &Path) -> Result<Option<String>, ImageError> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        text => text
            .map(Some)
            .map_err(ImageError::file(path, "it cannot be read")),
    }
}

fn walk(directory: &Path, files: &mut Vec<PathBuf>) -> Result<(), ImageError> {
    let failed = || ImageError::file(directory, "the modules cannot be listed");
    for entry in fs::read_dir(directory).map_err(failed())? {
        let entry = entry.map_err(failed())?;
        // Links are not followed: `build` and `source` lead to the kernel's sources.
        if entry.file_type().map_err(failed())?.is_dir() {
            walk(&entry.path(), files)?;
        } else if is_module(&entry.path()) {
            files.push(entry.path());
        }
    }
    Ok(())
}

fn is_module(path: &Path) -> bool {
    Path::new(plain_name(&path.to_string_lossy())).extension() == Some("ko".as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packing::tests::xz;

    #[test]
    fn lists_are_made_of_what_modules_say() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("kernel")).unwrap();
        let write = |name: &str, text: &[u8]| {
            fs::write(directory.path().join("kernel").join(name), text).unwrap();
        };
        let packed = xz(b"ELF...\0depends=a\0name=c\0");
        write("c.ko.xz", &packed);
        write(
            "b-x.ko",
            b"ELF...\0license=GPL\0depends=\0alias=sum\0name=b_x\0",
        );
        write(
            "a.ko",
            b"ELF...\0license=GPL\0softdep=pre: sum\0depends=b-x,built_in\0name=a\0",
        );
        let lists = ModuleLists {
            dependencies:
                "kernel/a.ko: kernel/b-x.ko\nkernel/b-x.ko:\nkernel/c.ko.xz: kernel/a.ko\n"
                    .to_owned(),
            soft: "softdep a pre: sum\n".to_owned(),
            aliases: "alias sum b_x\n".to_owned(),
            builtin: String::new(),
        };
        assert_eq!(ModuleLists::read(directory.path()).unwrap(), lists);
        ModuleLists::write_missing(directory.path()).unwrap();
        assert_eq!(ModuleLists::read(directory.path()).unwrap(), lists);
        assert_eq!(lists.wants()["a"], ["sum", "b_x"]);
    }
}

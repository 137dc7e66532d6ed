//! What is where in the built-in guest.

use std::borrow::Cow;
use std::path::Path;

use super::program::Programs;
use super::{BareOptions, GuestFile};
use crate::error::ImageError;
use crate::kernel::Kernel;
use crate::module_lists::ModuleLists;
use crate::modules::{self, ModuleError, ModulePlan, plan_modules};
use crate::packing::Packing;
use crate::tree::{Node, Tree};

/// Where the agent reads which modules to load.
const MODULE_LIST: &str = "lib/attest/modules";

/// Bytes of a plain agent: twenty times what it has, so that a damaged one cannot take all memory.
const MOST_AGENT: usize = 64 * 1024 * 1024;

/// Empty directories, with their permissions.
const DIRECTORIES: [(&str, u16); 8] = [
    ("dev", 0o755),
    ("home/user", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("var", 0o755),
];

/// Small files. Shells of users are busybox's: bash takes three times as long to start.
const FILES: [(&str, &str); 5] = [
    (
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\n\
         user:x:1000:1000:user:/home/user:/bin/sh\n\
         nobody:x:65534:65534:nobody:/:/bin/false\n",
    ),
    ("etc/group", "root:x:0:\nuser:x:1000:\nnogroup:x:65534:\n"),
    ("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
    (
        "etc/os-release",
        "ID=attest\nNAME=attest\nPRETTY_NAME=\"attest bare guest\"\n",
    ),
    ("etc/shells", "/bin/sh\n/bin/ash\n/bin/bash\n"),
];

/// Nothing to do: without one, busybox would ask for a console.
const INITTAB: &str = "::sysinit:/bin/true\n";

/// The plain user of `etc/passwd`.
const USER: u32 = 1000;

/// A guest that is a system of its own.
pub(super) fn tree(
    kernel: &Kernel,
    options: &BareOptions<'_>,
    programs: &Programs,
) -> Result<Tree, ImageError> {
    let mut tree = first_steps(kernel, options)?;
    add_system(&mut tree, options, programs)?;
    Ok(tree)
}

/// The same for containers, which bring the agent and need no modules: with busybox as the init.
pub(super) fn container(
    options: &BareOptions<'_>,
    programs: &Programs,
) -> Result<Tree, ImageError> {
    let mut tree = Tree::new();
    tree.insert("etc/inittab", Node::file(0o644, INITTAB))?;
    add_system(&mut tree, options, programs)?;
    Ok(tree)
}

fn add_system(
    tree: &mut Tree,
    options: &BareOptions<'_>,
    programs: &Programs,
) -> Result<(), ImageError> {
    for (directory, mode) in DIRECTORIES {
        tree.insert(directory, Node::directory(mode))?;
    }
    tree.insert("home/user", Node::directory(0o755).owned(USER, USER))?;
    for (path, text) in FILES {
        tree.insert(path, Node::file(0o644, text))?;
    }
    tree.insert("bin/busybox", Node::file(0o755, programs.busybox()?))?;
    if let Some(bash) = programs.bash()? {
        tree.insert("bin/bash", Node::file(0o755, bash))?;
    }
    for applet in programs.applets()? {
        if tree.find(&applet)?.is_none() {
            tree.insert(&applet, Node::symlink("/bin/busybox"))?;
        }
    }
    for file in options.files {
        add_file(tree, file)?;
    }
    Ok(())
}

/// What it takes to find a root and to mount it: the agent, and modules.
pub(crate) fn first_steps(kernel: &Kernel, options: &BareOptions<'_>) -> Result<Tree, ImageError> {
    let mut tree = Tree::new();
    // The kernel opens the console before there is a /dev.
    tree.insert("dev/console", Node::character(0o600, 5, 1))?;
    tree.insert("dev/null", Node::character(0o666, 1, 3))?;
    let agent = plain_agent(options.agent)?.into_owned();
    tree.insert("init", Node::file(0o755, agent))?;
    add_modules(&mut tree, kernel, options.modules, options.optional)?;
    Ok(tree)
}

/// Adds the modules, and the list of them: for each that is wanted a line with the files to load
/// in order, a tab, and patterns of what it is for. A guest loads what it has a device for, and
/// file systems as they are mounted: each module costs an emulated one up to 15 ms.
fn add_modules(
    tree: &mut Tree,
    kernel: &Kernel,
    wanted: &[&str],
    optional: &[&str],
) -> Result<(), ImageError> {
    let mut list = String::new();
    // Without any, all that is wanted must be built in, which nothing but booting can tell.
    if let Some(directory) = &kernel.modules {
        for plan in plans(kernel, directory, wanted, optional)? {
            let mut devices = Vec::new();
            let mut places = Vec::new();
            for file in &plan.files {
                let module = modules::load(&directory.join(file))?;
                // The last is the one that is wanted.
                devices = modules::drives(&module);
                let place = format!(
                    "lib/modules/{}/{}",
                    kernel.release,
                    modules::plain_name(file)
                );
                places.push(format!("/{place}"));
                if tree.find(&place)?.is_none() {
                    tree.insert(&place, Node::file(0o644, module))?;
                }
            }
            if !places.is_empty() {
                list.extend([&places.join(" "), "\t", &devices.join(" "), "\n"]);
            }
        }
    }
    tree.insert(MODULE_LIST, Node::file(0o644, list))?;
    Ok(())
}

fn plans(
    kernel: &Kernel,
    directory: &Path,
    wanted: &[&str],
    optional: &[&str],
) -> Result<Vec<ModulePlan>, ImageError> {
    let lists = ModuleLists::read(directory)?;
    let failed = |source| ImageError::Modules {
        release: kernel.release.clone(),
        source,
    };
    let plan = |module: &&str| plan_modules(&lists, &[module]);
    let wanted = wanted.iter().map(plan);
    let optional = optional.iter().map(plan);
    wanted
        .chain(optional.filter(|plan| !matches!(plan, Err(ModuleError::Missing(_)))))
        .map(|plan| plan.map_err(failed))
        .collect()
}

fn add_file(tree: &mut Tree, file: &GuestFile) -> Result<(), ImageError> {
    let refused = |reason| ImageError::GuestPath {
        path: file.path.clone(),
        reason,
    };
    let path = file
        .path
        .strip_prefix('/')
        .ok_or_else(|| refused("it is not absolute"))?;
    if path.contains('\0') || path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(refused("it has empty parts, `.` or `..`"));
    }
    if path == "init" {
        return Err(refused("that is the agent's place"));
    }
    if u32::try_from(file.contents.len()).is_err() {
        return Err(refused("an initramfs holds no file of 4 GiB"));
    }
    // Of 32 bits; the upper say what it is.
    let mode = (file.mode & 0o7777) as u16;
    tree.insert(path, Node::file(mode, file.contents.as_slice()))?;
    Ok(())
}

/// The agent's plain bytes, of what may be compressed with gzip, LZ4, xz or zstd.
///
/// # Errors
/// It does not decompress.
pub fn plain_agent(bytes: &[u8]) -> Result<Cow<'_, [u8]>, ImageError> {
    let Some(packing) = Packing::of(bytes) else {
        return Ok(bytes.into());
    };
    let plain = packing.unpack(bytes, MOST_AGENT);
    plain.map(Cow::from).map_err(|_| ImageError::Program {
        program: "attest-agent".to_owned(),
        reason: "it does not decompress; build attest again".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn kernel(modules: &Path) -> Kernel {
        Kernel {
            image: modules.join("vmlinuz"),
            modules: Some(modules.to_owned()),
            release: "6.1".to_owned(),
            origin: String::new(),
        }
    }

    #[test]
    fn a_kernel_without_a_driver_is_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("modules.dep"), "kernel/virtio.ko:\n").unwrap();
        let mut tree = Tree::new();
        let kernel = kernel(directory.path());
        let error = add_modules(&mut tree, &kernel, &["virtio_net"], &[]).unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(
            error.to_string().contains("6.1") && cause.contains("`virtio_net`"),
            "{error}: {cause}"
        );
    }

    #[test]
    fn modules_are_listed_plain_and_in_order() {
        let directory = tempfile::tempdir().unwrap();
        let module = b"\x7fELF\0alias=virtio:d1v*\0alias=fs-a\0alias=pci:v1*\0depends=base\0";
        let packed = crate::packing::tests::gzip(module);
        fs::write(directory.path().join("a.ko.gz"), packed).unwrap();
        fs::write(directory.path().join("base.ko"), b"\x7fELF\0depends=\0").unwrap();
        // As a package has it: nothing says what needs what but the modules themselves.
        let mut tree = Tree::new();
        let kernel = kernel(directory.path());
        add_modules(&mut tree, &kernel, &["a"], &["none", "base"]).unwrap();
        let list = "/lib/modules/6.1/base.ko /lib/modules/6.1/a.ko\tvirtio:d1v* fs-a pci:v1*\n\
                    /lib/modules/6.1/base.ko\t\n";
        let contents = |path: &str| tree.get(path)?.contents()?.read(1000).ok();
        assert_eq!(contents(MODULE_LIST).as_deref(), Some(list.as_bytes()));
        assert_eq!(
            contents("lib/modules/6.1/a.ko").as_deref(),
            Some(&module[..])
        );
    }

    #[test]
    fn files_that_lead_elsewhere_are_refused() {
        let add = |path: &str| {
            let file = GuestFile {
                path: path.to_owned(),
                mode: 0o644,
                contents: b"x".to_vec(),
            };
            let mut tree = Tree::new();
            add_file(&mut tree, &file).map(|()| tree)
        };
        assert!(add("/etc/motd").unwrap().get("etc/motd").is_some());
        for path in ["etc/motd", "/", "/etc/../x", "/etc//x", "/init", "/a\0b"] {
            let error = add(path).unwrap_err();
            assert!(
                matches!(error, ImageError::GuestPath { .. }),
                "{path:?}: {error}"
            );
        }
    }
}

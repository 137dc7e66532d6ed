//! The kernel that a system brings: brought out, for a virtual machine begins with it.

use std::fs;
use std::path::Path;

use crate::error::ImageError;
use crate::fetch::index_modules;
use crate::kernel::{Kernel, MODULES, version_key};
use crate::progress::Step;
use crate::tree::{Entries, Node, Owners, Tree};
use crate::vmlinux;

/// Where in the entry it is, with its modules, as in a system.
const PLACE: &str = "kernel";

/// A kernel in a tree.
struct Candidate {
    release: String,
    image: Vec<u8>,
    /// Path of its modules in the tree.
    modules: String,
}

/// Bring the newest kernel of a tree out into an entry.
///
/// # Errors
/// There is none with its modules.
pub(super) fn bring_out(
    tree: &Tree,
    name: &str,
    entry: &Path,
    progress: &mut dyn FnMut(Step),
) -> Result<(), ImageError> {
    let candidates = candidates(tree).into_iter();
    let newest = candidates.max_by_key(|kernel| version_key(&kernel.release));
    let none = || ImageError::NoOwnKernel {
        image: name.to_owned(),
    };
    let newest = newest.ok_or_else(none)?;
    let release = &newest.release;
    progress(Step::new(format!("bringing out the kernel {release}")));
    let place = entry.join(PLACE);
    let boot = place.join("boot");
    let modules = place.join(MODULES[0]).join(release);
    for directory in [&boot, &modules] {
        let made = fs::create_dir_all(directory);
        made.map_err(ImageError::file(directory, "it cannot be made"))?;
    }
    let image = boot.join(format!("vmlinuz-{release}"));
    let written = fs::write(&image, &newest.image);
    written.map_err(ImageError::file(&image, "it cannot be written"))?;
    tree.materialise(&newest.modules, &modules, Owners::Writer, progress)?;
    index_modules(&place)?;
    own_kernel(entry).map(drop).ok_or_else(none)
}

/// What was brought out.
pub(super) fn own_kernel(entry: &Path) -> Option<Kernel> {
    Kernel::in_root(&entry.join(PLACE), "the image's own")
}

/// Those with their modules, from where distributions have them.
fn candidates(tree: &Tree) -> Vec<Candidate> {
    let names = |path: &str| -> Vec<String> {
        let entries = tree.get(path).and_then(Node::entries).into_iter();
        let names = entries.flat_map(Entries::iter);
        let names = names.filter_map(|(name, _)| std::str::from_utf8(name).ok());
        names.map(str::to_owned).collect()
    };
    let boot = names("boot").into_iter();
    let boot = boot.filter(|name| name.starts_with("vmlinuz"));
    let boot = boot.map(|name| format!("boot/{name}"));
    let beside = MODULES.into_iter().flat_map(|place| {
        let releases = names(place).into_iter();
        releases.map(move |release| format!("{place}/{release}/vmlinuz"))
    });
    let candidates = boot.chain(beside).filter_map(|path| {
        let contents = tree.get(path)?.contents()?;
        let image = contents.read(vmlinux::LARGEST_IMAGE).ok()?;
        let release = vmlinux::release(&image)?;
        let mut places = MODULES.iter().map(|place| format!("{place}/{release}"));
        let (id, modules) = places.find_map(|place| tree.follow(place).ok())?;
        let is_directory = tree.node(id).is_directory();
        is_directory.then(|| Candidate {
            release,
            image,
            modules: String::from_utf8_lossy(&modules).into_owned(),
        })
    });
    candidates.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(releases: &[&str]) -> Tree {
        let mut tree = Tree::new();
        tree.insert("lib", Node::symlink("usr/lib")).unwrap();
        for release in releases {
            let image = vmlinux::tests::bzimage_of(release, b"");
            let path = format!("boot/vmlinuz-{release}");
            tree.insert(path, Node::file(0o600, image)).unwrap();
            let order = format!("lib/modules/{release}/modules.order");
            tree.insert(order, Node::file(0o644, "")).unwrap();
        }
        tree
    }

    fn brought_out(tree: &Tree) -> Result<Kernel, ImageError> {
        let entry = tempfile::tempdir().unwrap();
        bring_out(tree, "web", entry.path(), &mut |_| {})?;
        Ok(own_kernel(entry.path()).unwrap())
    }

    #[test]
    fn the_newest_comes_out_with_its_modules() {
        let mut tree = tree(&["6.9.1-a", "6.10.0-a"]);
        let image = vmlinux::tests::bzimage_of("7.0.0-no-modules", b"");
        tree.insert("boot/vmlinuz-7", Node::file(0o600, image))
            .unwrap();
        let kernel = brought_out(&tree).unwrap();
        assert_eq!(kernel.release, "6.10.0-a");
        assert!(kernel.modules.unwrap().ends_with("lib/modules/6.10.0-a"));
    }

    #[test]
    fn a_system_without_one_is_named() {
        let mut tree = tree(&[]);
        tree.insert("boot/vmlinuz", Node::file(0o600, "no kernel"))
            .unwrap();
        let error = brought_out(&tree).unwrap_err().to_string();
        assert!(
            error.contains("`web`") && error.contains("linux-image"),
            "{error}"
        );
    }
}

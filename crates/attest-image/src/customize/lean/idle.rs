//! Services that would start to find that there is nothing to do.

use std::collections::BTreeSet;

use crate::customize::CustomizeError;
use crate::customize::units::{find, mask as mask_unit};
use crate::tree::{Node, Tree};

/// Loads the modules that these name (modules-load.d(5)): Debian's first is a link to the second, in which there are
/// comments.
const MODULES: [&str; 2] = ["etc/modules-load.d/modules.conf", "etc/modules"];

const FSTAB: &str = "etc/fstab";
/// Remounts the root as `/etc/fstab` says, also where it says nothing.
const REMOUNT: &str = "systemd-remount-fs.service";
/// A line that is added later is heeded.
const REMOUNT_IF: (&str, &str) = (
    "etc/systemd/system/systemd-remount-fs.service.d/attest.conf",
    "[Unit]\nConditionFileNotEmpty=/etc/fstab\n",
);

/// Makes partitions as these say (repart.d(5)), and where there are none still loads the drivers for it.
const REPART: &str = "systemd-repart.service";
const PARTITIONS: [&str; 2] = ["etc/repart.d", "usr/lib/repart.d"];

/// Makes a list of the nodes of devices whose drivers are loaded when they are opened. attest's agent makes the nodes.
const NODES: &str = "kmod-static-nodes.service";

/// More of a file than this is not comments.
const MOST: u64 = 64 * 1024;

/// Mask those that are units of their own, and let the others find nothing.
pub(super) fn mask(
    tree: &mut Tree,
    kept: &BTreeSet<String>,
) -> Result<Vec<String>, CustomizeError> {
    if MODULES.iter().all(|path| says_nothing(tree, path)) {
        tree.remove(MODULES[0])?;
    }
    if find(tree, REMOUNT).is_some() && !kept.contains(REMOUNT) && says_nothing(tree, FSTAB) {
        tree.insert(FSTAB, Node::file(0o644, ""))?;
        let (path, condition) = REMOUNT_IF;
        tree.insert(path, Node::file(0o644, condition))?;
    }
    let mut masked = Vec::new();
    let has_partitions = PARTITIONS.iter().any(|path| {
        let entries = tree.get(path).and_then(Node::entries);
        entries.is_some_and(|entries| !entries.is_empty())
    });
    for (unit, needed) in [(REPART, has_partitions), (NODES, false)] {
        if !needed && !kept.contains(unit) && find(tree, unit).is_some() {
            mask_unit(tree, unit)?;
            masked.push(unit.to_owned());
        }
    }
    Ok(masked)
}

/// Whether one of these may be named so that it stays.
pub(super) fn may_stay(unit: &str) -> bool {
    [REPART, NODES, REMOUNT].contains(&unit)
}

/// Whether a file that is there has nothing but comments.
fn says_nothing(tree: &Tree, path: &str) -> bool {
    let contents = tree.get(path).and_then(Node::contents);
    let text = contents.and_then(|contents| contents.read(MOST).ok());
    text.is_some_and(|text| {
        let mut lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        lines.all(|line| line.is_empty() || line.starts_with(b"#"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> Tree {
        let mut tree = Tree::new();
        for unit in [REMOUNT, REPART, NODES] {
            let path = format!("usr/lib/systemd/system/{unit}");
            tree.insert(path, Node::file(0o644, "")).unwrap();
        }
        tree.insert(MODULES[0], Node::symlink("../modules"))
            .unwrap();
        for (path, text) in files {
            tree.insert(path, Node::file(0o644, *text)).unwrap();
        }
        tree
    }

    fn has(tree: &Tree, path: &str) -> bool {
        tree.find(path).unwrap().is_some()
    }

    #[test]
    fn comments_are_nothing_to_do() {
        let mut tree = tree(&[
            ("etc/modules", "# one a line\n\n"),
            (FSTAB, "# UNCONFIGURED\n"),
        ]);
        let masked = mask(&mut tree, &BTreeSet::new()).unwrap();
        assert_eq!(masked, [REPART, NODES]);
        assert!(!has(&tree, MODULES[0]));
        assert!(has(&tree, REMOUNT_IF.0));
        assert!(tree.get(FSTAB).unwrap().contents().unwrap().is_empty());
    }

    #[test]
    fn what_is_asked_for_is_done() {
        let mut tree = tree(&[
            ("etc/modules", "loop\n"),
            (FSTAB, "/dev/vda / ext4 ro\n"),
            ("etc/repart.d/root.conf", "[Partition]\n"),
        ]);
        let kept = BTreeSet::from([NODES.to_owned()]);
        assert!(mask(&mut tree, &kept).unwrap().is_empty());
        assert!(has(&tree, MODULES[0]));
        assert!(!has(&tree, REMOUNT_IF.0));
        let fstab = tree.get(FSTAB).unwrap().contents().unwrap();
        assert_eq!(fstab.read(MOST).unwrap(), b"/dev/vda / ext4 ro\n");
    }
}

//! What must differ between the machines of one image, and what a first boot would do at every
//! boot, for each machine begins with the image as it is.

use super::CustomizeError;
use crate::root::Profile;
use crate::tree::{Node, Time, Tree};

/// Where systemd is.
const SYSTEMD: &str = "usr/lib/systemd/systemd";
/// The identity of a machine (machine-id(5)).
const MACHINE_ID: &str = "etc/machine-id";
/// The same, of D-Bus before systemd; a link to the other on newer systems.
const DBUS_ID: &str = "var/lib/dbus/machine-id";
/// Entropy that one machine keeps for its next boot.
const SEED: &str = "var/lib/systemd/random-seed";
/// Say that what an update of `/usr` wants of the other directories was done
/// (systemd-update-done.service(8)).
const STAMPS: [&str; 2] = ["etc/.updated", "var/.updated"];

/// Make a tree fit for many machines.
///
/// An identity that is in it is taken out: each machine gets its own. With an empty
/// `/etc/machine-id` systemd makes one up, and does not take it for a first boot, at which it
/// would enable and disable units by presets (machine-id(5)). Where the file says that it is one
/// (`uninitialized`), or is missing, only the lean profile makes it empty.
///
/// In the lean profile, a system whose packages were set up is marked so, and does not begin each
/// boot with what follows an update.
///
/// # Errors
/// Paths that lead nowhere.
pub fn prepare(tree: &mut Tree, profile: Profile) -> Result<(), CustomizeError> {
    tree.remove(SEED)?;
    let dbus = tree.find(DBUS_ID)?;
    if dbus.is_some_and(|id| tree.node(id).contents().is_some()) {
        tree.insert(DBUS_ID, Node::symlink("/etc/machine-id"))?;
    }
    let lean = profile == Profile::Lean && tree.get(SYSTEMD).is_some();
    if lean || has_identity(tree) {
        tree.insert(MACHINE_ID, Node::file(0o444, ""))?;
    }
    // Its cache is made by the first package that brings a library.
    if lean && tree.get("etc/ld.so.cache").is_some() {
        stamp(tree)?;
    }
    Ok(())
}

fn has_identity(tree: &Tree) -> bool {
    let contents = tree.get(MACHINE_ID).and_then(Node::contents);
    let text = contents.and_then(|contents| contents.read(64).ok());
    // 32 digits and the end of the line.
    text.is_some_and(|text| text.trim_ascii().len() == 32)
}

/// systemd compares their times with that of `/usr` (systemd.unit(5), `ConditionNeedsUpdate=`).
fn stamp(tree: &mut Tree) -> Result<(), CustomizeError> {
    let usr = tree
        .get("usr")
        .map_or(Time::default(), |usr| usr.attributes.modified);
    for path in STAMPS {
        let there = tree.get(path).map(|node| node.attributes.modified);
        if there.is_none_or(|time| time < usr) {
            let mut stamp = Node::file(0o644, "");
            stamp.attributes.modified = usr;
            tree.insert(path, stamp)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(id: Option<&str>) -> Tree {
        let mut tree = Tree::new();
        for path in [SYSTEMD, SEED, DBUS_ID, "etc/ld.so.cache"] {
            tree.insert(path, Node::file(0o644, "x")).unwrap();
        }
        if let Some(id) = id {
            tree.insert(MACHINE_ID, Node::file(0o444, id)).unwrap();
        }
        let time = Time {
            seconds: 7,
            nanoseconds: 8,
        };
        tree.attributes_mut("usr").unwrap().modified = time;
        tree
    }

    fn id_after(id: Option<&str>, profile: Profile) -> Option<String> {
        let mut tree = tree(id);
        prepare(&mut tree, profile).unwrap();
        let contents = tree.get(MACHINE_ID)?.contents()?.read(100).unwrap();
        Some(String::from_utf8(contents).unwrap())
    }

    #[test]
    fn machines_do_not_share_an_identity() {
        let id = Some("0123456789abcdef0123456789abcdef\n");
        let (lean, full) = (Profile::Lean, Profile::Full);
        assert_eq!(id_after(id, lean).as_deref(), Some(""));
        assert_eq!(id_after(id, full).as_deref(), Some(""));
        assert_eq!(id_after(None, lean).as_deref(), Some(""));
        assert_eq!(id_after(None, full), None);
        let first = Some("uninitialized\n");
        assert_eq!(id_after(first, lean).as_deref(), Some(""));
        assert_eq!(id_after(first, full).as_deref(), first);
        let mut tree = tree(id);
        prepare(&mut tree, full).unwrap();
        assert!(tree.get(SEED).is_none());
        let link = tree.find(DBUS_ID).unwrap().unwrap();
        assert_eq!(tree.node(link).st_mode() & 0o170_000, 0o120_000);
    }

    #[test]
    fn a_system_that_is_set_up_is_marked_so() {
        let mut made = tree(None);
        prepare(&mut made, Profile::Lean).unwrap();
        let usr = made.get("usr").unwrap().attributes.modified;
        for path in STAMPS {
            assert_eq!(made.get(path).unwrap().attributes.modified, usr);
        }
        let mut full = tree(None);
        prepare(&mut full, Profile::Full).unwrap();
        assert!(STAMPS.iter().all(|path| full.get(path).is_none()));
        let mut fresh = tree(None);
        fresh.remove("etc/ld.so.cache").unwrap();
        prepare(&mut fresh, Profile::Lean).unwrap();
        assert!(STAMPS.iter().all(|path| fresh.get(path).is_none()));
    }
}

//! Programs that make units at the beginning of each boot (systemd.generator(7)), of what these machines have not.

use std::collections::BTreeSet;

use crate::customize::CustomizeError;
use crate::customize::units::{NOTHING, is_known};
use crate::tree::{Node, Tree};

/// Where those of the system are, and where they are masked.
const OWN: &str = "usr/lib/systemd/system-generators";
const CONFIGURATION: &str = "etc/systemd/system-generators";
/// Scripts of before systemd, and what makes units of them.
const SCRIPTS: &str = "etc/init.d";
const OF_SCRIPTS: &str = "systemd-sysv-generator";
/// Makes login prompts.
const OF_LOGINS: &str = "systemd-getty-generator";

/// A generator that the lean profile masks where a system has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generator {
    /// Its name.
    pub name: &'static str,
    /// What it reads: one that is in the image keeps it.
    pub reads: &'static [&'static str],
    /// Why.
    pub why: &'static str,
}

const fn generator(
    name: &'static str,
    reads: &'static [&'static str],
    why: &'static str,
) -> Generator {
    Generator { name, reads, why }
}

const NOTHING_TO_READ: &str = "the image has none of what it reads";
const BOOT_LOADER: &str = "attest starts kernels and finds roots itself";

/// What is masked: all but those for `/etc/fstab`, for the kernel's command line (`systemd.mask=`, `systemd.wants=`) and
/// of other packages. The one for scripts in `/etc/init.d` goes too where all of them have units.
pub const GENERATORS: &[Generator] = &[
    generator("systemd-bless-boot-generator", &[], BOOT_LOADER),
    generator(
        "systemd-cryptsetup-generator",
        &["etc/crypttab"],
        NOTHING_TO_READ,
    ),
    generator(
        OF_LOGINS,
        &[],
        "attest speaks through its agent, and login prompts are masked",
    ),
    generator("systemd-gpt-auto-generator", &[], BOOT_LOADER),
    generator("systemd-hibernate-resume-generator", &[], BOOT_LOADER),
    generator(
        "systemd-integritysetup-generator",
        &["etc/integritytab"],
        NOTHING_TO_READ,
    ),
    generator(
        "systemd-rc-local-generator",
        &["etc/rc.local"],
        NOTHING_TO_READ,
    ),
    generator(
        "systemd-run-generator",
        &[],
        "for a command on the kernel's command line that ends the machine",
    ),
    generator(
        "systemd-ssh-generator",
        &[],
        "attest speaks through its agent",
    ),
    generator(
        "systemd-system-update-generator",
        &["system-update", "etc/system-update"],
        NOTHING_TO_READ,
    ),
    generator(
        "systemd-veritysetup-generator",
        &["etc/veritytab"],
        NOTHING_TO_READ,
    ),
];

/// Mask what the system has of them, and give their names.
pub(super) fn mask(
    tree: &mut Tree,
    kept: &BTreeSet<String>,
) -> Result<Vec<String>, CustomizeError> {
    let logins = kept.iter().any(|unit| unit.contains("getty"));
    let mut names: Vec<&str> = GENERATORS
        .iter()
        .filter(|generator| !(logins && generator.name == OF_LOGINS))
        .filter(|generator| !generator.reads.iter().any(|path| tree.get(path).is_some()))
        .map(|generator| generator.name)
        .collect();
    if all_scripts_have_units(tree) {
        names.push(OF_SCRIPTS);
    }
    names.retain(|name| tree.get(format!("{OWN}/{name}")).is_some());
    for name in &names {
        tree.insert(format!("{CONFIGURATION}/{name}"), Node::symlink(NOTHING))?;
    }
    Ok(names.into_iter().map(str::to_owned).collect())
}

fn all_scripts_have_units(tree: &Tree) -> bool {
    let scripts = tree.get(SCRIPTS).and_then(Node::entries);
    let mut names = scripts
        .into_iter()
        .flat_map(crate::tree::Entries::iter)
        .map(|(name, _)| String::from_utf8_lossy(name));
    names.all(|name| {
        let unit = format!("{}.service", name.strip_suffix(".sh").unwrap_or(&name));
        // Debian masks what systemd does in place of a script.
        is_known(tree, &unit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[&str]) -> Tree {
        let mut tree = Tree::new();
        for generator in [
            "systemd-cryptsetup-generator",
            OF_LOGINS,
            OF_SCRIPTS,
            "systemd-fstab-generator",
        ] {
            let path = format!("{OWN}/{generator}");
            tree.insert(path, Node::file(0o755, "")).unwrap();
        }
        for path in files {
            tree.insert(path, Node::file(0o644, "")).unwrap();
        }
        tree
    }

    fn masked(files: &[&str], kept: &[&str]) -> Vec<String> {
        let kept = kept.iter().map(|unit| (*unit).to_owned()).collect();
        mask(&mut tree(files), &kept).unwrap()
    }

    #[test]
    fn what_finds_nothing_to_read_is_masked() {
        assert_eq!(
            masked(&[], &[]),
            ["systemd-cryptsetup-generator", OF_LOGINS, OF_SCRIPTS]
        );
        assert_eq!(masked(&["etc/crypttab"], &[]), [OF_LOGINS, OF_SCRIPTS]);
        let mut tree = tree(&[]);
        mask(&mut tree, &BTreeSet::new()).unwrap();
        let place = tree.find(format!("{CONFIGURATION}/{OF_LOGINS}")).unwrap();
        assert!(place.is_some());
    }

    #[test]
    fn what_asks_for_a_login_gets_it() {
        assert_eq!(
            masked(&[], &["serial-getty@ttyS0.service"]),
            ["systemd-cryptsetup-generator", OF_SCRIPTS]
        );
    }

    #[test]
    fn scripts_without_units_get_theirs() {
        let script = "etc/init.d/old";
        assert!(!masked(&[script], &[]).contains(&OF_SCRIPTS.to_owned()));
        let unit = "usr/lib/systemd/system/old.service";
        assert!(masked(&[script, unit], &[]).contains(&OF_SCRIPTS.to_owned()));
    }
}

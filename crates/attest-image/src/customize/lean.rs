//! The lean profile: what a system starts by itself, tests do not need, and a boot waits for.
//!
//! What it is worth, userspace of a minimal Debian 13 until all of it is up, on two cores:
//!
//! | | as it is | lean |
//! |---|---|---|
//! | container (no udev; median) | 315 ms | 235 ms |
//! | QEMU without KVM, without udev | 92 s | 4.3 s |
//! | the same, with udev where it is not lean | 6.2 s | 4.5 s |
//!
//! Of the 92 seconds 90 are a login on a serial line that waits for its device. Of the
//! others, the updates after an installation (ldconfig, the journal's catalog, users) are worth
//! 0.3 to 0.4 s each under emulation and 15 to 40 ms in a container; logind 0.7 s under emulation.
//!
//! Under emulation each program that a boot starts costs 0.1 s, of which 40 ms are the manager's own, which forks. With
//! two processors and one guest that hides behind what the boot waits for; with one processor for each guest it does
//! not. So what starts for nothing is left out too: generators, the random seed, utmp, a list of modules and an
//! `/etc/fstab` without a line.

mod generators;
mod idle;

use std::collections::BTreeSet;

use super::units::{find, mask, mask_start, with_suffix};
use super::{CustomizeError, units};
use crate::tree::{Kind, Tree};

pub use generators::{GENERATORS, Generator};

/// Counts the changes of [`LEAN`], and of what else is done.
pub(crate) const VERSION: u64 = 3;

/// A unit that the lean profile masks where a system has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Masked {
    /// Its name; a template stands for all its instances.
    pub unit: &'static str,
    /// Why.
    pub why: &'static str,
}

const fn masked(unit: &'static str, why: &'static str) -> Masked {
    Masked { unit, why }
}

const LOGIN: &str =
    "attest speaks through its agent; a login prompt waits for its terminal's device";
const HOUSEKEEPING: &str =
    "housekeeping of systems that live for days; it starts at any time and disturbs";
const INSTALLED: &str = "its work was done when the packages were installed";
const FIRST_BOOT: &str = "asks or decides at a first boot what the image has decided";
const ONLINE: &str = "attest sets up the networks before the first unit starts";
const HARDWARE: &str = "looks for hardware that these machines have not";
const RECORDS: &str = "keeps for the next boot, or for whoever looks later, what is thrown away";

/// What is masked.
pub const LEAN: &[Masked] = &[
    masked("getty@.service", LOGIN),
    masked("serial-getty@.service", LOGIN),
    masked("container-getty@.service", LOGIN),
    masked("console-getty.service", LOGIN),
    masked("getty-static.service", LOGIN),
    masked("apt-daily.timer", HOUSEKEEPING),
    masked("apt-daily-upgrade.timer", HOUSEKEEPING),
    masked("dpkg-db-backup.timer", HOUSEKEEPING),
    masked("e2scrub_all.timer", HOUSEKEEPING),
    masked("e2scrub_reap.service", HOUSEKEEPING),
    masked("exim4-base.timer", HOUSEKEEPING),
    masked("fstrim.timer", HOUSEKEEPING),
    masked("fwupd-refresh.timer", HOUSEKEEPING),
    masked("logrotate.timer", HOUSEKEEPING),
    masked("man-db.timer", HOUSEKEEPING),
    masked("mdcheck_continue.timer", HOUSEKEEPING),
    masked("mdcheck_start.timer", HOUSEKEEPING),
    masked("mlocate.timer", HOUSEKEEPING),
    masked("motd-news.timer", HOUSEKEEPING),
    masked("phpsessionclean.timer", HOUSEKEEPING),
    masked("plocate-updatedb.timer", HOUSEKEEPING),
    masked("sysstat-collect.timer", HOUSEKEEPING),
    masked("sysstat-summary.timer", HOUSEKEEPING),
    masked("systemd-tmpfiles-clean.timer", HOUSEKEEPING),
    masked("ua-timer.timer", HOUSEKEEPING),
    masked("unattended-upgrades.service", HOUSEKEEPING),
    masked("update-notifier-download.timer", HOUSEKEEPING),
    masked("update-notifier-motd.timer", HOUSEKEEPING),
    masked("ldconfig.service", INSTALLED),
    masked("systemd-hwdb-update.service", INSTALLED),
    masked("systemd-journal-catalog-update.service", INSTALLED),
    masked("systemd-sysusers.service", INSTALLED),
    masked("systemd-update-done.service", INSTALLED),
    masked("systemd-firstboot.service", FIRST_BOOT),
    masked("systemd-homed-firstboot.service", FIRST_BOOT),
    masked("systemd-machine-id-commit.service", FIRST_BOOT),
    masked("NetworkManager-wait-online.service", ONLINE),
    masked("systemd-networkd-wait-online.service", ONLINE),
    masked("systemd-networkd-wait-online@.service", ONLINE),
    masked(
        "systemd-time-wait-sync.service",
        "attest sets the clock before the first unit starts",
    ),
    masked("ModemManager.service", HARDWARE),
    masked("bluetooth.service", HARDWARE),
    masked("smartmontools.service", HARDWARE),
    masked("systemd-pcrmachine.service", HARDWARE),
    masked("systemd-pcrphase.service", HARDWARE),
    masked("systemd-pcrphase-sysinit.service", HARDWARE),
    masked("systemd-pstore.service", HARDWARE),
    masked("systemd-tpm2-setup.service", HARDWARE),
    masked("systemd-tpm2-setup-early.service", HARDWARE),
    masked(
        "systemd-journal-flush.service",
        "the journal stays in memory: nobody reads it from a disk that is thrown away",
    ),
    masked("systemd-random-seed.service", RECORDS),
    masked("systemd-update-utmp.service", RECORDS),
    masked("systemd-update-utmp-runlevel.service", RECORDS),
];

/// What starts when it is asked for, and not at boot.
struct OnDemand {
    unit: &'static str,
    /// What starts it otherwise.
    starter: &'static str,
    asked: Asked,
}

/// How something is asked for that did not start.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// By the first connection.
    Socket(&'static str),
    /// By a call over D-Bus.
    Logins,
    /// By its name alone.
    Name,
}

const ON_DEMAND: [OnDemand; 4] = [
    OnDemand {
        unit: "systemd-logind.service",
        starter: "multi-user.target",
        asked: Asked::Logins,
    },
    OnDemand {
        unit: "dbus.service",
        starter: "multi-user.target",
        asked: Asked::Socket("dbus.socket"),
    },
    // What they show comes with modules, which whoever needs them loads; at boot they load them for themselves.
    OnDemand {
        unit: "sys-kernel-config.mount",
        starter: "sysinit.target",
        asked: Asked::Name,
    },
    OnDemand {
        unit: "sys-fs-fuse-connections.mount",
        starter: "sysinit.target",
        asked: Asked::Name,
    },
];

/// The bus that logins are asked for over.
const BUS: &str = "dbus.socket";

/// Has a file for each user whose manager starts at boot (loginctl(1), enable-linger).
const LINGER: &str = "var/lib/systemd/linger";

/// What was made lean.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lean {
    /// What never starts.
    pub masked: Vec<String>,
    /// What starts only when it is asked for.
    pub on_demand: Vec<String>,
}

/// Mask what the system has of [`LEAN`] and [`GENERATORS`] and what is not to stay, leave out what would find nothing to
/// do, and let others start when they are asked for.
///
/// # Errors
/// Paths that lead nowhere.
pub fn apply(tree: &mut Tree, stay: &[String]) -> Result<Lean, CustomizeError> {
    let mut kept = BTreeSet::new();
    for unit in stay {
        let unit = with_suffix(unit);
        kept.extend(units::real_name(tree, &unit));
        kept.insert(unit);
    }
    let mut lean = Lean::default();
    for Masked { unit, .. } in LEAN {
        let stays = kept.iter().any(|kept| covers(unit, kept));
        if !stays && find(tree, unit).is_some() {
            mask(tree, unit)?;
            lean.masked.push((*unit).to_owned());
        }
    }
    lean.masked.extend(generators::mask(tree, &kept)?);
    lean.masked.extend(idle::mask(tree, &kept)?);
    for OnDemand {
        unit,
        starter,
        asked,
    } in ON_DEMAND
    {
        if asked.can_be(tree) && !kept.contains(unit) && find(tree, unit).is_some() {
            mask_start(tree, unit, starter)?;
            lean.on_demand.push(unit.to_owned());
        }
    }
    Ok(lean)
}

impl Asked {
    fn can_be(self, tree: &Tree) -> bool {
        match self {
            Self::Socket(socket) => find(tree, socket).is_some(),
            Self::Logins => find(tree, BUS).is_some() && !lingers(tree),
            Self::Name => true,
        }
    }
}

/// Whether a user's manager is to start at boot, which only logind does.
fn lingers(tree: &Tree) -> bool {
    let users = tree.get(LINGER).map(|node| &node.kind);
    matches!(users, Some(Kind::Directory(users)) if !users.is_empty())
}

/// Whether naming a unit without an `[Install]` section means that it is not masked.
pub(super) fn may_stay(unit: &str) -> bool {
    let is_on_demand = ON_DEMAND.iter().any(|known| known.unit == unit);
    is_on_demand || idle::may_stay(unit) || LEAN.iter().any(|masked| covers(masked.unit, unit))
}

/// Whether a unit of the table is this one, or its template.
fn covers(of_table: &str, unit: &str) -> bool {
    let template = of_table.split_once("@.");
    of_table == unit
        || template.is_some_and(|(prefix, suffix)| {
            let rest = unit.strip_prefix(prefix);
            rest.is_some_and(|rest| rest.starts_with('@') && rest.ends_with(suffix))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Node;

    fn tree() -> Tree {
        let mut tree = Tree::new();
        for unit in [
            "dbus.socket",
            "systemd-logind.service",
            "apt-daily.timer",
            "getty@.service",
            "ldconfig.service",
            "web.service",
        ] {
            let path = format!("usr/lib/systemd/system/{unit}");
            tree.insert(path, Node::file(0o644, "")).unwrap();
        }
        tree
    }

    #[test]
    fn what_the_system_has_is_masked() {
        let mut tree = tree();
        let Lean { masked, on_demand } = apply(&mut tree, &[]).unwrap();
        assert_eq!(on_demand, ["systemd-logind.service"]);
        assert!(find(&tree, "systemd-logind.service").is_some());
        assert_eq!(
            masked,
            ["getty@.service", "apt-daily.timer", "ldconfig.service"]
        );
        for unit in masked {
            assert!(find(&tree, &unit).is_none(), "{unit}");
        }
        assert!(find(&tree, "web.service").is_some());
        assert!(find(&tree, "getty@tty1.service").is_none());
    }

    #[test]
    fn users_that_linger_are_logged_in() {
        let mut tree = tree();
        tree.insert(format!("{LINGER}/alice"), Node::file(0o644, ""))
            .unwrap();
        assert!(apply(&mut tree, &[]).unwrap().on_demand.is_empty());
    }

    #[test]
    fn what_is_named_stays() {
        let stay = ["getty@tty1", "apt-daily.timer", "systemd-logind"].map(str::to_owned);
        let lean = apply(&mut tree(), &stay).unwrap();
        assert_eq!(
            (lean.masked, lean.on_demand),
            (vec!["ldconfig.service".to_owned()], vec![])
        );
    }

    #[test]
    fn each_unit_is_in_the_table_once() {
        let units: BTreeSet<&str> = LEAN.iter().map(|masked| masked.unit).collect();
        assert_eq!(units.len(), LEAN.len());
        assert!(units.iter().all(|unit| with_suffix(unit) == **unit));
    }
}

//! What systemd starts a program for at each boot, and one system call does: file systems of the kernel, and nodes of
//! devices whose drivers are not loaded yet. Under emulation each of those programs takes a tenth of a second.

use std::fs;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::sys::utsname::uname;

/// The units that mount them. systemd takes what is mounted for started.
const UNITS: [&str; 6] = [
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "sys-kernel-config.mount",
    "sys-fs-fuse-connections.mount",
];
/// Where a system's own units are, and where others are in place of them, or add to them.
const OWN: &str = "usr/lib/systemd/system";
const CONFIGURATION: &str = "etc/systemd/system";
/// What the kernel knows without loading a module.
const KNOWN: &str = "/proc/filesystems";

/// Do it in the root that is PID 1's. What fails is left to systemd, which says why.
pub(super) fn prepare() {
    let known = fs::read_to_string(KNOWN).unwrap_or_default();
    for unit in UNITS {
        if let Some(file_system) = FileSystem::of_unit(Path::new("/"), unit)
            && file_system.is_known(&known)
        {
            let _ = file_system.mount();
        }
    }
    let _ = make_nodes();
}

/// What a unit mounts.
#[derive(Debug, PartialEq, Eq)]
struct FileSystem {
    what: String,
    place: PathBuf,
    kind: String,
    flags: MsFlags,
    data: String,
}

impl FileSystem {
    /// `None`: there is no such unit, or it is not the system's own alone.
    fn of_unit(root: &Path, unit: &str) -> Option<Self> {
        let changed = [unit.to_owned(), format!("{unit}.d")];
        let changed = changed.map(|name| root.join(CONFIGURATION).join(name));
        if changed.iter().any(|path| path.symlink_metadata().is_ok()) {
            return None;
        }
        let text = fs::read_to_string(root.join(OWN).join(unit)).ok()?;
        let value = |key: &str| {
            let mut values = text.lines().filter_map(|line| line.strip_prefix(key));
            values.next_back().map(|value| value.trim().to_owned())
        };
        let mut flags = MsFlags::empty();
        let mut data = Vec::new();
        let options = value("Options=").unwrap_or_default();
        for option in options.split(',').filter(|option| !option.is_empty()) {
            match option {
                "nosuid" => flags |= MsFlags::MS_NOSUID,
                "nodev" => flags |= MsFlags::MS_NODEV,
                "noexec" => flags |= MsFlags::MS_NOEXEC,
                other => data.push(other),
            }
        }
        Some(Self {
            what: value("What=")?,
            place: value("Where=")?.into(),
            kind: value("Type=")?,
            flags,
            data: data.join(","),
        })
    }

    /// The last word of a line of [`KNOWN`].
    fn is_known(&self, known: &str) -> bool {
        let mut kinds = known.lines().filter_map(|line| line.split('\t').nth(1));
        kinds.any(|kind| kind == self.kind)
    }

    fn mount(&self) -> Result<(), nix::Error> {
        // Below /sys the kernel has made it; elsewhere what fails here fails there.
        let _ = fs::create_dir_all(&self.place);
        mount(
            Some(self.what.as_str()),
            &self.place,
            Some(self.kind.as_str()),
            self.flags,
            Some(self.data.as_str()),
        )
    }
}

/// As `kmod static-nodes` says them, and systemd-tmpfiles makes them.
fn make_nodes() -> std::io::Result<()> {
    let release = uname()?.release().to_os_string();
    let list = Path::new("/lib/modules").join(release);
    for line in fs::read_to_string(list.join("modules.devname"))?.lines() {
        let Some(node) = Node::parse(line) else {
            continue;
        };
        let place = Path::new("/dev").join(node.name);
        if let Some(parent) = place.parent() {
            let _ = fs::create_dir_all(parent);
        }
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        let _ = mknod(&place, node.kind, mode, makedev(node.major, node.minor));
    }
    Ok(())
}

/// A device whose driver is loaded when it is opened.
#[derive(Debug, PartialEq, Eq)]
struct Node<'a> {
    /// Below `/dev`.
    name: &'a str,
    kind: SFlag,
    major: u64,
    minor: u64,
}

impl<'a> Node<'a> {
    /// `fuse fuse c10:229`: a module, its node, and the node's numbers.
    fn parse(line: &'a str) -> Option<Self> {
        let mut words = line.split(' ').skip(1);
        let (name, device) = (words.next()?, words.next()?);
        let (kind, numbers) = device.split_at_checked(1)?;
        let (major, minor) = numbers.split_once(':')?;
        let is_below = Path::new(name)
            .components()
            .all(|part| matches!(part, std::path::Component::Normal(_)));
        let kind = match kind {
            "c" => SFlag::S_IFCHR,
            "b" => SFlag::S_IFBLK,
            _ => return None,
        };
        is_below.then_some(Self {
            name,
            kind,
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: &str = "[Unit]\nDescription=POSIX Message Queue File System\n\n[Mount]\nWhat=mqueue\n\
                        Where=/dev/mqueue\nType=mqueue\nOptions=nosuid,nodev,noexec,huge=1\n";

    fn root() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join(OWN)).unwrap();
        fs::create_dir_all(root.path().join(CONFIGURATION)).unwrap();
        fs::write(root.path().join(OWN).join("dev-mqueue.mount"), UNIT).unwrap();
        root
    }

    #[test]
    fn what_a_unit_mounts_is_read_from_it() {
        let root = root();
        let unit = FileSystem::of_unit(root.path(), "dev-mqueue.mount").unwrap();
        assert_eq!(
            unit,
            FileSystem {
                what: "mqueue".to_owned(),
                place: "/dev/mqueue".into(),
                kind: "mqueue".to_owned(),
                flags: MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
                data: "huge=1".to_owned(),
            }
        );
        assert!(unit.is_known("nodev\tmqueue\n\text4\n"));
        assert!(!unit.is_known("nodev\tsysfs\n\text4\n"));
        assert!(FileSystem::of_unit(root.path(), "dev-hugepages.mount").is_none());
    }

    #[test]
    fn what_somebody_changed_is_left_to_systemd() {
        let masked = root();
        let place = masked.path().join(CONFIGURATION).join("dev-mqueue.mount");
        std::os::unix::fs::symlink("/dev/null", place).unwrap();
        assert!(FileSystem::of_unit(masked.path(), "dev-mqueue.mount").is_none());
        let changed = root();
        let place = changed
            .path()
            .join(CONFIGURATION)
            .join("dev-mqueue.mount.d");
        fs::create_dir(place).unwrap();
        assert!(FileSystem::of_unit(changed.path(), "dev-mqueue.mount").is_none());
    }

    #[test]
    fn nodes_are_as_depmod_writes_them() {
        let node = Node {
            name: "net/tun",
            kind: SFlag::S_IFCHR,
            major: 10,
            minor: 200,
        };
        assert_eq!(Node::parse("tun net/tun c10:200"), Some(node));
        for line in [
            "# Device nodes to trigger on-demand module loading.",
            "",
            "tun net/tun",
            "tun ../tun c10:200",
            "tun net/tun p10:200",
            "tun net/tun c10",
        ] {
            assert_eq!(Node::parse(line), None, "{line}");
        }
    }
}

//! What attest needs from the host, and how each distribution calls it.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::elf;

/// A distribution whose package names are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Distribution {
    Debian,
    Fedora,
    Arch,
    Nix,
}

impl Distribution {
    pub(crate) const ALL: [Self; 4] = [Self::Debian, Self::Fedora, Self::Arch, Self::Nix];

    /// By `ID` and `ID_LIKE` of os-release(5).
    pub(crate) fn of(os_release: &str) -> Option<Self> {
        let value = |line: &str| {
            line.split_once('=')
                .map(|(_, value)| value.trim_matches(['"', '\'']).to_owned())
        };
        let ids: Vec<String> = os_release
            .lines()
            .filter(|line| line.starts_with("ID=") || line.starts_with("ID_LIKE="))
            .filter_map(value)
            .collect();
        ids.iter()
            .flat_map(|ids| ids.split_whitespace())
            .find_map(|id| match id {
                "debian" | "ubuntu" => Some(Self::Debian),
                "fedora" | "rhel" | "centos" => Some(Self::Fedora),
                "arch" | "archlinux" => Some(Self::Arch),
                "nixos" => Some(Self::Nix),
                _ => None,
            })
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Debian => "Debian, Ubuntu",
            Self::Fedora => "Fedora",
            Self::Arch => "Arch",
            Self::Nix => "Nix",
        }
    }

    /// The command that brings these needs; nothing where it has a package of none of them.
    pub(crate) fn command(self, needs: &[&Need]) -> Option<String> {
        let packages: Vec<_> = needs.iter().filter_map(|need| need.package(self)).collect();
        if packages.is_empty() {
            return None;
        }
        let packages = packages.join(" ");
        Some(match self {
            Self::Debian => format!("sudo apt-get install --no-install-recommends {packages}"),
            Self::Fedora => format!("sudo dnf install {packages}"),
            Self::Arch => format!("sudo pacman -S --needed {packages}"),
            Self::Nix => format!("nix shell {packages}"),
        })
    }
}

/// Something that must be on the host.
#[derive(Debug)]
pub(crate) struct Need {
    pub(crate) what: &'static str,
    when: When,
    /// Package names in the order of [`Distribution::ALL`]; nothing where there is none.
    packages: [Option<&'static str>; 4],
    present: fn(path: &OsStr) -> bool,
}

/// Where something is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Always,
    /// Where `CI` is set. Elsewhere the tests that need it are skipped, and say so.
    InCi,
}

/// All that the demo, the tests and the benchmarks use.
pub(crate) const NEEDS: [Need; 17] = [
    Need {
        what: "QEMU for x86-64",
        when: When::Always,
        packages: [
            Some("qemu-system-x86"),
            Some("qemu-system-x86-core"),
            Some("qemu-system-x86"),
            Some("nixpkgs#qemu"),
        ],
        present: |path| in_path("qemu-system-x86_64", path),
    },
    Need {
        what: "a static busybox, for the built-in guest",
        when: When::Always,
        packages: [
            Some("busybox-static"),
            Some("busybox"),
            Some("busybox"),
            Some("nixpkgs#pkgsStatic.busybox"),
        ],
        present: |path| static_in_path("busybox", path),
    },
    // Fedora and Arch have no package of it: there the guest's shell is busybox's.
    Need {
        what: "a static bash, for the built-in guest",
        when: When::Always,
        packages: [
            Some("bash-static"),
            None,
            None,
            Some("nixpkgs#pkgsStatic.bash"),
        ],
        present: |path| static_in_path("bash-static", path) || static_in_path("bash", path),
    },
    Need {
        what: "the static C library, to link the program that runs in guests",
        when: When::Always,
        packages: [Some("libc6-dev"), Some("glibc-static"), Some("glibc"), None],
        present: |_| LIBC.iter().any(|path| Path::new(path).exists()),
    },
    Need {
        what: "mmdebstrap, which makes images of Debian",
        when: When::Always,
        packages: [
            Some("mmdebstrap"),
            Some("mmdebstrap"),
            None,
            Some("nixpkgs#mmdebstrap"),
        ],
        present: |path| in_path("mmdebstrap", path),
    },
    Need {
        what: "systemd-nspawn, which runs containers",
        when: When::Always,
        packages: [
            Some("systemd-container"),
            Some("systemd-container"),
            Some("systemd"),
            Some("nixpkgs#systemd"),
        ],
        present: |path| in_path("systemd-nspawn", path),
    },
    Need {
        what: "depmod, for the modules of kernels",
        when: When::Always,
        packages: [
            Some("kmod"),
            Some("kmod"),
            Some("kmod"),
            Some("nixpkgs#kmod"),
        ],
        present: |path| in_path("depmod", path),
    },
    Need {
        what: "mke2fs, for disks that are written to",
        when: When::Always,
        packages: [
            Some("e2fsprogs"),
            Some("e2fsprogs"),
            Some("e2fsprogs"),
            Some("nixpkgs#e2fsprogs"),
        ],
        present: |path| in_path("mke2fs", path),
    },
    Need {
        what: "the OpenSSH client, for machines that already run",
        when: When::Always,
        packages: [
            Some("openssh-client"),
            Some("openssh-clients"),
            Some("openssh"),
            Some("nixpkgs#openssh"),
        ],
        present: |path| in_path("ssh", path),
    },
    Need {
        what: "CPython 3.9 or newer with its `venv`, for scripts and the tests of the Python package",
        when: When::Always,
        packages: [
            Some("python3-venv"),
            Some("python3"),
            Some("python"),
            Some("nixpkgs#python3"),
        ],
        present: python_with_venv,
    },
    Need {
        what: "vde_switch, for VLANs of NixOS's start scripts",
        when: When::InCi,
        packages: [
            Some("vde2"),
            Some("vde2"),
            Some("vde2"),
            Some("nixpkgs#vde2"),
        ],
        present: |path| in_path("vde_switch", path),
    },
    Need {
        what: "tesseract, which reads screens",
        when: When::InCi,
        packages: [
            Some("tesseract-ocr"),
            Some("tesseract"),
            Some("tesseract"),
            Some("nixpkgs#tesseract"),
        ],
        present: |path| in_path("tesseract", path),
    },
    // Its package starts a server, which nobody wants on their own machine for a test's sake.
    Need {
        what: "an OpenSSH server, for tests on the loopback",
        when: When::InCi,
        packages: [
            Some("openssh-server"),
            Some("openssh-server"),
            Some("openssh"),
            Some("nixpkgs#openssh"),
        ],
        present: |path| in_path("sshd", path),
    },
    Need {
        what: "qemu-img, with which tests check disks",
        when: When::InCi,
        packages: [
            Some("qemu-utils"),
            Some("qemu-img"),
            Some("qemu-img"),
            Some("nixpkgs#qemu"),
        ],
        present: |path| in_path("qemu-img", path),
    },
    Need {
        what: "mkfs.btrfs, for tests of disks that share blocks",
        when: When::InCi,
        packages: [
            Some("btrfs-progs"),
            Some("btrfs-progs"),
            Some("btrfs-progs"),
            Some("nixpkgs#btrfs-progs"),
        ],
        present: |path| in_path("mkfs.btrfs", path),
    },
    Need {
        what: "nc, which scripts of the Python package's tests call",
        when: When::InCi,
        packages: [
            Some("netcat-openbsd"),
            Some("netcat"),
            Some("openbsd-netcat"),
            Some("nixpkgs#netcat-openbsd"),
        ],
        present: |path| in_path("nc", path),
    },
    // Only some releases of Fedora have it.
    Need {
        what: "Nix, for tests inside of its sandbox",
        when: When::InCi,
        packages: [Some("nix-bin"), None, Some("nix"), Some("nixpkgs#nix")],
        present: |path| in_path("nix", path),
    },
];

/// Where the distributions keep it.
const LIBC: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/libc.a",
    "/usr/lib64/libc.a",
    "/usr/lib/libc.a",
];

/// Directories of programs that a user's `PATH` may leave out.
const SYSTEM: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];

impl Need {
    pub(crate) fn package(&self, distribution: Distribution) -> Option<&'static str> {
        self.packages[distribution as usize]
    }

    /// Whether this machine, or one for continuous integration, is to have it.
    pub(crate) fn is_wanted(&self, in_ci: bool) -> bool {
        in_ci || self.when == When::Always
    }

    pub(crate) fn is_present(&self, path: &OsStr) -> bool {
        (self.present)(path)
    }
}

/// An executable of this name stands in one of the directories.
pub(crate) fn in_path(program: &str, path: &OsStr) -> bool {
    find(program, path).is_some()
}

/// The executable that a shell would start.
pub(crate) fn find(program: &str, path: &OsStr) -> Option<PathBuf> {
    candidates(program, path).find(|file| is_executable(file))
}

/// Debian's own Python has its `venv` in a package apart; every other has it.
fn python_with_venv(path: &OsStr) -> bool {
    let Some(python) = find("python3", path) else {
        return false;
    };
    if python.parent() != Some(Path::new("/usr/bin")) {
        return true;
    }
    let libraries = ["/usr/lib", "/usr/lib64"].into_iter();
    let mut libraries = libraries.filter_map(|library| Path::new(library).read_dir().ok());
    libraries.any(|mut entries| {
        entries.any(|entry| {
            entry.is_ok_and(|entry| {
                let name = entry.file_name();
                name.to_string_lossy().starts_with("python3")
                    && entry.path().join("ensurepip").is_dir()
            })
        })
    })
}

fn static_in_path(program: &str, path: &OsStr) -> bool {
    candidates(program, path).any(|file| is_executable(&file) && elf::is_static(&file))
}

fn candidates(program: &str, path: &OsStr) -> impl Iterator<Item = PathBuf> {
    let system = SYSTEM.into_iter().map(Into::into);
    std::env::split_paths(path)
        .chain(system)
        .map(move |directory| directory.join(program))
}

fn is_executable(file: &Path) -> bool {
    file.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distributions_are_known_by_id_or_by_likeness() {
        let cases = [
            (
                "NAME=\"Debian GNU/Linux\"\nID=debian\n",
                Some(Distribution::Debian),
            ),
            (
                "ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n",
                Some(Distribution::Debian),
            ),
            ("ID=fedora\n", Some(Distribution::Fedora)),
            (
                "ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n",
                Some(Distribution::Fedora),
            ),
            ("ID=arch\n", Some(Distribution::Arch)),
            ("ID=nixos\n", Some(Distribution::Nix)),
            ("ID=void\nHOME_URL=debian\n", None),
            ("", None),
        ];
        for (text, distribution) in cases {
            assert_eq!(Distribution::of(text), distribution, "{text:?}");
        }
    }

    #[test]
    fn the_order_of_all_is_the_order_of_the_packages() {
        for (index, distribution) in Distribution::ALL.into_iter().enumerate() {
            assert_eq!(distribution as usize, index);
        }
    }

    #[test]
    fn commands_name_only_what_the_distribution_has() {
        let needs: Vec<_> = NEEDS.iter().collect();
        assert_eq!(
            Distribution::Debian.command(&needs).as_deref(),
            Some(
                "sudo apt-get install --no-install-recommends qemu-system-x86 busybox-static bash-static libc6-dev \
                 mmdebstrap systemd-container kmod e2fsprogs openssh-client python3-venv vde2 tesseract-ocr \
                 openssh-server qemu-utils btrfs-progs netcat-openbsd nix-bin"
            )
        );
        assert_eq!(
            Distribution::Fedora.command(&needs).as_deref(),
            Some(
                "sudo dnf install qemu-system-x86-core busybox glibc-static mmdebstrap systemd-container \
                 kmod e2fsprogs openssh-clients python3 vde2 tesseract openssh-server qemu-img btrfs-progs \
                 netcat"
            )
        );
        assert_eq!(Distribution::Arch.command(&[&NEEDS[2]]), None);
    }
}

//! What a root is to be: the declaration of an image, as its builder takes it.

use std::fmt;
use std::path::PathBuf;

use crate::source::Debian;

/// A root file system to be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootSpec {
    /// For people; two roots that differ only in their names are one entry of the cache.
    pub name: String,
    /// Where it comes from.
    pub source: RootSource,
    /// How much of it starts.
    pub profile: Profile,
    /// To be added or changed first, in this order.
    pub users: Vec<NewUser>,
    /// To be added next, in this order; what is there already is replaced.
    pub files: Vec<NewFile>,
    /// What becomes of units of systemd then.
    pub units: Units,
    /// Commands to be run in it at last, in order, each by `/bin/sh -e -c`.
    pub run: Vec<String>,
    /// The file system of what is built.
    pub format: RootFormat,
    /// Absolute path of its init; `None`: looked for where systems have it.
    pub init: Option<String>,
    /// Whether its own kernel is brought out.
    pub kernel: OwnKernel,
}

impl RootSpec {
    /// What a source has, as it is: an erofs of all of it, with nothing added.
    pub fn new(name: &str, source: RootSource) -> Self {
        Self {
            name: name.to_owned(),
            source,
            profile: Profile::default(),
            users: Vec::new(),
            files: Vec::new(),
            units: Units::default(),
            run: Vec::new(),
            format: RootFormat::default(),
            init: None,
            kernel: OwnKernel::default(),
        }
    }
}

/// Where a root comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootSource {
    /// Packages of Debian, by mmdebstrap.
    Debian(Debian),
    /// A directory of the host with a whole system in it.
    Directory(PathBuf),
    /// An archive of a whole system: plain, or compressed with gzip, xz or zstd.
    Tar(PathBuf),
    /// An OCI image layout, or what `docker save` wrote.
    Oci(PathBuf),
    /// A system that Nix built, in the host's store.
    Nix(PathBuf),
}

/// How much of a system starts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Profile {
    /// Without what tests do not need and a boot waits for: see [`crate::customize::LEAN`].
    Lean,
    /// As it is.
    #[default]
    Full,
}

/// The file system of a root.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RootFormat {
    /// Read-only.
    #[default]
    Erofs,
    /// Writable, with room to write: made by `mke2fs`.
    Ext4,
}

/// What becomes of a kernel that is in the root.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OwnKernel {
    /// Nothing: the machines run on another.
    #[default]
    Ignored,
    /// The newest is brought out with its modules, for virtual machines.
    BroughtOut,
}

/// A user of the root.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewUser {
    /// As in `/etc/passwd`.
    pub name: String,
    /// Default: the one it has, else the first that is free from 1000 on.
    pub uid: Option<u32>,
    /// Of its own group, which has its name. Default: the one it has, else its uid.
    pub gid: Option<u32>,
    /// Default: the one it has, else `/home/NAME`. It is made where it is missing.
    pub home: Option<String>,
    /// Default: the one it has, else `/bin/bash` where there is one, else `/bin/sh`.
    pub shell: Option<String>,
    /// More groups, which must exist.
    pub groups: Vec<String>,
    /// As in `/etc/shadow`; `""` lets it in without one. Default: the one it has, else `*`, which
    /// no password fits.
    pub password_hash: Option<String>,
}

/// A file or a directory to be put into the root. It belongs to root; parents that are missing
/// are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewFile {
    /// Absolute path in the root.
    pub path: String,
    /// What is in it.
    pub content: NewContent,
    /// Permissions. Default: those of the source, 0644 for text. Of a directory they are those of
    /// the top.
    pub mode: Option<u16>,
}

/// What is in a new file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewContent {
    /// This.
    Text(String),
    /// What this file or directory of the host holds.
    Host(PathBuf),
}

/// What becomes of units of systemd; `.service` may be left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Units {
    /// Started at boot, as their `[Install]` sections say.
    pub enable: Vec<String>,
    /// Not started at boot.
    pub disable: Vec<String>,
    /// Never started.
    pub mask: Vec<String>,
}

impl fmt::Display for RootSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Debian(Debian {
                suite, packages, ..
            }) => {
                write!(f, "Debian {suite}")?;
                match packages.as_slice() {
                    [] => Ok(()),
                    packages => write!(f, " with {}", packages.join(", ")),
                }
            }
            Self::Directory(path) => write!(f, "the directory {}", path.display()),
            Self::Tar(path) => write!(f, "the archive {}", path.display()),
            Self::Oci(path) => write!(f, "the container image {}", path.display()),
            Self::Nix(path) => write!(f, "Nix's {}", path.display()),
        }
    }
}

//! Images: the systems that machines boot.

use std::path::PathBuf;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::machine::{FileEntry, Kernel};

/// A system for machines to boot, by its name: `image = "NAME"`. It has exactly one source:
/// `debian`, `directory`, `tar`, `oci`, `nix` or `disk`. All but `disk` are built once into a
/// read-only file, which all machines share and none changes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct ImageDefinition {
    /// A Debian, made with `mmdebstrap`. Example: `debian = { packages = ["nginx"] }`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub debian: Option<Debian>,
    /// A directory with a whole system in it. Example: `directory = "./root"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<PathBuf>,
    /// A tar archive of a whole system, plain or compressed with gzip, xz or zstd.
    /// Example: `tar = "root.tar.zst"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tar: Option<PathBuf>,
    /// An OCI image layout (a directory, or a tar of one) or what `docker save` wrote.
    /// Example: `oci = "image.tar"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oci: Option<PathBuf>,
    /// A system that Nix has built: the path of its top-level derivation's output.
    /// Example: `nix = "./result"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nix: Option<PathBuf>,
    /// A disk image that is ready to run: raw or qcow2. It is never written to.
    /// Example: `disk = "system.qcow2"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<PathBuf>,

    /// How much of the system starts. Default: `"lean"` for `debian`, else `"full"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
    /// Users to add or change, before files are added.
    /// Example: `users = { alice = { groups = ["sudo"] } }`.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub users: IndexMap<String, User>,
    /// Files to add, by their absolute path: their text, or a table with a `source` on the host.
    /// Example: `files = { "/etc/motd" = "hello\n" }`.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub files: IndexMap<String, FileEntry>,
    /// Units of systemd to enable, disable or mask, after files are added.
    /// Example: `units = { enable = ["nginx"], mask = ["apt-daily.timer"] }`.
    #[serde(skip_serializing_if = "is_default")]
    pub units: Units,
    /// Commands to run in the system as root, in order, each by `/bin/sh -e`; the last thing that
    /// is done to it. They need root on the host. Example: `run = ["update-ca-certificates"]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub run: Vec<String>,

    /// The file system of the built image. Default: `"erofs"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<RootFormat>,
    /// The kernel for machines that run it in a virtual machine and name none themselves:
    /// `"auto"` as for machines, `"image"` for the newest of the system's own, else a path.
    /// Default: `"auto"`. Example: `kernel = "image"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<Kernel>,
    /// The initramfs for virtual machines, as `attest image initrd` makes one for the `kernel`, which
    /// must be given, too. Default: made when it is needed. Example: `initrd = "./initrd"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initrd: Option<PathBuf>,
    /// The system's init. Default: looked for in the usual places.
    /// Example: `init = "/sbin/openrc-init"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<String>,
    /// A file that the system makes once commands can run in it; its machines are not up before. Default: none, commands
    /// run before its first unit does. Example: `ready = "/run/ready"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready: Option<String>,
    /// Which partition of the `disk` is the root. Default: none, the whole disk is.
    /// Example: `partition = 1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<u32>,
}

/// A Debian.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Debian {
    /// The release's name. Default: `"stable"`. Example: `suite = "bookworm"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suite: Option<String>,
    /// Packages beside those of a minimal system with systemd.
    /// Example: `packages = ["nginx", "curl"]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<String>,
    /// Where packages come from. Default: where the host's own apt has them from, for this suite;
    /// else Debian's own mirror. Example: `mirror = "http://mirror.example/debian"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mirror: Option<String>,
    /// The archive's components. Default: `["main"]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<String>,
}

/// How much of a system starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// Without what tests do not need and a boot waits for: timers, gettys, first-boot set-up.
    /// `attest image inspect` lists it; what `units.enable` names stays.
    Lean,
    /// As it is.
    Full,
}

/// The file system of a built image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RootFormat {
    /// Read-only and fast; what is written goes elsewhere.
    #[default]
    Erofs,
    /// For systems that cannot live on an overlay.
    Ext4,
}

/// A user of the system.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct User {
    /// Its number. Default: the first that is free from 1000 on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The number of its own group, which has its name. Default: its uid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
    /// Default: `/home/NAME`; it is made, and the user's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub home: Option<String>,
    /// Default: `/bin/bash` where there is one, else `/bin/sh`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shell: Option<String>,
    /// More groups, which must exist. Example: `groups = ["sudo"]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// As in `/etc/shadow`; `""` lets it in without one. Default: none, no password fits.
    /// Example: `password-hash = "$6$…"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_hash: Option<String>,
}

/// What becomes of units of systemd. `.service` may be left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Units {
    /// Started at boot, as their `[Install]` section says.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub enable: Vec<String>,
    /// Not started at boot.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub disable: Vec<String>,
    /// Never started, by nobody.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mask: Vec<String>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

//! A Debian, made of its packages by `mmdebstrap`.

mod apt;
mod error;
mod run;

use std::path::Path;

pub use error::DebianError;

use crate::error::ImageError;
use crate::key::Key;
use crate::progress::Step;
use crate::tree::Tree;

/// What a minimal system has beside the packages that Debian calls essential:
/// - `systemd` and `systemd-sysv`: init, under the name that is looked for;
/// - `dbus`: most of what asks systemd for something asks there;
/// - `kmod`: without it the kernel cannot load what a program needs (a file system, a filter);
/// - `iproute2`, `iputils-ping`, `netbase`: tests of networks ask for the first two, and daemons
///   for the names in `/etc/services`; 4 MB together.
///
/// Not `udev`: attest sets up cards and disks itself, and under emulation udev takes a second of
/// each boot. Packages that need it bring it; a root of which all starts has it too.
const MINIMAL: [&str; 7] = [
    "systemd",
    "systemd-sysv",
    "dbus",
    "kmod",
    "iproute2",
    "iputils-ping",
    "netbase",
];

/// A Debian.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Debian {
    /// The release's name.
    pub suite: String,
    /// Beside those of a minimal system.
    pub packages: Vec<String>,
    /// `None`: the host's own sources for this suite; else its sources for its own release, with
    /// this suite's name; else mmdebstrap's default.
    pub mirror: Option<String>,
    /// Of the archive, for a given mirror or mmdebstrap's default.
    pub components: Vec<String>,
}

impl Debian {
    /// All that decides what is made.
    pub(crate) fn identify(&self, key: &mut Key) {
        let sources = apt::sources(self, &apt::HostApt::read());
        key.part(&self.suite);
        key.parts(MINIMAL);
        key.parts(&self.packages);
        key.parts(sources.text());
        key.parts(&self.components);
    }
}

/// Make one. Contents are kept in `directory`, which has room for two of it meanwhile. Takes a
/// minute or so; `progress` hears of what is done.
///
/// # Errors
/// [`ImageError::Debian`]: mmdebstrap is missing, a suite or package is unknown, the mirror cannot
/// be reached. [`ImageError::Full`].
pub fn debian(
    debian: &Debian,
    directory: &Path,
    progress: &mut dyn FnMut(Step),
) -> Result<Tree, ImageError> {
    let sources = apt::sources(debian, &apt::HostApt::read());
    let mut tree = run::mmdebstrap(debian, &sources, directory, progress)?;
    // The first is for this build, the others are the host's own.
    for made in [
        "etc/apt/apt.conf.d/99mmdebstrap",
        "etc/hostname",
        "etc/resolv.conf",
    ] {
        tree.remove(made)?;
    }
    Ok(tree)
}

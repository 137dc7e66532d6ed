//! The system that these tests boot: a small Debian with systemd, made once and kept.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use attest_image::erofs::{self, Volume};
use attest_image::source;

/// Changes when what is below makes another system: the old one is not used then.
const NAME: &str = "debian-systemd-1";
const PACKAGES: &str = "systemd,systemd-sysv,dbus,libpam-systemd,procps,iproute2";
/// A user whose manager starts at boot.
const HOOKS: [&str; 2] = [
    r#"chroot "$1" useradd --create-home --uid 1000 --shell /bin/bash alice"#,
    r#"mkdir -p "$1/var/lib/systemd/linger" && touch "$1/var/lib/systemd/linger/alice""#,
];

/// The system's disk, or why there is none.
pub(crate) fn disk() -> Result<PathBuf, String> {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let disk = directory.join(format!("{NAME}.erofs"));
    // Tests are processes of their own, and only one of them makes it.
    let lock = File::create(directory.join(format!("{NAME}.lock"))).map_err(text)?;
    lock.lock().map_err(text)?;
    if !disk.exists() {
        make(directory, &disk)?;
    }
    Ok(disk)
}

fn make(directory: &Path, disk: &Path) -> Result<(), String> {
    let work = tempfile::tempdir_in(directory).map_err(text)?;
    let root = work.path().join("root");
    let mut command = Command::new("mmdebstrap");
    command.args(["--variant=minbase", "--quiet"]);
    command.arg(format!("--include={PACKAGES}"));
    command.args(HOOKS.map(|hook| format!("--customize-hook={hook}")));
    command.arg("bookworm").arg(&root).args(sources());
    let made = command
        .output()
        .map_err(|error| format!("mmdebstrap cannot be run: {error}"))?;
    if !made.status.success() {
        let said = String::from_utf8_lossy(&made.stderr);
        return Err(format!("mmdebstrap made no system: {said}"));
    }
    let tree = source::directory(&root).map_err(text)?;
    let new = work.path().join("new.erofs");
    let volume = Volume {
        name: "test".to_owned(),
        ..Volume::default()
    };
    erofs::write(&tree, &new, &volume, &mut |_| {}).map_err(text)?;
    fs::rename(new, disk).map_err(text)
}

/// Where the host's own packages come from.
fn sources() -> Option<PathBuf> {
    let files = [
        "/etc/apt/sources.list",
        "/etc/apt/sources.list.d/debian.sources",
    ];
    files
        .into_iter()
        .map(PathBuf::from)
        .find(|file| file.exists())
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

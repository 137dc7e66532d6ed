//! Brings what is missing on this host, or says how.

use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use crate::packages::{Distribution, NEEDS, Need};

/// Where apt keeps its lists of packages.
const APT_LISTS: &str = "/var/lib/apt/lists";

/// What kept the host from being ready.
#[derive(Debug)]
pub(crate) enum SetupError {
    /// These are missing, and only the user can bring them.
    Missing(Vec<&'static Need>),
    /// apt-get could not be started.
    AptMissing(io::Error),
    /// apt-get ran and failed; its own words stand above.
    AptFailed {
        arguments: String,
        status: ExitStatus,
    },
    /// apt-get says that it went well, and these are missing still.
    StillMissing(Vec<&'static Need>),
}

/// Makes sure that all needs are met. When they are, this costs a few `stat` calls.
pub(crate) fn ensure() -> Result<(), SetupError> {
    let distribution = std::fs::read_to_string("/etc/os-release")
        .ok()
        .and_then(|text| Distribution::of(&text));
    let apt = distribution == Some(Distribution::Debian) && is_root();
    let missing = missing(distribution);
    if missing.is_empty() {
        return if apt && lists_are_needed() {
            update()
        } else {
            Ok(())
        };
    }
    if !apt {
        return Err(SetupError::Missing(missing));
    }
    install(&missing)?;
    // What came may have driven out what was there: packages of two releases do not always go together.
    let driven_out = self::missing(distribution);
    if !driven_out.is_empty() {
        install(&driven_out)?;
    }
    match self::missing(distribution) {
        still if still.is_empty() => Ok(()),
        still => Err(SetupError::StillMissing(still)),
    }
}

/// What a distribution has no package of is not needed there.
fn missing(distribution: Option<Distribution>) -> Vec<&'static Need> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_ci = in_ci();
    NEEDS
        .iter()
        .filter(|need| need.is_wanted(in_ci))
        .filter(|need| distribution.is_none_or(|distribution| need.package(distribution).is_some()))
        .filter(|need| !need.is_present(&path))
        .collect()
}

/// Whether this is a machine for continuous integration, which is to have everything.
pub(crate) fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| !value.is_empty())
}

fn install(missing: &[&Need]) -> Result<(), SetupError> {
    let packages: Vec<_> = missing
        .iter()
        .filter_map(|need| need.package(Distribution::Debian))
        .collect();
    eprintln!("xtask: installs {}", packages.join(" "));
    let install = || {
        let mut arguments = vec!["install", "--yes", "--no-install-recommends"];
        arguments.extend(&packages);
        apt_get(&arguments)
    };
    if !has_lists() {
        update()?;
        return install();
    }
    // Old lists may name versions that the mirror has dropped.
    install().or_else(|_| update().and_then(|()| install()))
}

fn update() -> Result<(), SetupError> {
    apt_get(&["update"])
}

fn apt_get(arguments: &[&str]) -> Result<(), SetupError> {
    eprintln!("xtask: apt-get {}", arguments.join(" "));
    let status = Command::new("apt-get")
        .args(["--quiet", "--option", "DPkg::Lock::Timeout=300"])
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .status()
        .map_err(SetupError::AptMissing)?;
    if status.success() {
        Ok(())
    } else {
        let arguments = arguments.join(" ");
        Err(SetupError::AptFailed { arguments, status })
    }
}

/// Without a kernel in `/boot`, attest asks apt for one, and apt knows nothing without its lists.
fn lists_are_needed() -> bool {
    !has_entry("/boot", |name| name.starts_with("vmlinuz")) && !has_lists()
}

fn has_lists() -> bool {
    has_entry(APT_LISTS, |name| name.contains("_Packages"))
}

fn has_entry(directory: &str, named: impl Fn(&str) -> bool) -> bool {
    Path::new(directory).read_dir().is_ok_and(|mut entries| {
        entries.any(|entry| entry.is_ok_and(|entry| named(&entry.file_name().to_string_lossy())))
    })
}

/// `/proc/self` belongs to the effective user of the process.
fn is_root() -> bool {
    Path::new("/proc/self")
        .metadata()
        .is_ok_and(|meta| meta.uid() == 0)
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(needs) => {
                writeln!(f, "missing on this host:")?;
                for need in needs {
                    writeln!(f, "  {}", need.what)?;
                }
                writeln!(f, "Install it and run this again:")?;
                for distribution in Distribution::ALL {
                    if let Some(command) = distribution.command(needs) {
                        writeln!(f, "  {:<15} {command}", distribution.name())?;
                    }
                }
                write!(
                    f,
                    "(As root on Debian and Ubuntu, this command installs it by itself.)"
                )
            }
            Self::AptMissing(error) => write!(f, "apt-get did not start: {error}"),
            Self::AptFailed { arguments, status } => {
                write!(
                    f,
                    "`apt-get {arguments}` failed ({status}); what it said stands above"
                )
            }
            Self::StillMissing(needs) => {
                let what: Vec<_> = needs.iter().map(|need| need.what).collect();
                write!(
                    f,
                    "apt-get went well, and still missing is: {}",
                    what.join("; ")
                )
            }
        }
    }
}

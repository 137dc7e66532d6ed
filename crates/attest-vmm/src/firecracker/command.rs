//! Firecracker's command line, in a jail or not, and what must be there before it runs.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use attest_lab::Directory;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::plan::{API, LOG};
use super::version::FirecrackerProgram;
use crate::limits::Limits;
use crate::microvm::place::Place;
use crate::microvm::program::is_static;
use crate::{Jailer, Program, VirtualConfig, VmmError, Wanted, find_program};

/// The jailer's usual name.
pub(super) const JAILER: &str = "jailer";
/// The jailer makes a directory of this name. Each is alone in its place, so that all are the same.
const ID: &str = "vm";
/// Users of jails, by the process that has them: between those that systemd gives and the last one that is none
/// (systemd's UIDS-GIDS: from 0x7fffffff on nothing is given to anybody).
const FIRST_USER: u32 = 0x7000_0000;
const USERS: u32 = 0x0fff_ffff;
/// Virtio devices over MMIO, of all kinds: one for each interrupt that is left for them (`GSI_LEGACY`).
const MMIO_DEVICES: usize = 17;
/// Over PCI: one bus, without its root.
const PCI_DEVICES: usize = 31;

/// Whether there are more devices than fit on MMIO: with vsock and entropy.
pub(super) fn needs_pci(machine: &VirtualConfig) -> bool {
    2 + usize::from(machine.balloon) + machine.cards.len() + machine.disks.len() > MMIO_DEVICES
}

/// How much there is room for: `MAX_SUPPORTED_VCPUS`, `CMDLINE_MAX_SIZE`, and
/// ` virtio_mmio.device=4K@0xc0001000:12` for each device over MMIO.
pub(super) fn limits(found: &FirecrackerProgram) -> Limits {
    let (devices, over) = if found.has_pci() {
        (PCI_DEVICES, "PCI")
    } else {
        (MMIO_DEVICES, "MMIO")
    };
    Limits {
        backend: "firecracker",
        devices,
        over,
        vcpus: 32,
        command_line: 2048,
        command_line_of_device: 36,
        command_line_of_backend: super::plan::OWN_ARGUMENTS,
    }
}

/// The user that it becomes in its jail.
pub(super) fn jailed_as(
    program: &Path,
    jailer: &Path,
    wanted: &Wanted,
) -> Result<Option<u32>, VmmError> {
    let reason = match wanted.jailer {
        Jailer::Never => return Ok(None),
        Jailer::Auto | Jailer::Require => why_no_jail(program, jailer),
    };
    match (reason, wanted.jailer) {
        (None, _) => Ok(Some(FIRST_USER + std::process::id() % USERS)),
        (Some(reason), Jailer::Require) => Err(VmmError::Unable {
            machine: wanted.machine.clone(),
            reason: format!("`jailer = \"require\"`, but {reason}"),
        }),
        (Some(_), _) => Ok(None),
    }
}

/// `None`: it can be put into one.
pub(super) fn why_no_jail(program: &Path, jailer: &Path) -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("only root can make a jail".to_owned());
    }
    // Root of a user namespace makes no devices, which a jail has.
    if attest_lab::probe::is_in_user_namespace() {
        return Some(
            "this root is one of a user namespace only, which can make no jail".to_owned(),
        );
    }
    for program in [program, jailer] {
        let Some(path) = find_program(program) else {
            return Some(format!("{} is not on PATH", program.display()));
        };
        if !is_static(&path) {
            return Some(format!(
                "{} is no static program, and would not find its libraries in a jail",
                path.display()
            ));
        }
    }
    None
}

/// Where it finds everything.
pub(super) fn place(
    found: &FirecrackerProgram,
    directory: Directory,
    jailed_as: Option<u32>,
) -> io::Result<Place> {
    let Some(user) = jailed_as else {
        return Ok(Place::open(directory));
    };
    // As the jailer makes it (docs/jailer.md: <base>/<name of the program>/<id>/root).
    let program = found.path.file_name().unwrap_or_default();
    let root = format!("{}/{ID}/root", program.to_string_lossy());
    Place::jailed(directory, root, user)
}

/// Its log and its stderr are one pipe with a name; our end of it, and that for its stderr.
pub(super) fn log(place: &Place) -> io::Result<(OwnedFd, OwnedFd)> {
    let path = place.entry(LOG);
    mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR)?;
    place.hand_over(&path)?;
    let open = |flags| nix::fcntl::open(&path, flags | OFlag::O_CLOEXEC, Mode::empty());
    // Neither waits for the other.
    let words = open(OFlag::O_RDONLY | OFlag::O_NONBLOCK)?;
    let errors = open(OFlag::O_WRONLY)?;
    Ok((words, errors))
}

/// The program, without its stdin, stdout and stderr.
pub(super) fn program(
    found: &FirecrackerProgram,
    jailer: Option<(&Path, u32)>,
    place: &Place,
    machine: &VirtualConfig,
) -> Program {
    let mut args: Vec<String> = Vec::new();
    let mut add = |words: &[&str]| args.extend(words.iter().map(|&word| word.to_owned()));
    let mut path = found.path.clone();
    if let Some((jailer, user)) = jailer {
        let user = user.to_string();
        path = find_program(jailer).unwrap_or_else(|| jailer.to_owned());
        add(&["--id", ID, "--uid", &user, "--gid", &user]);
        add(&["--exec-file", &found.path.to_string_lossy()]);
        add(&["--chroot-base-dir", &place.path().to_string_lossy()]);
        add(&["--"]);
    } else {
        add(&["--id", ID]);
    }
    add(&["--api-sock", API, "--log-path", LOG]);
    if machine.waits {
        add(&["--level", "Warn", "--show-level"]);
    } else {
        // What the boot timer says is a line of its log of this level.
        add(&["--level", "Info", "--show-level", "--boot-timer"]);
    }
    if needs_pci(machine) {
        add(&["--enable-pci"]);
    }
    Program {
        path,
        args: args.into_iter().map(Into::into).collect(),
        environment: Vec::new(),
        directory: Some(place.path().to_owned()),
        input: None,
        output: null(),
        errors: None,
        fds: Vec::new(),
        listens: false,
        on_host_network: false,
        own_group: false,
    }
}

/// Until there is something else.
fn null() -> OwnedFd {
    File::options()
        .write(true)
        .open("/dev/null")
        .expect("every Linux has /dev/null")
        .into()
}

//! Virtual machine monitors, containers and hosts behind one small surface: [`Backend`] builds, [`Running`] runs.
//! Abilities that only some backends have are `Option`s.

mod ability;
mod backend;
pub mod cloud_hypervisor;
mod control;
mod error;
pub mod firecracker;
mod human_monitor;
mod launcher;
mod limits;
mod machine;
pub mod microvm;
mod monitor;
pub mod nspawn;
mod output;
pub mod probe;
pub mod qemu;
pub mod qmp;
mod running;
mod socket;
pub mod ssh;
pub mod start_script;
mod told_end;

use std::ffi::OsStr;
use std::future::Future;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;

pub use ability::{Ability, Wanted};
pub use backend::{AgentStreams, Backend, Choice, StartTimings, Started, Told};
pub use cloud_hypervisor::CloudHypervisor;
pub use error::VmmError;
pub use firecracker::Firecracker;
pub use launcher::{Launched, Launcher, Program};
pub use limits::check_memory;
pub use machine::{
    Accelerator, Body, Card, ContainerConfig, ContainerScriptConfig, Disk, DiskFile, DiskFormat,
    HostConfig, Jailer, MachineConfig, MachineType, Names, QemuOptions, Ram, Rate, Reach,
    ScriptConfig, VirtualConfig, Wire,
};
pub use microvm::{AgentListener, ApiError};
pub use monitor::Monitor;
pub use nspawn::Nspawn;
pub use qemu::Qemu;
pub(crate) use running::SIGKILL;
pub use running::{
    Balloon, BalloonStatistics, Ending, EndingKind, InPlace, Pause, Reboots, Running, Saved, Saves,
};
pub use ssh::Ssh;
pub use start_script::{ContainerScript, StartScript};

/// A boxed future: these traits are used as `dyn`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A program by its path, or by its name as a shell would find it.
fn find_program(program: &Path) -> Option<PathBuf> {
    find_program_in(program, &std::env::var_os("PATH")?)
}

/// A program by its path, or by its name in these directories, which are joined as in `PATH`.
pub fn find_program_in(program: &Path, directories: &OsStr) -> Option<PathBuf> {
    let usable = |path: &PathBuf| {
        std::fs::metadata(path)
            .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    };
    if program.components().count() > 1 {
        return Some(program.to_owned()).filter(usable);
    }
    std::env::split_paths(directories)
        .map(|directory| directory.join(program))
        .find(usable)
}

/// A program of the host's that attest stands on.
///
/// # Errors
/// It is not on `PATH`; with the given words on which packages have it.
pub fn installed_program(name: &str, packages: &str) -> Result<PathBuf, String> {
    find_program(Path::new(name)).ok_or_else(|| format!("{name} is not on PATH; {packages}"))
}

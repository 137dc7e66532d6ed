//! Virtual machine monitors behind one small surface: [`Backend`] builds, [`Running`] runs.
//! Abilities that only some backends have are `Option`s.

mod backend;
mod error;
mod launcher;
mod machine;
pub mod probe;
pub mod qemu;
pub mod qmp;
mod running;

use std::future::Future;
use std::pin::Pin;

pub use backend::{Backend, Choice, StartTimings, Started};
pub use error::VmmError;
pub use launcher::{Launched, Launcher, Program};
pub use machine::{Accelerator, Card, Disk, MachineConfig, MachineType, QemuOptions};
pub use qemu::Qemu;
pub use running::{Ending, EndingKind, Pause, Running};

/// A boxed future: these traits are used as `dyn`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

//! Machines by start scripts of their own, as NixOS makes them: attest adds what the contract between
//! such scripts and the NixOS test driver says, and takes what they give.
//!
//! Virtual machines (`run-NAME-vm`) give QEMU's monitors, the console, and the guest's root shell;
//! containers (`run-NAME-nspawn`) are entered from outside.

mod backdoor;
mod command;
mod contained;
mod container;
mod ending;
mod run;
mod running;
mod scan;
mod sockets;
mod vm;

use std::time::Duration;

pub use container::ContainerScript;
pub use vm::StartScript;

/// How long what a script left running may hold its output open, before nobody waits for more of it.
const LEFT_OPEN: Duration = Duration::from_secs(1);
